"""``densecf compare``: two fine-tuning runs, case by case."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from densecf import runs
from densecf.commands.options import CompareOptions
from densecf.config_values import to_dict
from densecf.errors import ConfigError
from densecf.files import write_text_atomic


def run_compare(options: CompareOptions) -> Path:
    """Prints and writes the two summaries and the paired differences between the runs; returns the folder."""
    from densecf.evaluation.result_files import read_summary
    from densecf.evaluation.tables import comparison_markdown, summaries_markdown
    from densecf.training.finetune import SUMMARY, compare_runs

    found = [runs.find_run("finetune", which) for which in (options.run, options.baseline)]
    for run in found:
        if not runs.is_finished(run):
            raise ConfigError(
                f"{run}: has not finished; continue it with `densecf finetune --resume --out {quote(str(run))}`"
            )
    names = [run.name for run in found] if found[0].name != found[1].name else [str(run) for run in found]
    summaries = {name: read_summary(run / SUMMARY) for name, run in zip(names, found, strict=True)}
    differences = compare_runs(*found)
    report = summaries_markdown(summaries, "Fine-tuning runs") + "\n" + comparison_markdown(differences, *names)
    out = runs.start_run(
        "compare",
        f"{found[0].name}-against-{found[1].name}",
        to_dict(options),
        out=options.out,
        overwrite=options.overwrite,
        provenance={"run": str(found[0]), "baseline": str(found[1])},
    )
    with runs.working_in(out):
        write_text_atomic(out / "comparison.md", report)
        runs.finish_run(out, "compare")
    print(report + warn_of_other_networks(found))
    print(f"Run: {out}")
    return out


def warn_of_other_networks(found: list[Path]) -> str:
    """A line when the two runs did not train the same network: then the difference is not pretraining's alone."""
    from densecf.models.weights import read_facts

    networks = [
        "{encoder} with decoder channels {decoder_channels}".format(**read_facts(run / "folds" / "0")) for run in found
    ]
    return "" if networks[0] == networks[1] else f"\nThe runs differ in their networks: {networks[0]}; {networks[1]}.\n"

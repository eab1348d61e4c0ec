"""The model card: ``README.md`` as the Hugging Face hub lays it out. It names no path of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from densecf import __version__
from densecf.config_values import flat
from densecf.export.expected import expected_input
from densecf.export.metrics import Metric
from densecf.export.source import FINETUNE, Source
from densecf.export.written import Written
from densecf.markdown import markdown_table, plain
from densecf.methods import METHODS
from densecf.runs import is_run, read_config, read_provenance

_SETTINGS = {
    "pretrain": "epochs batch_size accumulate points sampling temperature intervene where exclude seed views optim",
    FINETUNE: "folds train_cases epochs batch_size loss where external seed views optim",
}


def model_card(source: Source, written: Written, metrics: list[Metric], weights_sha256: str) -> str:
    """The text of the card.

    Args:
        source: what was exported.
        written: what its format says.
        metrics: what was measured of the run.
        weights_sha256: of the run's weights file.
    """
    sections = {
        "How to use": f"Run inside this folder:\n\n```python\n{written.usage}```\n" + _bullets(written.notes),
        "Input": _bullets(_input(source, written)),
        "Data": _bullets(_data(source)),
        "Method": _bullets(_method(source)) + "\nSettings:\n\n" + _table(("option", "value"), _settings(source)),
        "Metrics": _metrics_table(metrics),
        "Provenance": _table(("", ""), provenance(source, weights_sha256).items()),
        "Intended use": _USE[source.draws_masks],
        "Limits": _bullets(_limits(source)),
    }
    header = _header(source, written, metrics)
    body = "\n".join(f"## {title}\n\n{text.strip()}\n" for title, text in sections.items())
    return f"---\n{header}\n---\n\n# {source.name}\n\n{_summary(source)}\n\n{body}"


def provenance(source: Source, weights_sha256: str) -> dict[str, str]:
    """Where the weights come from: versions, commit, dataset, parent run."""
    facts = read_provenance(source.run)
    parent = str(facts.get("pretrained") or read_config(source.run).get("init_from") or "none")
    rows = {
        "run": source.run.name if source.fold is None else f"{source.run.name}, fold {source.fold}",
        "weights (SHA-256)": weights_sha256,
        "parent run": parent if parent == "none" else Path(parent).parent.name,
        "parent weights (SHA-256)": facts.get("pretrained_sha256", ""),
        "dataset (SHA-256)": facts.get("dataset_checksum", ""),
        "trained with densecf": facts.get("densecf", ""),
        "commit": facts.get("git_commit") or "",
        "trained with": ", ".join(f"{name} {number}" for name, number in facts.get("packages", {}).items()),
        "Python": facts.get("python", ""),
        "started": facts.get("started", ""),
        "finished": facts.get("finished", "not finished"),
        "exported by densecf": __version__,
    }
    return {name: str(value) for name, value in rows.items() if value}


def _header(source: Source, written: Written, metrics: list[Metric]) -> str:
    task = "image-segmentation" if source.draws_masks else "image-feature-extraction"
    results = [
        EvalResult(
            task_type=task,
            dataset_type="medical-images",
            dataset_name=_dataset_name(source),
            metric_type=metric.name,
            metric_value=round(metric.mean, 4),
        )
        for metric in metrics
    ]
    data = ModelCardData(
        library_name=written.library,
        pipeline_tag=task,
        tags=["densecf", "medical-imaging", str(source.facts["method"])],
        model_name=source.name,
        eval_results=results or None,
    )
    return data.to_yaml()


def _summary(source: Source) -> str:
    network = f"{source.encoder}" if source.image_level else f"U-Net with a {source.encoder} encoder"
    if source.fold is not None:
        return f"A {network}, fine-tuned on masks: the network of fold {source.fold}. It draws {_listed(source)}."
    return f"A {network}, pretrained by {_learnt_by(source)}."


def _learnt_by(source: Source) -> str:
    """The method of a pretraining run, and whether it went without the counterfactuals that belong to it."""
    name = str(source.facts["method"])
    method = METHODS.get(name)
    if method is None:
        return name
    without = "; here without counterfactuals: its views are augmentations of the real images"
    return f"`{name}`: {method.summary}" + (without if method.counterfactuals and not _counterfactual(source) else "")


def _counterfactual(source: Source) -> bool:
    """Whether counterfactual views shaped the network, or may have: the parent of a fine-tuning run can be gone."""
    run = source.run
    if source.fold is not None:
        start = _start(source)
        if start == "none":
            return False
        run = Path(start).parent
    return not is_run(run) or read_provenance(run).get("counterfactuals") != "none"


def _start(source: Source) -> str:
    """The weights that a fine-tuning run began with, or "none"."""
    return str(read_provenance(source.run).get("pretrained") or "none")


def _listed(source: Source) -> str:
    return ", ".join(f"{number} {name}" for number, name in enumerate(source.classes))


def _input(source: Source, written: Written) -> Iterable[str]:
    for name, words in expected_input(source, normalises=written.normalises).items():
        yield f"{name}: {words}"


def _data(source: Source) -> Iterable[str]:
    facts = read_provenance(source.run)
    yield f"Dataset: {_dataset_name(source)}, SHA-256 `{facts.get('dataset_checksum', 'unknown')}`."
    if "records" in facts:
        yield f"{facts['records']} records, {facts.get('views', '?')} views each; counterfactuals: " + str(
            facts.get("counterfactuals", "unknown")
        )
    yield f"Classes: {_listed(source)}."


def _dataset_name(source: Source) -> str:
    known = read_provenance(source.run).get("dataset") or read_config(source.run).get("data") or "unknown"
    return Path(str(known)).name


def _method(source: Source) -> Iterable[str]:
    if source.fold is None:
        yield f"{_learnt_by(source)}."
    else:
        start = _start(source)
        begin = "random weights" if start == "none" else f"the pretraining run {Path(start).parent.name}"
        yield f"Fine-tuned from {begin}; this fold's images were held out, the last epoch was kept."
    yield f"Network: {source.encoder}" + (
        "" if source.image_level else f", decoder channels {source.facts['decoder_channels']}"
    )


def _settings(source: Source) -> list[tuple[str, str]]:
    config = read_config(source.run)
    kept = _SETTINGS[FINETUNE if source.fold is not None else "pretrain"].split()
    values = flat({name: config[name] for name in kept if name in config})
    return [(name, str(value)) for name, value in values.items() if value not in ("", None)]


def _metrics_table(metrics: list[Metric]) -> str:
    if not metrics:
        return "None were measured: `densecf evaluate` does."
    rows = [(metric.name, metric.text(), metric.where) for metric in metrics]
    return _table(("metric", "value", "measured"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return markdown_table(head, [[plain(cell) for cell in row] for row in rows]) + "\n"


def _bullets(lines: Iterable[str]) -> str:
    return "".join(f"\n- {line}" for line in lines) + "\n"


_USE: Mapping[bool, str] = {
    True: "Research on segmentation of images like those that it was trained on; a start for fine-tuning on others.",
    False: "A start for fine-tuning, and features for research on images like those that it was trained on.",
}


def _limits(source: Source) -> Iterable[str]:
    yield "Not a medical device: not tested for, and not to be used in, clinical decisions."
    yield (
        "The metrics hold for the data above; other scanners, populations and findings may give worse ones. Measure on "
        "your own before you rely on it."
    )
    if _counterfactual(source):
        yield "Counterfactual views are a model's; what that model gets wrong, pretraining may have taught."
    yield "The licence of the weights follows the data that they were trained on; this card grants none."

"""What was measured of a run, found beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from densecf.evaluation.result_files import read_summary
from densecf.export.source import Source
from densecf.files import read_json
from densecf.runs import METRICS, is_finished, is_run, read_provenance
from densecf.training.logs import measured, read_metrics

_SUMMARY = "summary.json"
_FOLDS = {
    "dsc": "DSC (%)",
    "dsc_nf": "DSC, no finding (%)",
    "dsc_pe": "DSC, effusion (%)",
    "hd95": "HD95 (px)",
    "asd": "ASD (px)",
    "hd95_mm": "HD95 (mm)",
    "asd_mm": "ASD (mm)",
}
_MONITORED = {
    "purity": "k-means purity",
    "purity_floor": "purity floor (share of the largest class)",
    "d_over_std": "class separation (d / sigma)",
    "probe_dsc": "linear pixel probe DSC (%)",
}


@dataclass(frozen=True)
class Metric:
    """One figure.

    Attributes:
        name, mean: what it is.
        where: on what it was measured.
        std: population standard deviation over folds, where there are folds.
    """

    name: str
    mean: float
    where: str
    std: float | None = None

    def text(self) -> str:
        return f"{self.mean:.2f}" if self.std is None else f"{self.mean:.2f} ± {self.std:.2f}"


def find_metrics(source: Source) -> list[Metric]:
    """A fine-tuning run's summary over all folds; of a pretraining run the newest evaluation beside it, else what its
    monitors saw last. Empty when nothing was measured."""
    if source.fold is not None:
        return _of_folds(source.run / _SUMMARY)
    evaluated = _evaluation_of(source)
    return _of_evaluation(evaluated) if evaluated else _of_monitors(source.run / METRICS)


def _of_folds(file: Path) -> list[Metric]:
    if not file.is_file():  # some folds are still to come
        return []
    summary = read_summary(file)
    where = "mean ± population standard deviation over the held-out folds of all networks of the run"
    return [
        Metric(name, summary[key]["mean"], where, summary[key]["std"])
        for key, name in _FOLDS.items()
        if summary.get(key, {}).get("mean") is not None
    ]


def _evaluation_of(source: Source) -> Path | None:
    """The newest finished ``densecf evaluate`` of these weights under the same root."""
    found = []
    for run in (source.run.parent.parent / "evaluate").glob("*"):
        if run.is_symlink() or not is_run(run) or not (run / "embeddings.json").is_file() or not is_finished(run):
            continue
        facts = read_provenance(run)
        if Path(facts.get("pretrained", "")).resolve() == source.weights.resolve():
            found.append((facts["finished"], run))
    return max(found)[1] if found else None


def _of_evaluation(run: Path) -> list[Metric]:
    found = read_json(run / "embeddings.json", "evaluation")
    where = f"densecf evaluate, {found['num_images']} images"
    figures = {
        "purity": found["purity"],
        "purity_floor": found["purity_floor"],
        "d_over_std": found["separation"]["d_over_std"],
        "probe_dsc": found["probe"]["dsc"],
    }
    places = {"probe_dsc": f"{where}, {found['num_probe_test']} of them tested"}
    return [Metric(_MONITORED[key], value, places.get(key, where)) for key, value in measured(figures).items()]


def _of_monitors(file: Path) -> list[Metric]:
    last: dict[str, Any] = next(
        (row for row in reversed(read_metrics(file)) if any(key in row for key in _MONITORED)), {}
    )
    where = f"during pretraining, step {last.get('step')}"
    held = measured({key: last.get(key) for key in _MONITORED})
    return [Metric(_MONITORED[key], value, where) for key, value in held.items()]

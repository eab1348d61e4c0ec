"""From findings to figures: the content of ``soundness.json``, and the table that says the same to a reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from densecf.counterfactuals.examination import REPETITIONS
from densecf.counterfactuals.findings import Findings, pooled
from densecf.counterfactuals.parents import Parents
from densecf.counterfactuals.predictors import NOT_KNOWN
from densecf.counterfactuals.soundness import balanced_share, explained_share, mean_or_none
from densecf.markdown import markdown_table, plain

MOST_DIRECTIONS = 24
"""Where there are more (scanners squared), the split by direction says nothing to a reader."""
AVERAGED = (
    "composition",
    "composition_after_10",
    "reconstruction_error",
    "reversibility",
    "change",
    "lung_dice",
    "lung_dice_of_truth",
    "segmenter_dice",
    "error_to_truth",
    "error_of_doing_nothing",
)
LEGEND = (
    "All on held-out patients; image errors are mean absolute differences of images in [0, 1]. "
    "Effectiveness: balanced accuracy with which a predictor trained on real images only finds the intervened values "
    "(several: all of them right, balanced over their combinations; a continuous parent: 1 - squared error over the "
    "population's variance). On real: the same predictor on the real images; on truth: on the true counterfactuals. "
    "Composition: what doing nothing changes. Reconstruction: the same without re-used pixel noise. Reversibility: "
    "what is left of the intervention once it is undone. Lung Dice: a segmenter's lungs on the counterfactual against "
    "those it finds on the real image; of truth: the same for true counterfactuals, which only the segmenter's own "
    "unrest keeps from 1; segmenter: its Dice with the masks of the real images. Change: how far "
    "counterfactuals lie from their images; near 0, the intervention is ignored. Error: to the true counterfactual; "
    "doing nothing: that of the unchanged image."
)
PHANTOM_LEGEND = (
    "On the phantom the segmenter learns true masks (silver ones cut away what fluid hides). Where the fluid of an "
    "added effusion would stand cannot be seen, so its error cannot be 0: best guess is the error of the per-pixel "
    "median over renderings with other fluid, which knows all else about the patient."
)
IDENTITY_LEGEND = (
    "Parents that were not set should be found as before. Changed: share of predictions that differ between image and "
    "counterfactual (continuous: mean difference in standard deviations)."
)


def soundness(
    findings: Sequence[Findings], parents: Parents, *, reasons: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The figures of one generator or store.

    Interventions on the same parents ("other.1", "other.2") are pooled; each stands alone under ``by_intervention``.

    Args:
        findings: one entry an intervention.
        parents: those of the predictor.
        reasons: figure -> why it could not be measured.

    Returns:
        ``{"scanner": {...}, "scanner+pleural_effusion": {...}}``, JSON values; see `figures_of`.
    """
    groups: dict[str, list[Findings]] = {}
    for each in findings:
        groups.setdefault(each.key, []).append(each)
    result = {}
    for key, members in groups.items():
        figures = figures_of(pooled(members), parents)
        if len(members) > 1:
            figures["by_intervention"] = {each.intervention.name: figures_of(each, parents) for each in members}
        if not_measured := {name: why for name, why in (reasons or {}).items() if figures.get(name) is None}:
            figures["not_measured"] = not_measured
        result[key] = figures
    return result


def figures_of(found: Findings, parents: Parents) -> dict[str, Any]:
    """All figures of one intervention; None where something was not measured."""
    figures = _main_figures(found, parents)
    directions = np.unique(found.direction)
    if len(directions) <= MOST_DIRECTIONS:
        figures["by_direction"] = {
            str(direction): _direction_figures(found.at(np.flatnonzero(found.direction == direction)), parents)
            for direction in directions
        }
    return figures


def score(
    predicted: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], names: Sequence[str], parents: Parents
) -> float | None:
    """How well the values of some parents are found, all at once.

    Discrete parents: balanced accuracy of having all of them right. Continuous ones: `explained_share`. Both kinds:
    the mean. Images whose value is not known do not count.
    """
    discrete = [name for name in names if parents[name].values]
    scores = [explained_share(predicted[name], wanted[name]) for name in names if name not in discrete]
    if discrete:
        known = np.all([wanted[name] != NOT_KNOWN for name in discrete], axis=0)
        right = np.all([predicted[name] == wanted[name] for name in discrete], axis=0)
        scores.append(balanced_share(right[known], [wanted[name][known] for name in discrete]))
    measured = [value for value in scores if value is not None]
    return sum(measured) / len(measured) if measured else None


def _main_figures(found: Findings, parents: Parents) -> dict[str, Any]:
    names = [name for name, _ in found.intervention.terms]
    figures: dict[str, Any] = {
        "effectiveness": score(found.on_counterfactual, found.after, names, parents),
        "predictor_on_real": score(found.on_real, found.before, names, parents),
        "predictor_on_truth": (None if found.on_truth is None else score(found.on_truth, found.after, names, parents)),
    }
    figures |= {name: mean_or_none(found.figures[name]) for name in AVERAGED}
    error, nothing = figures["error_to_truth"], figures["error_of_doing_nothing"]
    figures["error_ratio"] = error / nothing if error is not None and nothing else None
    if len(names) > 1:
        figures["effectiveness_each"] = {
            name: score(found.on_counterfactual, found.after, [name], parents) for name in names
        }
    figures["identity"] = {
        parent.name: _identity(found, parent.name, parents) for parent in parents.entries if parent.name not in names
    }
    figures["images"] = len(found.images)
    return figures


def _direction_figures(found: Findings, parents: Parents) -> dict[str, Any]:
    names = [name for name, _ in found.intervention.terms]
    guessed = np.isfinite(found.figures["error_of_best_guess"])
    figures: dict[str, Any] = {
        "images": len(found.images),
        "effectiveness": score(found.on_counterfactual, found.after, names, parents),
        "predictor_on_real": score(found.on_real, found.before, names, parents),
    }
    figures |= {
        name: mean_or_none(found.figures[name])
        for name in ("lung_dice", "error_to_truth", "error_of_doing_nothing", "error_of_best_guess")
    }
    if guessed.any() and not guessed.all():  # on the same images as the best guess
        figures["error_to_truth_where_guessed"] = mean_or_none(found.figures["error_to_truth"][guessed])
    return figures


def _identity(found: Findings, name: str, parents: Parents) -> dict[str, float | None]:
    real, made = found.on_real[name], found.on_counterfactual[name]
    kept = found.before[name] == found.after[name]  # descendants are meant to change
    if not parents[name].values:
        kept |= np.isnan(found.before[name])
        changed = mean_or_none(np.abs(made - real)[kept])
    else:
        changed = mean_or_none((made != real)[kept])
    return {
        "on_real": score(found.on_real, found.before, [name], parents),
        "on_counterfactual": score(found.on_counterfactual, found.after, [name], parents),
        "changed": changed,
    }


def soundness_markdown(results: Mapping[str, Mapping[str, Any]], title: str, *, note: str = "") -> str:
    """Tables for a reader: the main figures, then by direction where the truth is known, then identity.

    Args:
        results: run -> what `soundness` returned; several runs stand below one another for each intervention.
        title: the heading.
        note: a line under it, for instance dataset and number of patients.
    """
    rows = [
        (run, key, figures) for key in _keys(results) for run, all_ in results.items() if (figures := all_.get(key))
    ]
    with_truth = any(figures["error_to_truth"] is not None for _, _, figures in rows)
    parts = [f"# {title}", note, _main_table(rows, len(results) > 1, with_truth), LEGEND]
    if with_truth:
        parts += ["## By direction", _direction_table(rows, len(results) > 1), PHANTOM_LEGEND]
    if any(figures["identity"] for _, _, figures in rows):
        parts += ["## Identity", _identity_table(rows, len(results) > 1), IDENTITY_LEGEND]
    why: dict[str, dict[str, None]] = {}  # reason -> figures, each once
    for _, _, figures in rows:
        for name, reason in figures.get("not_measured", {}).items():
            why.setdefault(reason, {})[name] = None
    parts += [f"Not measured: {', '.join(names)}, because {reason}." for reason, names in why.items()]
    return "\n\n".join(part for part in parts if part) + "\n"


Row = tuple[str, str, Mapping[str, Any]]


def _main_table(rows: Sequence[Row], several: bool, with_truth: bool) -> str:
    headings = ["Effectiveness ↑", "(on real)", *(["(on truth)"] if with_truth else [])]
    headings += ["Composition ↓", f"after {REPETITIONS} ↓", "Reconstruction ↓", "Reversibility ↓"]
    headings += ["Lung Dice ↑", *(["(of truth)"] if with_truth else []), "(segmenter)", "Change"]
    headings += ["Error ↓", "(doing nothing)", "Ratio ↓"] if with_truth else []
    lines = []
    for run, key, f in rows:
        cells = [_share(f["effectiveness"]), _share(f["predictor_on_real"])]
        cells += [_share(f["predictor_on_truth"])] if with_truth else []
        cells += [_error(f["composition"]), _error(f["composition_after_10"]), _error(f["reconstruction_error"])]
        cells += [_error(f["reversibility"]), _share(f["lung_dice"])]
        cells += [_share(f["lung_dice_of_truth"])] if with_truth else []
        cells += [_share(f["segmenter_dice"]), _error(f["change"])]
        if with_truth:
            cells += [_error(f["error_to_truth"]), _error(f["error_of_doing_nothing"]), _share(f["error_ratio"])]
        lines.append([key, *([run] if several else []), str(f["images"]), *cells])
    return _table(["Intervention", *(["Run"] if several else []), "Images", *headings], lines, 2 if several else 1)


def _direction_table(rows: Sequence[Row], several: bool) -> str:
    lines = []
    for run, _, figures in rows:
        for direction, f in figures.get("by_direction", {}).items():
            cells = [_share(f["effectiveness"]), _share(f["lung_dice"]), _error(f["error_to_truth"])]
            cells += [_error(f["error_of_doing_nothing"]), _error(f["error_of_best_guess"])]
            lines.append([direction, *([run] if several else []), str(f["images"]), *cells])
    headings = ["Effectiveness ↑", "Lung Dice ↑", "Error ↓", "(doing nothing)", "(best guess)"]
    return _table(["Direction", *(["Run"] if several else []), "Images", *headings], lines, 2 if several else 1)


def _identity_table(rows: Sequence[Row], several: bool) -> str:
    lines = []
    for run, key, figures in rows:
        for name, f in figures["identity"].items():
            cells = [_share(f["on_real"]), _share(f["on_counterfactual"]), _share(f["changed"])]
            lines.append([key, *([run] if several else []), name, *cells])
    headings = ["Parent", "Found on real", "on counterfactual", "Changed ↓"]
    return _table(["Intervention", *(["Run"] if several else []), *headings], lines, 3 if several else 2)


def _table(headings: Sequence[str], lines: Sequence[Sequence[str]], num_words: int) -> str:
    """A table whose first columns are words, all others numbers."""
    return markdown_table(headings, [[plain(cell) for cell in line] for line in lines], range(num_words, len(headings)))


def _keys(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for figures in results.values() for key in figures))


def _share(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _error(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"

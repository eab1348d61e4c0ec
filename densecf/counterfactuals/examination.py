"""Put counterfactuals of held-out images before the judges, batch by batch, and note what they find of each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import segmentation_models_pytorch as smp
from tqdm.auto import tqdm

from densecf.counterfactuals.findings import Findings, pooled
from densecf.counterfactuals.interventions import Intervention
from densecf.counterfactuals.parents import Parents, value_text
from densecf.counterfactuals.predictors import ParentPredictor, predict, targets_of
from densecf.counterfactuals.segmenter import segment
from densecf.counterfactuals.soundness import absolute_error, mask_agreement
from densecf.counterfactuals.suppliers import Supplier
from densecf.counterfactuals.truth import PhantomTruth
from densecf.data.prepared import PreparedDataset

REPETITIONS = 10
"""How often the null intervention is repeated on its own result (Monteiro et al. 2023)."""
MOST_REPEATED = 32
"""Images on which it is: a repetition costs a whole abduction."""
MOST_GUESSED = 60
"""Images of each intervention whose best guess is rendered (`densecf.counterfactuals.truth`)."""


@dataclass(frozen=True)
class Judges:
    """Who judges; none of them has seen a held-out patient or a counterfactual.

    Attributes:
        predictor: of the parents.
        segmenter: of the lungs, or None, and then ``no_segmenter`` says why.
        truth: of the phantom, or None.
        mask_of: the mask of a row, to measure the segmenter itself; None where the row has none.
    """

    predictor: ParentPredictor
    segmenter: smp.Unet | None = None
    no_segmenter: str = ""
    truth: PhantomTruth | None = None
    mask_of: Callable[[int], np.ndarray | None] = lambda row: None


def examine(
    supplier: Supplier,
    data: PreparedDataset,
    rows: Sequence[int] | np.ndarray,
    interventions: Sequence[Intervention],
    judges: Judges,
    *,
    batch_size: int = 32,
    seed: int = 0,
    title: str = "examined",
    progress: bool = True,
) -> list[Findings]:
    """Have every intervention on every row judged; memory does not grow with the rows.

    Args:
        supplier: where the counterfactuals come from.
        data: the prepared dataset.
        rows: held-out rows, all parents known.
        interventions: what to do.
        judges: who judges.
        batch_size: images at a time.
        seed: of the best guesses.
        title: in front of the progress bar.
        progress: show the bar.

    Returns:
        One entry an intervention, with the images it changes.
    """
    rows = np.asarray(rows)
    parts: list[list[Findings]] = [[] for _ in interventions]
    with tqdm(total=len(rows), desc=title, unit="img", disable=not progress) as bar:
        for start in range(0, len(rows), batch_size):
            chosen = rows[start : start + batch_size]
            repeated = max(0, MOST_REPEATED - start)
            batch = _examine_batch(supplier, data, chosen, interventions, judges, repeated)
            for place, findings in enumerate(batch):
                parts[place].append(findings)
            bar.update(len(chosen))
    found = [pooled(batches) for batches in parts]
    if judges.truth is not None:
        for each in found:
            _guess_best(each, supplier, data, rows, judges.truth, seed, progress)
    return [each.at(np.flatnonzero(each.figures.pop("moved") > 0)) for each in found]


def _examine_batch(
    supplier: Supplier,
    data: PreparedDataset,
    rows: np.ndarray,
    interventions: Sequence[Intervention],
    judges: Judges,
    repeated: int,
) -> list[Findings]:
    """Findings of one batch, with the images that the intervention leaves as they are; ``moved`` tells them apart."""
    records, parents = data.records.iloc[rows], judges.predictor.parents
    images = np.stack([data.image(row) for row in rows])
    changed = [supplier.changed(records, intervention) for intervention in interventions]
    answer = supplier.answer(rows, images, records, changed)
    nothing = np.full(len(rows), np.nan)

    shared = {
        "composition": nothing if answer.null is None else absolute_error(answer.null, images),
        "composition_after_10": nothing.copy(),
        "reconstruction_error": (
            nothing if answer.reconstruction is None else absolute_error(answer.reconstruction, images)
        ),
    }
    if repeated:
        again = supplier.repeat_null(images[:repeated], records.iloc[:repeated], REPETITIONS)
        if again is not None:
            shared["composition_after_10"][:repeated] = absolute_error(again, images[:repeated])
    masks, num_classes = np.zeros(0), len(data.class_names)
    shared["segmenter_dice"] = nothing.copy()
    if judges.segmenter is not None:
        masks = segment(judges.segmenter, images)
        for place, row in enumerate(rows):
            known = judges.mask_of(int(row))
            if known is not None:
                shared["segmenter_dice"][place] = mask_agreement(masks[place, None], known[None], num_classes)[0]

    before, on_real = targets_of(records, parents), predict(judges.predictor, images)
    found = []
    for place, (intervention, table) in enumerate(zip(interventions, changed, strict=True)):
        made = answer.counterfactuals[place]
        figures = shared | {
            "change": absolute_error(made, images),
            "reversibility": nothing if answer.back is None else absolute_error(answer.back[place], images),
            "lung_dice": nothing,
            "lung_dice_of_truth": nothing,
            "error_to_truth": nothing,
            "error_of_doing_nothing": nothing,
            "error_of_best_guess": nothing,
            "moved": np.array(
                [_differs(one, two, intervention) for one, two in zip(_dicts(records), _dicts(table), strict=True)],
                float,
            ),
        }
        if judges.segmenter is not None:
            figures["lung_dice"] = mask_agreement(segment(judges.segmenter, made), masks, num_classes)
        on_truth = None
        if judges.truth is not None:
            true = np.stack([judges.truth.counterfactual(int(row), table.iloc[i]) for i, row in enumerate(rows)])
            figures["error_to_truth"] = absolute_error(made, true)
            figures["error_of_doing_nothing"] = absolute_error(images, true)
            on_truth = predict(judges.predictor, true)
            if judges.segmenter is not None:
                figures["lung_dice_of_truth"] = mask_agreement(segment(judges.segmenter, true), masks, num_classes)
        found.append(
            Findings(
                intervention,
                records["image"].to_numpy(),
                before,
                targets_of(table, parents),
                on_real,
                predict(judges.predictor, made),
                on_truth,
                _directions(records, table, intervention, parents),
                figures,
            )
        )
    return found


def _guess_best(
    found: Findings,
    supplier: Supplier,
    data: PreparedDataset,
    rows: np.ndarray,
    truth: PhantomTruth,
    seed: int,
    progress: bool,
) -> None:
    """Fill in the error of the best guess where fluid is added: of the first `MOST_GUESSED` images."""
    records = data.records.iloc[rows]
    table = supplier.changed(records, found.intervention)
    if "pleural_effusion" not in {name for name, _ in found.intervention.terms}:
        return
    places = [i for i, row in enumerate(rows) if truth.adds_fluid(int(row), table.iloc[i])][:MOST_GUESSED]
    if not places:
        return
    guesses = truth.best_guesses(rows[places], table.iloc[places], seed=seed, progress=progress)
    true = np.stack([truth.counterfactual(int(rows[i]), table.iloc[i]) for i in places])
    error = np.full(len(rows), np.nan)
    error[places] = absolute_error(guesses, true)
    found.figures["error_of_best_guess"] = error


def _dicts(records: pd.DataFrame) -> list[dict[Any, Any]]:
    return records.to_dict("records")


def _differs(before: dict[Any, Any], after: dict[Any, Any], intervention: Intervention) -> bool:
    return any(value_text(before[name]) != value_text(after[name]) for name, _ in intervention.terms)


def _directions(
    records: pd.DataFrame, changed: pd.DataFrame, intervention: Intervention, parents: Parents
) -> np.ndarray:
    """In words, what the intervention changes in each record; numbers go up or down."""

    def one(before: dict[Any, Any], after: dict[Any, Any]) -> str:
        words = []
        for name, _ in intervention.terms:
            old, new = value_text(before[name]), value_text(after[name])
            if parents[name].values:
                words.append(f"{name} {old}->{new}")
            else:
                words.append(f"{name} {'up' if float(new) > float(old) else 'down'}")
        return ", ".join(words)

    pairs = zip(_dicts(records), _dicts(changed), strict=True)
    return np.array([one(before, after) for before, after in pairs], dtype=object)

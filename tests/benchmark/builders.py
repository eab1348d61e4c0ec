"""Finished cells that nobody ran: every case, curve and measure follows from known effects."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from densecf.benchmark.cells import Cell, make_cells
from densecf.benchmark.matrix import Ablation, Matrix, Variant
from densecf.benchmark.results import CellResult
from densecf.evaluation.segmentation import SUBSETS, case_columns
from densecf.methods import METHODS

NUM_CASES, NUM_FOLDS = 20, 5
CLASS_NAMES = ("background", "left_lung", "right_lung")
EPOCHS = (2, 4, 6, 8, 10)

METHOD_GAIN = {
    "none": 0.0,
    "simclr": 1.0,
    "cf-simclr": 1.5,
    "vader": 2.0,
    "dvd-cl": 2.5,
    "mvd-cl": 3.0,
    "segmentation": 4.0,
    "ssdcl": 3.5,
    "s-dvd-cl": 4.5,
    "s-mvd-cl": 5.0,
}
LETTER_GAIN = {"S": 0.25, "D": 0.5, "R": 0.125, "C": 1.0, "E": -0.25}
"""What each letter of a view code adds to the DSC of every case, for every method."""
HIGHER_DSC = {"dsc": 1.0, "hd95": -0.5, "asd": -0.125}
"""What a point of DSC more means for each metric."""
BEST_GAIN = 0.75
"""How much higher the DSC of the best epoch is than that of the last, in every fold and subset."""

CODES = ("SDRCE", "SDRC", "RCE", "DRCE", "C", "")
MATRIX = Matrix(
    title="A comparison of known effects",
    about="Made for tests.",
    seeds=(0, 1),
    protocols=("fair", "authors"),
    ablation=Ablation(("dvd-cl", "s-mvd-cl"), CODES),
    variants=(
        Variant("MVD-CL, crop only", "mvd-cl", "C", about="what crops alone bring"),
        Variant("MVD-CL, colder", "mvd-cl", pretrain={"temperature": 0.1}, about="a lower temperature"),
    ),
)
Gain = Callable[[Cell], float]


def known_gain(cell: Cell) -> float:
    """Points of DSC above the row without pretraining."""
    return METHOD_GAIN[cell.method] + sum(LETTER_GAIN[letter] for letter in cell.views)


def make_results(matrix: Matrix = MATRIX, gain: Gain = known_gain, noise: float = 0.0) -> list[CellResult]:
    """One finished cell for each of a matrix; with noise, each case of each cell deviates by so many points of DSC."""
    return [make_result(cell, gain(cell), noise) for cell in make_cells(matrix, "truth")]


def make_result(cell: Cell, gain: float, noise: float = 0.0) -> CellResult:
    """One finished cell whose cases lie `gain` above those of `make_cases()`."""
    cases = make_cases(gain, noise, salt=cell.title)
    dense = cell.pretrain is not None and not METHODS[cell.method].image_level
    stages = ("pretrain",) * (cell.pretrain is not None) + ("finetune",) + ("evaluate",) * dense
    return CellResult(
        cell,
        {stage: Path("cells", stage, cell.title.replace(" ", "-")) for stage in stages},
        cases,
        make_curves(cases),
        make_training(gain) if cell.pretrain is not None else pd.DataFrame(),
        make_embeddings(0.5 + gain / 20) if dense else None,
        {
            stage: seconds
            for stage, seconds in (("pretrain", 600.0), ("finetune", 300.0), ("evaluate", 30.0))
            if stage in stages
        },
    )


def make_cases(gain: float = 0.0, noise: float = 0.0, salt: str = "") -> pd.DataFrame:
    """Twenty cases of 15 patients in five folds, as ``cases.csv``; effusion costs six points of DSC."""
    number = np.arange(NUM_CASES)
    patient = number % 15
    effusion = patient // NUM_FOLDS % 2
    own = np.random.default_rng(7).normal(size=NUM_CASES)  # of the case, whatever the method
    gains = gain + noise * np.random.default_rng(list(salt.encode()) or 0).normal(size=NUM_CASES)
    cases = pd.DataFrame(
        {
            "case": [f"case{index:02d}" for index in number],
            "patient_id": [f"patient{index:02d}" for index in patient],
            "fold": patient % NUM_FOLDS,
            "pleural_effusion": effusion,
            "dsc": 85 + own - 6 * effusion + gains,
            "hd95": 12 - own + HIGHER_DSC["hd95"] * gains,
            "asd": 3 - 0.2 * own + HIGHER_DSC["asd"] * gains,
            "n_missed": 0,
            "hd95_mm": np.nan,
            "asd_mm": np.nan,
        }
    )
    lungs = {f"{name}_{metric}": cases[metric] for name in CLASS_NAMES[1:] for metric in ("dsc", "hd95", "asd")}
    return cases.assign(**lungs)[case_columns(CLASS_NAMES)]


def make_curves(cases: pd.DataFrame, epochs: Sequence[int] = EPOCHS) -> pd.DataFrame:
    """``curves.csv``: up to `BEST_GAIN` above the cases at the last look but one, and the cases' means at the last."""
    above = dict(zip(epochs, [*(BEST_GAIN - 2.0 * step for step in range(len(epochs) - 2, -1, -1)), 0.0], strict=True))
    rows: list[dict[str, Any]] = []
    for fold, part in cases.groupby("fold"):
        subsets = {"all": part} | {name: part[part["pleural_effusion"] == flag] for name, flag in SUBSETS.items()}
        for name, held in subsets.items():
            if held.empty:
                continue
            last = held[list(HIGHER_DSC)].mean()
            for epoch, more in above.items():
                at = {metric: last[metric] + change * more for metric, change in HIGHER_DSC.items()}
                rows.append({"fold": fold, "epoch": epoch, "subset": name, **at})
    return pd.DataFrame(rows).sort_values(["fold", "epoch"], kind="stable", ignore_index=True)


def make_training(gain: float = 0.0, steps: int = 6) -> pd.DataFrame:
    """The lines of a ``metrics.jsonl``: a loss that falls from chance; purity is looked at every second line."""
    step = np.arange(steps) * 10
    return pd.DataFrame(
        {
            "step": step,
            "loss": 6.0 - gain * step / step[-1] / 2,
            "chance": 6.0,
            "gap": 0.1 * gain * step / step[-1],
            "spread": 0.9,
            "effective_rank": 8.0,
            "purity": np.where(step % 20 == 0, 0.6 + 0.01 * gain, np.nan),
            "lr": 1e-3 * (1 - step / (step[-1] + 10)),
        }
    )


def make_embeddings(purity: float = 0.9, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What `densecf.evaluation.embeddings.evaluate_embeddings` returns; all measures grow with the purity."""
    return {
        "purity": purity,
        "purity_floor": 0.7,
        "separation": {
            "d_over_std": 2 * purity,
            "d_over_variance": 8 * purity,
            "class_distance": purity,
            "class_std": 0.5,
            "class_variance": 0.125,
        },
        "probe": {
            "dsc": 100 * purity,
            "dsc_per_class": [99.0, 100 * purity - 1, 100 * purity + 1],
            "accuracy": 50 + 50 * purity,
        },
        "class_names": list(CLASS_NAMES),
        "num_images": NUM_CASES,
        "num_pixels": 20_000,
        "num_probe_train": 16,
        "num_probe_test": 4,
        "seed": 0,
    } | dict(more or {})


def cells_of(**options) -> list[Cell]:
    """The cells of a matrix with these options."""
    return make_cells(Matrix(**options), "hvae")


def one(row: str = "MVD-CL", **options) -> Cell:
    """The first of them in this row."""
    return next(cell for cell in cells_of(**options) if cell.row == row)

"""The split into records for pretraining and records for fine-tuning, when a table does not give one."""

import numpy as np
import pandas as pd


def assign_split(
    records: pd.DataFrame, chosen: pd.Series | None = None, fraction: float = 0.2, seed: int = 0
) -> pd.Series:
    """Divide records by patient into "train" and "manual" (for fine-tuning).

    Args:
        records: the table.
        chosen: booleans; the patients of these records become "manual", with all their records. Without
            it, ``fraction`` of the patients who have masks (drawn by hand, if any are) are drawn,
            balanced by effusion: 1 if any of a patient's records says so, else 0, else unknown.
        fraction: between 0 and 1; at least one patient is drawn.
        seed: decides the draw.

    Returns:
        (n,) text Series "train" or "manual".
    """
    if chosen is None:
        kinds = records["mask_kind"]
        with_mask = records[kinds == "manual"] if (kinds == "manual").any() else records[kinds != ""]
        order = patient_order(with_mask, seed)
        manual = set(order[: max(1, round(fraction * len(order)))])
    else:
        manual = set(records["patient_id"][chosen])
    return pd.Series(np.where(records["patient_id"].isin(manual), "manual", "train"), records.index, dtype="str")


def patient_order(records: pd.DataFrame, seed: int, column: str = "pleural_effusion") -> list[str]:
    """All patients in a random order of which every beginning holds the strata (a column of numbers) in proportion."""
    stratum = records.groupby("patient_id")[column].max()  # NaN only where all are unknown
    stratum = stratum.sort_index()
    order = np.random.default_rng(seed).permutation(len(stratum))
    shuffled = stratum.iloc[order].fillna(-1)
    rank = shuffled.groupby(shuffled).cumcount() + 0.5
    place = rank / shuffled.map(shuffled.value_counts())
    return [str(patient) for patient in place.sort_values(kind="stable").index]

"""Patients that a counterfactual model never learns from, so that it can be judged on them."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd


def held_out(records: pd.DataFrame, *, share: float = 0.1, seed: int = 0) -> np.ndarray:
    """Which rows to keep out of the training: the manual split, and a share of all other patients.

    A patient's fate depends on the seed and the patient's own name, so it stays the same when others are added.

    Args:
        records: see `densecf.data.records`.
        share: of the patients outside the manual split.
        seed: another seed, other patients.

    Returns:
        (n,) bool.
    """

    def drawn(patient: str) -> bool:
        digest = hashlib.sha256(f"{seed}/{patient}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < share * 2**64

    chosen = records["patient_id"].map(drawn).to_numpy(dtype=bool)
    return chosen | (records["split"] == "manual").to_numpy() if "split" in records else chosen

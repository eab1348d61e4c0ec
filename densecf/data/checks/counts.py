"""How many images of whom: by split, scanner, sex and effusion, and patients that several splits share."""

import math
from typing import Any

import numpy as np
import pandas as pd

from densecf.data.checks.findings import EXAMPLES, Finding, Result, Table
from densecf.data.records import SPLITS

EFFUSION = {1.0: "effusion", 0.0: "no effusion"}
UNKNOWN = "unknown"
_SHOWN = 30


def check_counts(records: pd.DataFrame, known_shared: int = 0) -> Result:
    """Tables of counts, and what is wrong with the split.

    Args:
        records: the records of a prepared dataset; ``scanner`` and ``sex`` may be missing.
        known_shared: patients that a published split, chosen on purpose, has in several splits.
    """
    result = Result()
    splits = in_words(records, "split")
    result.tables.append(_by_split(records, splits))
    for column in ("scanner", "sex", "pleural_effusion", "view"):
        if column in records and in_words(records, column).nunique() > 1:
            result.tables.append(_crossed(f"Images by {heading(column)} and split", in_words(records, column), splits))
    if "scanner" in records and in_words(records, "scanner").nunique() > 1:
        result.tables += [
            _crossed(
                f"Images by scanner and {heading(column)}", in_words(records, "scanner"), in_words(records, column)
            )
            for column in ("pleural_effusion", "sex")
            if column in records and in_words(records, column).nunique() > 1
        ]
    result.findings += (
        _shared_patients(records, splits, known_shared) + _alike_patients(records, splits) + _gaps(records, splits)
    )
    return result


def in_words(records: pd.DataFrame, column: str) -> pd.Series:
    """A column as text, "unknown" where nothing is known; a column that is missing is unknown throughout."""
    if column not in records:
        return pd.Series(UNKNOWN, index=records.index)
    values = records[column]
    if column == "pleural_effusion":
        return values.map(EFFUSION).fillna(UNKNOWN)
    return values.fillna("").astype("str").replace("", UNKNOWN)


def heading(column: str) -> str:
    return {"pleural_effusion": "effusion"}.get(column, column)


def _by_split(records: pd.DataFrame, splits: pd.Series) -> Table:
    def line(name: str, part: pd.DataFrame) -> tuple:
        kinds, effusion = part["mask_kind"], part["pleural_effusion"]
        age = part["age"] if "age" in part else pd.Series(math.nan, index=part.index)
        return (
            name,
            len(part),
            part["patient_id"].nunique(),
            int((kinds == "manual").sum()),
            int((kinds == "silver").sum()),
            *(int(count) for count in ((effusion == 1).sum(), (effusion == 0).sum(), effusion.isna().sum())),
            float(np.nanmedian(age)) if age.notna().any() else math.nan,
        )

    rows = [line(name, records[splits == name]) for name in _split_order(splits)]
    columns = ("split", "images", "patients", "manual masks", "silver masks", "effusion", "no effusion", "unknown")
    return Table("Splits", (*columns, "median age"), (*rows, line("all", records)))


def _split_order(splits: pd.Series) -> list[str]:
    present = set(splits)
    return [name for name in SPLITS if name in present] + sorted(present - set(SPLITS))


def _crossed(title: str, down: pd.Series, across: pd.Series) -> Table:
    """Counts of each combination, the commonest rows first."""
    counts = pd.crosstab(down.to_numpy(), across.to_numpy())
    columns = _split_order(across)
    ordered = counts.assign(_total=counts.sum(axis=1)).sort_values("_total", ascending=False, kind="stable")
    rows = [(str(name), *(int(line[c]) for c in columns), int(line["_total"])) for name, line in ordered.iterrows()]
    note = f"The {_SHOWN} commonest of {len(rows)}." if len(rows) > _SHOWN else ""
    return Table(title, ("", *columns, "all"), tuple(rows[:_SHOWN]), note)


def _shared_patients(records: pd.DataFrame, splits: pd.Series, known: int) -> list[Finding]:
    found = _in_several(records["patient_id"], splits)
    if not found:
        return []
    rows = records.index[records["patient_id"].isin(list(found))].tolist()
    return [
        Finding(
            "warning" if len(found) <= known else "error",
            "patients",
            f"{len(found):,} patients have images in several splits, so what is measured on one split was seen in "
            "another. "
            + (
                "The published split is like that; --split patient has no such leak."
                if len(found) <= known
                else "Give every patient one value of split and prepare again."
            ),
            len(found),
            tuple(f"patient {patient}: {', '.join(places)}" for patient, places in list(found.items())[:EXAMPLES]),
            tuple(rows),
            "in several splits",
        )
    ]


def _alike_patients(records: pd.DataFrame, splits: pd.Series) -> list[Finding]:
    """Ids that are one when case and leading zeros are dropped, in different splits: perhaps one patient."""
    plain = records["patient_id"].str.strip().str.lower().str.lstrip("0")
    spellings = records["patient_id"].groupby(plain).unique()
    alike = spellings[spellings.map(len) > 1]
    chosen = plain.isin(alike.index)
    found = _in_several(plain[chosen], splits[chosen])
    found = {key: places for key, places in found.items() if len(alike[key]) > 1}
    if not found:
        return []
    return [
        Finding(
            "warning",
            "patients",
            f"{len(found):,} patient ids differ only in case or leading zeros and lie in different splits; if these "
            "are the same patients, write their ids alike and prepare again.",
            len(found),
            tuple(" and ".join(alike[key]) for key in list(found)[:EXAMPLES]),
            tuple(records.index[plain.isin(list(found))].tolist()),
            "ids nearly alike",
        )
    ]


def _in_several(patients: pd.Series, splits: pd.Series) -> dict[Any, list[str]]:
    pairs = pd.DataFrame({"patient": patients, "split": splits}).drop_duplicates()
    several = pairs[pairs.duplicated("patient", keep=False)]
    return {patient: sorted(part["split"]) for patient, part in several.groupby("patient", sort=True)}


def _gaps(records: pd.DataFrame, splits: pd.Series) -> list[Finding]:
    """What a study would miss: values that are unknown, and splits without a scanner or effusion class."""
    findings = []
    for column in ("scanner", "sex", "pleural_effusion"):
        if column not in records:
            continue
        values = in_words(records, column)
        unknown = int((values == UNKNOWN).sum())
        if unknown == len(records):
            if column != "pleural_effusion":
                findings.append(Finding("note", "counts", f"{column} is unknown throughout.", unknown))
            continue
        if unknown:
            share = unknown / len(records)
            findings.append(
                Finding("note", "counts", f"{column} is unknown in {unknown:,} images ({share:.1%}).", unknown)
            )
        known = values[values != UNKNOWN]
        absent = [
            f"{value} in {split}"
            for split in _split_order(splits)
            for value in sorted(set(known) - set(known[splits == split]))
        ]
        if absent:
            message = f"some values of {column} do not occur in every split; measures by {heading(column)} miss them."
            findings.append(Finding("note", "counts", message, len(absent), tuple(absent[:EXAMPLES])))
    return findings

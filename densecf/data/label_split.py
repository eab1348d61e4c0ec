"""Who trains a classifier, who chooses its settings, and who tests it; and fewer labels, patient by patient."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from densecf.data.labels import UNKNOWN, Labels
from densecf.data.manual_split import patient_order
from densecf.data.problems import listing
from densecf.errors import ConfigError, DataError, LeakError

TEST_SHARE, VAL_SHARE = 0.2, 0.1
_STRATUM = "stratum"


@dataclass(frozen=True)
class LabelSplit:
    """Rows of the records that carry a label; no patient is in two parts.

    Attributes:
        train, val, test: row numbers, ascending, (n,) int64.
        note: how the split came about, for the user.
    """

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    note: str


def split_labels(
    records: pd.DataFrame,
    labels: Labels,
    pretrained: Collection[str] = (),
    *,
    balance: str = "",
    seed: int = 0,
    where: str = "records",
) -> LabelSplit:
    """The records' own split where they have one; what is missing is drawn by patient.

    A missing test part is a fifth of the patients, all of them unknown to pretraining; a missing val part is a tenth
    of the rest; small ones are enlarged until they hold all classes. Draws are balanced by label (a patient counts as
    the largest of its codes) and by ``balance``.

    Args:
        records: the table; the split "manual" only serves where there is no test part.
        labels: of the same records.
        pretrained: patients that a network was pretrained on; they may train, but not test.
        balance: a further column to balance draws by, "" for none.
        seed: of the draws.
        where: the table's name for messages.

    Raises:
        LeakError: patients of the test part were pretrained on, or nobody else is left to test on.
        DataError: a part holds fewer than two classes.
    """
    split = records["split"].to_numpy(dtype=object) if "split" in records else np.full(len(records), "train", object)
    known, patients = labels.codes != UNKNOWN, records["patient_id"].to_numpy(dtype=object)
    part = {name: known & (split == name) for name in ("train", "val", "test")}
    drawn = []
    frame = pd.DataFrame({"patient_id": patients, _STRATUM: _strata(records, labels, balance)})
    if not part["test"].any():
        pool = part["train"] | known & (split == "manual")
        part["test"] = _draw_test(frame, pool, labels.codes, set(pretrained), seed, where)
        part["train"] = pool & ~part["test"]
        drawn.append(f"test: {_counted(patients, part['test'])}")
    else:
        _refuse_leak(set(patients[part["test"]]) & set(pretrained), where)
    if not part["val"].any() and part["train"].any():
        count = max(1, round(VAL_SHARE * frame["patient_id"][part["train"]].nunique()))
        chosen = _draw(frame[part["train"]], labels.codes[part["train"]], count, seed + 1)
        part["val"] = part["train"] & frame["patient_id"].isin(chosen).to_numpy()
        part["train"] &= ~part["val"]
        drawn.append(f"val: {_counted(patients, part['val'])}")
    for name, members in part.items():
        _check_classes(labels, members, f"{where}: {name}")
    note = f"{where} names no " + " and no ".join(text.split(":")[0] for text in drawn) + " part; drawn by patient: "
    rows = {name: np.flatnonzero(members) for name, members in part.items()}
    return LabelSplit(**rows, note=note + "; ".join(drawn) if drawn else "")


def nested_fractions(
    records: pd.DataFrame, labels: Labels, train: np.ndarray, fractions: Sequence[float], seed: int
) -> dict[float, np.ndarray]:
    """Training rows of each fraction of the patients; a smaller one lies in every larger one.

    Args:
        records, labels: the table and its labels.
        train: rows to choose from, (n,).
        fractions: shares in (0, 1].
        seed: decides the order in which patients are taken, balanced by label.

    Raises:
        ConfigError: fractions out of range, or so small that one class is missing (says which would do).
    """
    wrong = [f"{value:g}" for value in fractions if not 0 < value <= 1]
    if wrong or not fractions:
        raise ConfigError(f"--fractions {' '.join(wrong)}: expected shares of the training patients, above 0 and to 1")
    patients = records["patient_id"].to_numpy(dtype=object)[train]
    codes = labels.codes[train]
    order = patient_order(pd.DataFrame({"patient_id": patients, _STRATUM: codes}), seed, _STRATUM)
    place = {patient: number for number, patient in enumerate(order)}
    places = np.array([place[patient] for patient in patients])
    wanted = set(codes)
    found = {}
    for fraction in sorted(set(fractions)):
        rows = places < max(1, round(fraction * len(order)))
        if set(codes[rows]) != wanted:
            needed = max(min(places[codes == code]) + 1 for code in wanted) / len(order)
            missing = listing([labels.classes[code] for code in sorted(wanted - set(codes[rows]))])
            raise ConfigError(
                f"--fractions {fraction:g}: with seed {seed}, {rows.sum()} training records of "
                f"{len(set(patients[rows]))} patients hold no {labels.column}={missing}; "
                f"{np.ceil(1000 * needed) / 1000:g} would do"
            )
        found[fraction] = np.asarray(train)[rows]
    return found


def _strata(records: pd.DataFrame, labels: Labels, balance: str) -> np.ndarray:
    """A number for each combination of label and ``balance``; ordered by label, so that the maximum is a label's."""
    if balance not in records:
        return labels.codes
    other = pd.factorize(records[balance].astype("str"), sort=True)[0]
    return labels.codes * (int(other.max(initial=0)) + 1) + other


def _draw_test(
    frame: pd.DataFrame, pool: np.ndarray, codes: np.ndarray, pretrained: set[str], seed: int, where: str
) -> np.ndarray:
    free = pool & ~frame["patient_id"].isin(pretrained).to_numpy()
    if pool.any() and not free.any():
        raise LeakError(
            f"{where}: names no test part, and every patient with a label was pretrained on, so that nobody is left "
            "to test on; give the records a column split with test patients, or pretrain with --exclude"
        )
    count = max(1, round(TEST_SHARE * frame["patient_id"][pool].nunique()))
    return free & frame["patient_id"].isin(_draw(frame[free], codes[free], count, seed)).to_numpy()


def _draw(frame: pd.DataFrame, codes: np.ndarray, count: int, seed: int) -> set[str]:
    """So many patients, balanced by stratum; more of them, up to half, until both or all classes are among them."""
    order = patient_order(frame, seed, _STRATUM)
    place = {patient: number for number, patient in enumerate(order)}
    places = frame["patient_id"].map(place).to_numpy()
    needed = max(int(places[codes == code].min()) + 1 for code in set(codes))
    return set(order[: max(count, min(needed, len(order) // 2))])


def _refuse_leak(shared: set[str], where: str) -> None:
    if shared:
        raise LeakError(
            f"{where}: {len(shared):,} patients to test on were pretrained on: {listing(sorted(shared), 5)}; the "
            "scores would flatter the pretraining. Pretrain without them (densecf pretrain --exclude split=test)"
        )


def _check_classes(labels: Labels, members: np.ndarray, where: str) -> None:
    present = sorted(set(labels.codes[members]))
    if len(present) < 2:
        found = f"only {labels.column}={labels.classes[present[0]]}" if present else f"no record with {labels.column}"
        raise DataError(f"{where}: {found} among its {members.sum():,} records; two classes are needed")


def _counted(patients: np.ndarray, members: np.ndarray) -> str:
    return f"{members.sum():,} records of {len(set(patients[members])):,} patients"

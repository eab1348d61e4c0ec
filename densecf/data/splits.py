"""Cross-validation folds that never divide a patient, fewer training cases on demand, and the leak check."""

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from densecf.data.manual_split import patient_order
from densecf.data.problems import listing, repeated
from densecf.errors import ConfigError, DataError, DensecfError, LeakError
from densecf.files import read_json, write_json_atomic

FOLDS = "folds.json"
"""In the folder of a fine-tuning, and of a comparison, whose cells share it."""
_FORMAT = 1
_SHUFFLES = 50  # tried before accepting folds that lack a stratum


@dataclass(frozen=True)
class Folds:
    """Cross-validation folds: which image is held out in which fold.

    Attributes:
        fold_of: image -> fold, 0-based; in the order of the records.
        patient_of: image -> patient_id.
        num_folds: how many folds.
        stratify: the column the folds are balanced by, "" for none.
        seed: what decided the shuffle.
    """

    fold_of: dict[str, int]
    patient_of: dict[str, str]
    num_folds: int
    stratify: str
    seed: int

    def test_rows(self, records: pd.DataFrame, fold: int) -> np.ndarray:
        """Index labels of the records held out in a fold, in the order of ``records``; (n,) int64.

        With a subset of a prepared dataset's records these are the dataset's row numbers.

        Raises:
            ConfigError: there is no such fold.
            DataError: the folds speak of other records, see `check_fits`.
        """
        return self._rows(records, fold, True)

    def train_rows(self, records: pd.DataFrame, fold: int) -> np.ndarray:
        """Index labels of all other records, in their order; (n,) int64. Errors as `test_rows`."""
        return self._rows(records, fold, False)

    def _rows(self, records: pd.DataFrame, fold: int, held_out: bool) -> np.ndarray:
        if not 0 <= fold < self.num_folds:
            raise ConfigError(f"There is no fold {fold}; the folds are 0 to {self.num_folds - 1}.")
        self.check_fits(records)
        in_fold = records["image"].map(self.fold_of).to_numpy() == fold
        return records.index.to_numpy()[in_fold == held_out]

    def check_fits(self, records: pd.DataFrame, where: str = "These folds") -> None:
        """Whether the folds speak of exactly these records.

        Raises:
            DataError: images are missing on either side, or belong to another patient; they are named.
        """
        patients = dict(zip(records["image"], records["patient_id"], strict=True))
        complaints = [
            (sorted(patients.keys() - self.fold_of.keys()), "records are in no fold"),
            (sorted(self.fold_of.keys() - patients.keys()), "images of the folds are not among the records"),
            (
                sorted(i for i in patients if i in self.patient_of and self.patient_of[i] != patients[i]),
                "images belong to another patient",
            ),
        ]
        found = [f"{len(images):,} {text} ({listing(images, 5)})" for images, text in complaints if images]
        if found:
            raise DataError(
                f"{where} do not fit the records: {'; '.join(found)}. Make new folds, or use the dataset and "
                "the conditions they were made with."
            )

    def save(self, path: str | Path) -> None:
        """Write the folds as JSON, with image and patient ids, to be shared."""
        images = [
            {"image": image, "patient_id": self.patient_of[image], "fold": fold} for image, fold in self.fold_of.items()
        ]
        head = {"format": _FORMAT, "num_folds": self.num_folds, "stratify": self.stratify, "seed": self.seed}
        write_json_atomic(path, head | {"images": images})

    @classmethod
    def load(cls, path: str | Path, records: pd.DataFrame | None = None) -> "Folds":
        """Read what `save` wrote; with ``records``, also check that they fit.

        Raises:
            DataError: missing or damaged file, a patient in two folds, or folds that do not fit the records.
        """
        try:
            content = read_json(path, "folds file")
            if content["format"] != _FORMAT:
                raise DataError(f"{path}: folds of format {content['format']}, this version reads {_FORMAT}.")
            images = content["images"]
            names = [str(entry["image"]) for entry in images]
            if len(set(names)) < len(names):
                raise DataError(f"{path}: images that are listed twice: {listing(repeated(names), 5)}.")
            folds = cls(
                {str(entry["image"]): int(entry["fold"]) for entry in images},
                {str(entry["image"]): str(entry["patient_id"]) for entry in images},
                int(content["num_folds"]),
                str(content["stratify"]),
                int(content["seed"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{path}: not a folds file ({type(error).__name__}: {error}).") from error
        except DensecfError as error:
            raise DataError(str(error)) from error
        folds._check_sound(path)
        if records is not None:
            folds.check_fits(records, f"{path}: these folds")
        return folds

    def _check_sound(self, path: str | Path) -> None:
        outside = [image for image, fold in self.fold_of.items() if not 0 <= fold < self.num_folds]
        if outside or self.num_folds < 2:
            raise DataError(f"{path}: images in folds that do not exist: {listing(outside, 5)}.")
        first: dict[str, int] = {}
        for image, fold in self.fold_of.items():
            patient = self.patient_of[image]
            if first.setdefault(patient, fold) != fold:
                raise LeakError(f"{path}: patient {patient} is in folds {first[patient]} and {fold}.")


def make_folds(records: pd.DataFrame, num_folds: int = 5, stratify: str = "pleural_effusion", seed: int = 0) -> Folds:
    """Divide records into folds by patient, balanced by a column (unknown is a stratum of its own).

    Warns when a fold lacks cases with or without effusion (or any other known value of the column).

    Args:
        records: the records to divide; needs image and patient_id.
        num_folds: at least 2.
        stratify: a column, or "" for none; a column that does not exist is an error.
        seed: decides the shuffle.

    Raises:
        ConfigError: fewer patients than folds, fewer than 2 folds, or no such column.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    if num_folds < 2:
        raise ConfigError(f"{num_folds} folds: at least 2 are needed.")
    if stratify and stratify not in records:
        raise ConfigError(f"There is no column {stratify!r} to balance the folds by; choose another, or none.")
    patients = records["patient_id"].to_numpy(dtype=object)
    if len(set(patients)) < num_folds:
        raise ConfigError(
            f"{num_folds} folds need at least {num_folds} patients, here are {len(set(patients))} "
            f"({len(records)} records). Use fewer folds or a wider --where."
        )
    strata, known = _strata(records, stratify)
    unavoidable = sum(max(0, num_folds - len(set(patients[strata == value]))) for value in known)
    best, lacking = np.zeros(len(records), dtype=int), math.inf
    counts = np.unique(strata, return_counts=True)[1]
    for shuffle in range(_SHUFFLES):
        if len(counts) > 1 and max(counts) >= num_folds:  # scikit-learn refuses strata that are all smaller
            splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed + 1000 * shuffle)
        else:
            splitter = GroupKFold(num_folds, shuffle=True, random_state=seed + 1000 * shuffle)
        fold_of = np.zeros(len(records), dtype=int)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "least populated class": said below in our words
            for fold, (_, held_out) in enumerate(splitter.split(np.zeros(len(records)), strata, patients)):
                fold_of[held_out] = fold
        missing = sum(not (strata[fold_of == fold] == value).any() for fold in range(num_folds) for value in known)
        empty = num_folds - len(set(fold_of))
        if missing + empty * len(records) < lacking:
            best, lacking = fold_of, missing + empty * len(records)
        if lacking <= unavoidable:
            break
    if lacking:
        warnings.warn(
            f"some of the {num_folds} folds have no case of one value of {stratify} "
            f"({', '.join(f'{value}: {(strata == value).sum()}' for value in known)} cases); "
            "their scores for it are undefined. Fewer folds would help.",
            stacklevel=2,
        )
    images = records["image"].tolist()
    fold_by_image = dict(zip(images, map(int, best), strict=True))
    return Folds(fold_by_image, dict(zip(images, map(str, patients), strict=True)), num_folds, stratify, seed)


def _strata(records: pd.DataFrame, column: str) -> tuple[np.ndarray, list[str]]:
    """Each record's stratum as text, "unknown" included, and the known strata."""
    if not column:
        return np.full(len(records), "all", dtype=object), []
    values = records[column]
    if pd.api.types.is_numeric_dtype(values):
        texts = ["unknown" if math.isnan(value) else f"{value:g}" for value in values.astype("float64")]
    else:
        texts = [str(value) or "unknown" for value in values.fillna("")]
    return np.array(texts, dtype=object), sorted(set(texts) - {"unknown"})


def limit_cases(train_rows: np.ndarray, n: int, seed: int, records: pd.DataFrame) -> np.ndarray:
    """``n`` of the training rows: whole patients (the last may be cut), balanced by effusion.

    The choice for a smaller ``n`` is contained in that for a larger one.

    Args:
        train_rows: (m,) index labels of ``records``.
        n: how many to keep, 1 to m.
        seed: decides the draw.
        records: the table they belong to.

    Returns:
        (n,) index labels, in the order of ``train_rows``.

    Raises:
        ConfigError: n is below 1 or above m.
    """
    if not 1 <= n <= len(train_rows):
        raise ConfigError(f"{n} training cases were asked for; this fold has {len(train_rows)} (at least 1).")
    part = records.loc[train_rows]
    place = {patient: i for i, patient in enumerate(patient_order(part, seed))}
    order = np.argsort(part["patient_id"].map(place).to_numpy(), kind="stable")
    return np.asarray(train_rows)[np.sort(order[:n])]


def check_no_leak(pretraining_patients: Iterable[str], other_patients: Iterable[str]) -> None:
    """No patient may be both pretrained on and fine-tuned or tested on.

    Raises:
        LeakError: some are; says how many, names a few, and how to mend it.
    """
    shared = sorted(set(map(str, pretraining_patients)) & set(map(str, other_patients)))
    if shared:
        raise LeakError(
            f"{len(shared):,} patients to fine-tune or test on were also pretrained on: {listing(shared, 5)}. "
            "The scores would flatter the pretraining. Pretrain without them (densecf pretrain --exclude or --where "
            "with the condition that chooses these records), or choose other records with --where."
        )

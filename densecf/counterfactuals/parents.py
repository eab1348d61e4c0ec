"""Parents of an image: the columns one can intervene on, typed from the records, and their numbers for the network.

parents, known = fit_parents(records, ["scanner", "sex", "age"])
context = parents.encode(records[known])      # (n, width) float32
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from densecf.data.problems import listing
from densecf.data.records import is_missing
from densecf.errors import CheckpointError, ConfigError, DataError

BINARY, CATEGORICAL, CONTINUOUS = KINDS = ("binary", "categorical", "continuous")
UNKNOWN = "unknown"
_IDENTIFIERS = ("image", "patient_id")
_MANY, _FEW = 20, 5  # more values than this with fewer records each on average: free text, not a category
_TEXT = ("scanner", "sex", "view", "split", "mask_kind")  # text by definition, even where it looks like a number


@dataclass(frozen=True)
class Parent:
    """One column.

    Attributes:
        name: the column.
        kind: "binary", "categorical" or "continuous".
        values: of a binary or categorical parent, as text ("0", "M", "Aurora DR"), sorted; "unknown" comes last where
            missing values are a category of their own. Empty for a continuous one.
        mean, std: of a continuous parent, in its own unit.
    """

    name: str
    kind: str
    values: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0

    @property
    def width(self) -> int:
        """How many numbers encode it."""
        return len(self.values) if self.kind == CATEGORICAL else 1

    @property
    def known_values(self) -> tuple[str, ...]:
        """The values without "unknown": those that can be set."""
        return self.values[:-1] if self.values[-1:] == (UNKNOWN,) else self.values

    def describe(self) -> str:
        """For a human: "sex (F, M)", "age (continuous, 58 ± 17)"."""
        if self.kind == CONTINUOUS:
            return f"{self.name} (continuous, {self.mean:.3g} ± {self.std:.3g})"
        return f"{self.name} ({listing(self.values)})"


def value_text(value: Any) -> str:
    """A cell as the text that names its value: 1.0 -> "1", "M " -> "M", 2.5 -> "2.5", NaN -> "unknown"."""
    if is_missing(value):
        return UNKNOWN
    if isinstance(value, float | np.floating):
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    return str(value).strip()


@dataclass(frozen=True)
class Parents:
    """The parents of a model, in the order of its context vector."""

    entries: tuple[Parent, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parents, in their order."""
        return tuple(parent.name for parent in self.entries)

    @property
    def width(self) -> int:
        """How many numbers encode all of them."""
        return sum(parent.width for parent in self.entries)

    def __getitem__(self, name: str) -> Parent:
        """The parent of this name.

        Raises:
            ConfigError: there is none; says which there are.
        """
        for parent in self.entries:
            if parent.name == name:
                return parent
        raise ConfigError(f"There is no parent {name!r}; the parents are: {', '.join(self.names) or 'none'}.")

    def columns(self, name: str) -> slice:
        """Where a parent stands in the encoding."""
        width = self[name].width
        start = sum(parent.width for parent in self.entries[: self.names.index(name)])
        return slice(start, start + width)

    def only(self, names: Sequence[str]) -> "Parents":
        """Some of the parents, in the order of ``names``."""
        return Parents(tuple(self[name] for name in names))

    def encode(self, records: pd.DataFrame) -> np.ndarray:
        """Parents as numbers: binary -1 and +1 (second value), categorical one-hot, continuous (v - mean) / std.

        Returns:
            (n, width) float32, in the order of the records.

        Raises:
            DataError: a column is absent, or cells hold a value the parent does not have; names the records.
        """
        parts: list[np.ndarray] = [np.zeros((len(records), 0))]
        for parent in self.entries:
            if parent.kind == CONTINUOUS:
                parts.append(((numbers(records, parent) - parent.mean) / parent.std)[:, None])
            elif parent.kind == BINARY:
                parts.append(2.0 * codes(records, parent)[:, None] - 1)
            else:
                parts.append(np.eye(parent.width)[codes(records, parent)])
        return np.concatenate(parts, axis=1).astype(np.float32)

    def to_dict(self) -> list[dict[str, Any]]:
        """As JSON values; `from_dict` gives the same parents back, exactly."""
        return [
            {"name": parent.name, "kind": parent.kind, "mean": parent.mean, "std": parent.std}
            if parent.kind == CONTINUOUS
            else {"name": parent.name, "kind": parent.kind, "values": list(parent.values)}
            for parent in self.entries
        ]

    @classmethod
    def from_dict(cls, entries: Any) -> "Parents":
        """What `to_dict` described.

        Raises:
            CheckpointError: these are not parents as `to_dict` writes them.
        """
        if not isinstance(entries, list):
            raise CheckpointError(f"The parents of the model are {entries!r}, expected a list. Train the model again.")
        parents = tuple(_parent_from(entry) for entry in entries)
        names = [parent.name for parent in parents]
        if len(set(names)) < len(names):
            raise CheckpointError(f"The model names a parent twice: {', '.join(names)}. Train it again.")
        return cls(parents)


def codes(records: pd.DataFrame, parent: Parent) -> np.ndarray:
    """Positions in ``parent.values`` of a discrete parent, (n,) int64.

    Raises:
        DataError: see `Parents.encode`.
    """
    place = {value: code for code, value in enumerate(parent.values)}
    found = [place.get(value_text(cell), -1) for cell in _column(records, parent.name)]
    _refuse(records, parent, [row for row, code in enumerate(found) if code < 0], f"one of {listing(parent.values)}")
    return np.array(found, np.int64)


def numbers(records: pd.DataFrame, parent: Parent) -> np.ndarray:
    """Values of a continuous parent in its own unit, (n,) float64.

    Raises:
        DataError: see `Parents.encode`.
    """
    found = np.array([_number(cell) for cell in _column(records, parent.name)], np.float64)
    _refuse(records, parent, np.flatnonzero(np.isnan(found)).tolist(), "a number")
    return found


def fit_parents(
    records: pd.DataFrame,
    names: Sequence[str],
    *,
    missing: str = "drop",
    kinds: Mapping[str, str] | None = None,
) -> tuple[Parents, np.ndarray]:
    """Type the parents from the records.

    A column with two values is binary; text with more of them is categorical; numbers with more of them are
    continuous. (Numbers kept as text count as numbers, except in the columns that densecf knows as text, such as
    scanner.) ``kinds`` overrules this.

    Args:
        records: a records table.
        names: columns, in the order of the encoding.
        missing: "drop" leaves out every record in which one of them is unknown; "category" makes "unknown" a value
            of the discrete parents that need it. A record with an unknown continuous parent is always left out.
        kinds: name -> "binary", "categorical" or "continuous".

    Returns:
        The parents, and which records they describe: (n,) bool.

    Raises:
        ConfigError: no such column (names those there are), a name twice, an unknown kind, or one that does not fit.
        DataError: nothing is left, or a parent has a single value (nothing to intervene on), or about as many values
            as there are records.
    """
    kinds = dict(kinds or {})
    _check_request(records, names, missing, kinds)
    known = {name: np.array([not is_missing(cell) for cell in records[name]], bool) for name in names}
    typed = {name: kinds.get(name) or _kind(records[name][known[name]]) for name in names}
    kept = np.ones(len(records), bool)
    for name in names:
        if missing == "drop" or typed[name] == CONTINUOUS:
            kept &= known[name]
    if not kept.any():
        counts = ", ".join(f"{name} in {int((~known[name]).sum()):,}" for name in names)
        raise DataError(
            f"None of the {len(records):,} records has all parents known; unknown are {counts}. "
            "Name fewer parents, or make missing values a category."
        )
    return Parents(tuple(_fit(records[kept], name, kinds.get(name)) for name in names)), kept


def _check_request(records: pd.DataFrame, names: Sequence[str], missing: str, kinds: Mapping[str, str]) -> None:
    available = [str(name) for name in records.columns if name not in _IDENTIFIERS]
    absent = [name for name in names if name not in available]
    if absent:
        raise ConfigError(
            f"There is no column {', '.join(map(repr, absent))} to intervene on; the columns are: "
            f"{', '.join(available)}."
        )
    if not names:
        raise ConfigError(f"Name at least one parent; the columns are: {', '.join(available)}.")
    if len(set(names)) < len(names):
        raise ConfigError(f"A parent is named twice: {', '.join(names)}.")
    if missing not in ("drop", "category"):
        raise ConfigError(f"Missing values can be handled by 'drop' or 'category', not {missing!r}.")
    for name, kind in kinds.items():
        if kind not in KINDS or name not in names:
            raise ConfigError(
                f"The kind of {name!r} is given as {kind!r}; kinds are {', '.join(KINDS)}, and the parents are "
                f"{', '.join(names)}."
            )


def _kind(column: pd.Series) -> str:
    if len({value_text(cell) for cell in column}) <= 2:
        return BINARY
    return CONTINUOUS if column.name not in _TEXT and _are_numbers(column) else CATEGORICAL


def _fit(kept: pd.DataFrame, name: str, asked: str | None) -> Parent:
    # Typed once more: dropping the records in which other parents are unknown may take away all but two values.
    column = kept[name]
    unknown = np.array([is_missing(cell) for cell in column], bool)
    texts = {value_text(cell) for cell in column[~unknown]}
    if len(texts) < 2:
        raise DataError(
            f"{name} is {listing(sorted(texts)) or 'unknown'} in all {len(kept):,} records: with a single value there "
            "is nothing to intervene on. Leave this parent out, or add records of another value."
        )
    kind = asked or _kind(column[~unknown])
    if kind == CONTINUOUS:
        if not _are_numbers(column):
            odd = next(text for text in sorted(texts) if math.isnan(_number(text)))
            raise ConfigError(f"{name} cannot be continuous: {odd!r} is not a number. Call it categorical.")
        values = np.array([_number(cell) for cell in column])
        return Parent(name, kind, mean=float(values.mean()), std=float(values.std()))
    if asked == BINARY and (len(texts) > 2 or unknown.any()):
        values_there = listing([*_ordered(texts), *([UNKNOWN] if unknown.any() else [])])
        raise ConfigError(f"{name} cannot be binary: its values are {values_there}. Call it categorical.")
    if len(texts) > _MANY and len(texts) * _FEW > len(kept):
        raise DataError(
            f"{name} has {len(texts):,} values in {len(kept):,} records: too few of each to learn what it "
            "looks like. Leave this parent out, or group its values in the table."
        )
    if unknown.any():
        return Parent(name, CATEGORICAL, (*_ordered(texts), UNKNOWN))
    return Parent(name, kind, _ordered(texts))


def _ordered(texts: set[str]) -> tuple[str, ...]:
    if all(not math.isnan(_number(text)) for text in texts):
        return tuple(sorted(texts, key=lambda text: (_number(text), text)))
    return tuple(sorted(texts))


def _number(cell: Any) -> float:
    """A cell as a finite number, or NaN."""
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _are_numbers(column: pd.Series) -> bool:
    return not any(math.isnan(_number(cell)) for cell in column)


def _column(records: pd.DataFrame, name: str) -> pd.Series:
    if name not in records:
        raise DataError(
            f"The records have no column {name!r}, which the model was trained with; they have: "
            f"{', '.join(map(str, records.columns))}."
        )
    return records[name]


def _refuse(records: pd.DataFrame, parent: Parent, rows: list[int], expected: str) -> None:
    if not rows:
        return
    images = records["image"].tolist() if "image" in records else [f"row {row}" for row in range(len(records))]
    cells = records[parent.name].tolist()
    named = listing([f"{images[row]} ({value_text(cells[row])})" for row in rows], 5)
    raise DataError(
        f"{parent.name} has to be {expected}, and is not in {len(rows):,} records: {named}. Leave these records out."
    )


def _parent_from(entry: Any) -> Parent:
    try:
        kind = entry["kind"]
        if kind == CONTINUOUS:
            parent = Parent(str(entry["name"]), kind, mean=float(entry["mean"]), std=float(entry["std"]))
            fits = math.isfinite(parent.mean) and math.isfinite(parent.std) and parent.std > 0
        else:
            parent = Parent(str(entry["name"]), kind, tuple(entry["values"]))
            distinct = len(set(parent.values)) == len(parent.values) and all(isinstance(v, str) for v in parent.values)
            fits = distinct and (len(parent.values) == 2 if kind == BINARY else len(parent.values) > 1)
        if kind in KINDS and fits:
            return parent
    except (KeyError, TypeError, ValueError):
        pass
    raise CheckpointError(f"The model describes a parent as {entry!r}, which cannot be read. Train the model again.")

"""The ``records`` table: one row an image, and the only thing the rest of densecf knows of a dataset.

| column | type | meaning |
|---|---|---|
| image | text | path (or name) of the image, unique |
| patient_id | text | whose image it is; splits never divide a patient |
| pleural_effusion | float | 1 yes, 0 no, NaN unknown |
| age | float | years, NaN unknown |
| sex | text | "M", "F" or "" |
| scanner, view | text | "" unknown |
| split | text | "train", "val", "test", or "manual" (hand-drawn masks, for fine-tuning in folds) |
| mask_kind | text | "manual", "silver" or "" for no mask |
| mask_quality | float | larger is better, NaN unknown |
| pixel_spacing | float | millimetres per pixel, NaN unknown |

Further columns are kept as they are.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from densecf.data.csv_table import read_csv_table
from densecf.data.problems import Problems, listing
from densecf.errors import DataError, LeakError

SPLITS = ("train", "val", "test", "manual")
MASK_KINDS = ("", "silver", "manual")
MISSING = {"", "nan", "na", "n/a", "none", "null", "<na>", "unknown"}
_TRUTH = {"1": 1.0, "true": 1.0, "yes": 1.0, "0": 0.0, "false": 0.0, "no": 0.0}
_SEX = {"m": "M", "male": "M", "f": "F", "female": "F"}


def is_missing(value: Any) -> bool:
    """Whether a cell says "unknown": empty, NaN, None, "NA", "null", "unknown" and the like."""
    if isinstance(value, str):
        return value.strip().lower() in MISSING
    return bool(pd.isna(value))


def validate(
    frame: pd.DataFrame,
    lines: Sequence[int] | None = None,
    where: str = "records",
    allow_shared_patients: bool = False,
    called: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Check and convert a table; the columns pleural_effusion, mask_kind and pixel_spacing are added if absent.

    Args:
        frame: cells as text or already typed.
        lines: the line each row stands on, for messages; without it rows are counted from 0.
        where: the file the table comes from, for messages.
        allow_shared_patients: let a patient have rows in several splits, as some published splits do; whoever
            asks for it counts them (`shared_patients`) and says so.
        called: what messages call a column that has another name in the file.

    Returns:
        A new table with a fresh 0..n-1 index and the types given above.

    Raises:
        DataError: a required column is missing, or rows are bad: all of them are listed, each with its
            line and what was expected.
        LeakError: a patient has rows in several splits, and that is not allowed.
    """
    missing = [name for name in ("image", "patient_id") if name not in frame]
    if missing:
        raise DataError(
            f"{where}: the table needs the columns image and patient_id; missing: {', '.join(missing)}. "
            f"It has: {', '.join(map(str, frame.columns)) or 'none'}. Rename the columns that hold them."
        )
    if not len(frame):
        raise DataError(f"{where}: the table holds no rows.")
    places = [f"line {line}" for line in lines] if lines is not None else [f"row {i}" for i in range(len(frame))]
    problems = Problems()
    columns: dict[str, Any] = {}
    for name in map(str, frame.columns):
        if name in _PARSERS:
            columns[name] = _parse_column(name, frame[name].tolist(), places, problems, (called or {}).get(name, name))
        else:
            columns[name] = frame[name].reset_index(drop=True)
    _find_duplicates(columns["image"], places, problems)
    problems.raise_if_any(f"{where}: rows that cannot be used")
    records = pd.DataFrame(columns)
    for name, default in (("pleural_effusion", math.nan), ("mask_kind", ""), ("pixel_spacing", math.nan)):
        if name not in records:
            records[name] = pd.Series([default] * len(records), dtype="str" if default == "" else "float64")
    if "split" in records and not allow_shared_patients:
        _check_split(records, where)
    return records


def _parse_column(name: str, values: list[Any], places: Sequence[str], problems: Problems, title: str) -> pd.Series:
    parse, expected, dtype = _PARSERS[name]
    known: dict[str, Any] = {}  # each distinct text is read once: 100,000 rows have few
    parsed = []
    for value, place in zip(values, places, strict=True):
        if isinstance(value, str) and value in known:
            parsed.append(known[value])
            continue
        try:
            parsed.append(parse(value))
            if isinstance(value, str):
                known[value] = parsed[-1]
        except (ValueError, KeyError):
            problems.add(place, f"{title} is {value!r}, expected {expected}")
            parsed.append(math.nan if dtype == "float64" else "")
    return pd.Series(parsed, dtype=dtype)


def _find_duplicates(images: pd.Series, places: Sequence[str], problems: Problems) -> None:
    first: dict[str, str] = {}
    for image, place in zip(images, places, strict=True):
        if image and first.setdefault(image, place) != place:
            problems.add(place, f"image {image!r} is already on {first[image]}, expected each image once")


def shared_patients(records: pd.DataFrame) -> list[str]:
    """The patients who have rows in several splits."""
    splits = records.groupby("patient_id")["split"].nunique()
    return [str(patient) for patient in splits.index[splits > 1]]


def _check_split(records: pd.DataFrame, where: str) -> None:
    shared = shared_patients(records)
    if shared:
        raise LeakError(
            f"{where}: {len(shared):,} patients have rows in several splits: {listing(shared, 5)}. "
            "Give every patient one value of split, or drop the column to have the split made for you."
        )


def _required_text(value: Any) -> str:
    text = "" if not isinstance(value, str) and pd.isna(value) else str(value).strip()
    if text in {"", "nan", "NaN", "<NA>", "None"}:
        raise ValueError
    return text


def _text(value: Any) -> str:
    return "" if is_missing(value) else str(value).strip()


def _truth(value: Any) -> float:
    if is_missing(value):
        return math.nan
    return _TRUTH[value.strip().lower().removesuffix(".0") if isinstance(value, str) else f"{float(value):g}"]


def _sex(value: Any) -> str:
    return "" if is_missing(value) else _SEX[str(value).strip().lower()]


def _one_of(options: Sequence[str]) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        text = _text(value)
        if text not in options:
            raise ValueError
        return text

    return parse


def _split(value: Any) -> str:
    text = _text(value)
    return "train" if text == "pretrain" else _one_of(SPLITS)(text)


def _number(low: float, high: float = math.inf, low_included: bool = True) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        if is_missing(value):
            return math.nan
        number = float(value)
        if not (low <= number <= high) or math.isinf(number) or (number == low and not low_included):
            raise ValueError
        return number

    return parse


# column: how to read a cell, what was expected, type of the column
_PARSERS: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    "image": (_required_text, "a path", "str"),
    "patient_id": (_required_text, "an identifier (without one, no split can be trusted)", "str"),
    "pleural_effusion": (_truth, "1 or 0 (also true/false, yes/no) or empty for unknown", "float64"),
    "age": (_number(0, 130), "years from 0 to 130 or empty", "float64"),
    "sex": (_sex, "M or F (also male/female) or empty", "str"),
    "scanner": (_text, "text", "str"),
    "view": (_text, "text", "str"),
    "split": (_split, "train, val, test or manual", "str"),
    "mask_kind": (_one_of(MASK_KINDS), "manual, silver or empty", "str"),
    "mask_quality": (_number(-math.inf), "a number or empty", "float64"),
    "pixel_spacing": (_number(0, low_included=False), "millimetres above 0 or empty", "float64"),
}


def column_types(records: pd.DataFrame) -> dict[str, str]:
    """The type of each column: "str", "float64", "int64" or "bool"; what `load_records` needs to restore it."""
    types = {}
    for name in records.columns:
        column = records[name]
        if pd.api.types.is_bool_dtype(column):
            types[str(name)] = "bool"
        elif pd.api.types.is_integer_dtype(column) and not column.isna().any():
            types[str(name)] = "int64"
        else:
            types[str(name)] = "float64" if pd.api.types.is_numeric_dtype(column) else "str"
    return types


def records_to_csv(records: pd.DataFrame) -> str:
    """The table as CSV text; floats keep every digit, missing values are empty cells."""
    types = column_types(records)
    plain = pd.DataFrame({name: _plain(records[name], kind) for name, kind in types.items()})
    return plain.to_csv(index=False, lineterminator="\n")


def _plain(column: pd.Series, kind: str) -> pd.Series:
    if kind != "str":
        return pd.Series(column.to_numpy(), dtype=kind)  # type: ignore[call-overload]
    return pd.Series(["" if pd.isna(value) else str(value).strip() for value in column], dtype="str")


def load_records(path: Path, types: Mapping[str, str]) -> pd.DataFrame:
    """Read what `records_to_csv` wrote, with the types of `column_types`.

    Raises:
        DataError: missing or damaged file, or columns other than those of ``types``.
    """
    frame = read_csv_table(path).frame
    if list(frame.columns) != list(types):
        raise DataError(f"{path}: the columns are not those this dataset was written with. Prepare it again.")
    try:
        return pd.DataFrame({name: _restore(frame[name], kind) for name, kind in types.items()})
    except (ValueError, KeyError) as error:
        raise DataError(f"{path}: a cell does not have the type of its column ({error}). Prepare again.") from error


def _restore(column: pd.Series, kind: str) -> pd.Series:
    if kind == "float64":
        return pd.Series([float(value) if value else math.nan for value in column], dtype="float64")
    if kind == "bool":
        return pd.Series([{"True": True, "False": False}[value] for value in column], dtype="bool")
    return pd.Series([int(value) for value in column], dtype="int64") if kind == "int64" else column


def describe(records: pd.DataFrame) -> str:
    """A few lines for a human: images, patients, masks and effusion, for each split."""
    parts = {"all": records}
    if "split" in records:
        parts = {str(name): part for name, part in records.groupby("split", sort=False)}
    return "\n".join(f"{name:<9}{_describe(part)}" for name, part in parts.items())


def _describe(part: pd.DataFrame) -> str:
    effusion = part["pleural_effusion"]
    kinds = part["mask_kind"].value_counts()
    masks = ", ".join(f"{kinds[kind]:,} {kind}" for kind in ("manual", "silver") if kind in kinds) or "none"
    return (
        f"{len(part):>8,} images of {part['patient_id'].nunique():,} patients; masks: {masks}; effusion: "
        f"{(effusion == 1).sum():,} yes, {(effusion == 0).sum():,} no, {effusion.isna().sum():,} unknown"
    )

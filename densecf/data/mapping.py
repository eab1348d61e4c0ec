"""How a dataset's own table becomes records: a YAML file that names columns, values, files, masks and the split.

```yaml
name: padchest
columns:                       # record column: where it comes from (see `Rule`)
  image: ImageID                                      # a column of the table, as it is
  patient_id: {from: Path, pattern: 'patient(\\d+)'}   # the group of a regular expression
  sex: {from: Sex, values: {Male: M, Female: F}, otherwise: ""}
  age: {from: Study, pattern: '^(\\d{4})', minus: {from: Birth}}
  pneumonia: {from: Labels, contains: pneumonia}      # 1 or 0: is it in a list such as "['a', 'b']"
  pleural_effusion: {any: [{from: Labels, contains: pleural effusion}, {from: CUIs, contains: C2073625}]}
constants: {view: PA}
keep: [ViewPosition]           # further columns, as they are
filters:                       # rows to use; all must hold (see `Filter`)
  - {column: Projection, is: PA}
  - {column: Labels, lacks: [exclude, suboptimal study]}
files: ["{ImageDir}/{ImageID}", "{ImageDir}.zip/{ImageID}"]   # the first that exists; record or table columns
masks: {files: {left_lung: "masks/{image}_l.png", right_lung: "masks/{image}_r.png"}}   # see `Masks`
split: {unit: patient_id, test: 0.2, val: 0.1, seed: 33}      # see `SplitRule`
published_split: {unit: image, test: 0.3, val: 0.15, seed: 33}
```

Every scalar is text until something asks for a number, so that ``No``, ``007`` and ``1.0`` stay what they are.
"""

import ast
import difflib
import math
import re
import string
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from densecf.data.csv_table import CsvTable
from densecf.data.problems import Problems, listing
from densecf.data.records import MISSING, is_missing
from densecf.errors import ConfigError, DataError

MAPPINGS = Path(__file__).parent / "readers" / "mappings"

_QUOTED = r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\""
_LIST = re.compile(rf"\[\s*(?:(?:{_QUOTED})\s*(?:,\s*|(?=['\"\]])))*\]")
_ITEM = re.compile(_QUOTED)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
"""One text or a list of texts."""


class Rule(_Strict):
    """How one record column comes out of a row. Exactly one of ``from``, ``constant`` and ``any`` is given.

    Attributes:
        column: (``from``) the table's column.
        constant: the same value for every row.
        any_of: (``any``) rules that give 1, 0 or NaN: 1 if one of them does, else NaN if one of them does, else 0.
        pattern: a regular expression with one group, searched in the cell; the group replaces the cell.
        contains: 1 if the cell, a list, holds one of these items, else 0.
        separator: between the items of a list such as ``Effusion|Mass``; without it: ``['a', 'b']`` or ``['a' 'b']``.
        values: cell -> value; numbers are compared as numbers (a key 1 fits the cell "1.0").
        otherwise: the value of all cells that are not in ``values`` or do not fit ``pattern``; without it they are
            errors.
        missing: the value of an empty cell; without it: unknown.
        minus: a second rule; the difference of the two as numbers.
        kind: (``type``) "text", "number", or "flag" for 1 and 0 (also true/false, yes/no).
    """

    column: str = Field("", alias="from")
    constant: str | None = None
    any_of: tuple["Rule", ...] = Field((), alias="any")
    pattern: re.Pattern | None = None
    contains: Texts = ()
    separator: str = ""
    values: dict[str, str] = Field(default_factory=dict)
    otherwise: str | None = None
    missing: str | None = None
    minus: "Rule | None" = None
    kind: Literal["text", "number", "flag"] = Field("text", alias="type")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"from": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_origin(self) -> "Rule":
        if (self.column != "") + (self.constant is not None) + (self.any_of != ()) != 1:
            raise ValueError("give exactly one of from, constant and any")
        if self.pattern is not None and self.pattern.groups != 1:
            raise ValueError(f"the pattern has {self.pattern.groups} groups, expected one: what is in it is taken")
        if self.contains and self.values:
            raise ValueError("contains gives 1 or 0, so values have no effect; leave one out")
        return self

    @property
    def is_plain(self) -> bool:
        """Whether cells are taken as they are."""
        return self.model_fields_set == {"column"}

    @property
    def title(self) -> str:
        """What to call it in messages: the table's own word."""
        return f"{self.column} minus {self.minus.title}" if self.minus else self.column

    @property
    def table_columns(self) -> set[str]:
        """The columns it reads."""
        inner = [*self.any_of, *([self.minus] if self.minus else [])]
        return {self.column}.union(*(rule.table_columns for rule in inner)) - {""}


class Filter(_Strict):
    """Which rows to use, by one column of the table; all that is given must hold.

    Attributes:
        column: the table's column.
        is_in: (``is``) the cell is one of these.
        is_not: the cell is none of these.
        contains, lacks: the cell, a list, holds one, or none, of these items.
        separator: as in `Rule`.
        at_least, at_most: the cell is a number and within these; empty cells are not.
        given: true: the cell is not empty; false: it is.
        because: in words, for the report.
    """

    column: str
    because: str = ""
    is_in: Texts = Field((), alias="is")
    is_not: Texts = ()
    contains: Texts = ()
    lacks: Texts = ()
    separator: str = ""
    at_least: float | None = None
    at_most: float | None = None
    given: bool | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Filter":
        if self.model_fields_set <= {"column", "separator", "because"}:
            raise ValueError("says nothing; give is, is_not, contains, lacks, at_least, at_most or given")
        return self


class Masks(_Strict):
    """Where the masks of the records are. Exactly one of ``files``, ``labels`` and ``rle`` is given.

    Attributes:
        kind: "manual" or "silver".
        files: class -> path template of a binary image.
        labels: path template of an image of class indices.
        classes: the classes of ``labels``, in the order of their indices, background first.
        values: pixel value of ``labels`` -> class; without it the value is the index.
        rle: class -> column of run lengths: pairs of start (from 1) and length.
        order: "rows" when runs go along rows, "columns" when they go down columns.
        height, width: columns that say the size the runs speak of; without them: the image's.
        optional: records whose mask files do not exist have no mask; otherwise they are errors.
    """

    kind: Literal["manual", "silver"] = "manual"
    files: dict[str, str] = Field(default_factory=dict)
    labels: str = ""
    classes: tuple[str, ...] = ()
    values: dict[int, str] = Field(default_factory=dict)
    rle: dict[str, str] = Field(default_factory=dict)
    order: Literal["rows", "columns"] = "rows"
    height: str = ""
    width: str = ""
    optional: bool = False

    @property
    def class_names(self) -> tuple[str, ...]:
        """Background first."""
        return self.classes if self.labels else ("background", *(self.files or self.rle))

    @model_validator(mode="after")
    def _one_kind(self) -> "Masks":
        if bool(self.files) + bool(self.labels) + bool(self.rle) != 1:
            raise ValueError("give exactly one of files, labels and rle")
        if self.labels and (len(set(self.classes)) < 2 or self.classes[0] != "background"):
            raise ValueError("labels need classes: each once, background first")
        if unknown := sorted(set(self.values.values()) - set(self.classes)):
            raise ValueError(f"values name {', '.join(unknown)}, which are not among the classes")
        if bool(self.height) != bool(self.width):
            raise ValueError("give both height and width, or neither")
        return self


class SplitRule(_Strict):
    """Two random draws, as scikit-learn's ``train_test_split`` makes them: test first, then val of the remainder.

    Attributes:
        unit: the record column whose values are drawn; "image" draws images, whoever they are of.
        test, val: shares between 0 and 1.
        seed: of both draws.
        stratify: a record column whose shares are kept, "" for none; a unit counts with its first record.
    """

    unit: str = "patient_id"
    test: float = Field(gt=0, lt=1)
    val: float = Field(gt=0, lt=1)
    seed: int = Field(0, ge=0)
    stratify: str = ""


class Mapping(_Strict):
    """See the top of this file."""

    name: str = "table"
    columns: dict[str, Rule]
    constants: dict[str, str] = Field(default_factory=dict)
    keep: Texts = ()
    filters: tuple[Filter, ...] = ()
    files: Texts = ("{image}",)
    masks: Masks | None = None
    split: SplitRule | None = None
    published_split: SplitRule | None = None

    @field_validator("columns")
    @classmethod
    def _required(cls, columns: dict[str, Rule]) -> dict[str, Rule]:
        missing = [name for name in ("image", "patient_id") if name not in columns]
        if missing:
            raise ValueError(f"{' and '.join(missing)} must be said (a split never divides a patient_id)")
        return columns

    @field_validator("files")
    @classmethod
    def _readable(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        for template in files:
            template_columns(template)
        return files

    @model_validator(mode="after")
    def _no_clash(self) -> "Mapping":
        names = [*self.columns, *self.constants, *self.keep]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"columns, constants and keep all name {', '.join(repeated)}")
        if self.masks:
            for template in (*self.masks.files.values(), self.masks.labels):
                template_columns(template)
        return self

    def titles(self) -> dict[str, str]:
        """What the table calls the columns that the records are made of."""
        return {name: rule.title for name, rule in self.columns.items() if rule.title}

    def table_columns(self) -> list[str]:
        """The columns that the table must have, in the order of the file."""
        masks = self.masks
        templates = [*self.files, *(masks.files.values() if masks else ()), masks.labels if masks else ""]
        made = {*self.columns, *self.constants}
        wanted = [name for rule in self.columns.values() for name in sorted(rule.table_columns)]
        wanted += [*self.keep, *(item.column for item in self.filters)]
        wanted += [name for template in templates for name in template_columns(template) if name not in made]
        wanted += [*masks.rle.values(), masks.height, masks.width] if masks else []
        return [name for name in dict.fromkeys(wanted) if name]


@dataclass(frozen=True)
class Mapped:
    """What a mapping made of a table.

    Attributes:
        records: the rows that are used; not yet through `densecf.data.records.validate`.
        table: the same rows as the table has them, for path templates and run lengths.
        report: what each filter left out, in words.
    """

    records: pd.DataFrame
    table: CsvTable
    report: list[str]

    def fill(self, template: str) -> list[str]:
        """A path template for each row; names are columns of the records, else of the table."""
        names = template_columns(template)
        cells = {n: (self.records if n in self.records else self.table.frame)[n].tolist() for n in names}
        if not names:
            return [template] * len(self.records)
        pieces = [(text, name) for text, name, _, _ in string.Formatter().parse(template)]
        return [
            "".join(text + (str(cells[name][row]) if name else "") for text, name in pieces)
            for row in range(len(self.records))
        ]


def load_mapping(path: str | Path) -> Mapping:
    """Read a mapping.

    Raises:
        ConfigError: missing, not YAML, or mistaken; every mistake is listed with its key.
    """
    path = Path(path)
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Texts)
    except OSError as error:
        raise ConfigError(f"{path}: this mapping cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a YAML file ({error}).") from error
    try:
        return Mapping.model_validate(values)
    except ValidationError as error:
        problems = Problems()
        for found in error.errors():
            shown = "" if isinstance(found["input"], dict | Mapping) else f" (found {found['input']!r})"
            place = ".".join(map(str, found["loc"])) or "the file"
            problems.add(place, found["msg"].removeprefix("Value error, ") + shown)
        raise ConfigError(problems.report(f"{path}: the mapping cannot be used")) from None


def builtin_mapping(name: str) -> Mapping:
    """The mapping of a dataset that densecf knows."""
    return load_mapping(MAPPINGS / f"{name}.yaml")


class _Texts(yaml.BaseLoader):
    """All scalars stay text; a key given twice is an error."""


def _unique_keys(loader: yaml.BaseLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    repeated = [(key, node.value[i][0]) for i, key in enumerate(keys) if key in keys[:i]]
    if repeated:
        key, where = repeated[0]
        raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", where.start_mark)
    return {key: loader.construct_object(value, deep=True) for key, (_, value) in zip(keys, node.value, strict=True)}


_Texts.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_keys)


def template_columns(template: str) -> list[str]:
    """The names in braces.

    Raises:
        ValueError: braces that do not match, or more than a name in them.
    """
    names = []
    for _, name, form, conversion in string.Formatter().parse(template):
        if name == "" or form or conversion:
            raise ValueError(f"the template {template!r} cannot be read; write {{Column}}")
        if name is not None:
            names.append(name)
    return names


def apply_mapping(mapping: Mapping, table: CsvTable, where: str) -> Mapped:
    """Filter and convert a table.

    Args:
        mapping: what to do.
        table: the cells as text, with the line of each row.
        where: the table's name for messages.

    Raises:
        DataError: columns the mapping needs are missing (all are named), no row is left, or cells do not fit
            (all of them, with line, column and what was expected).
    """
    frame = table.frame
    _check_columns(mapping, [str(name) for name in frame.columns], table.left_out, where)
    places = np.array([f"line {line}" for line in table.lines], dtype=object)
    problems = Problems()
    kept = np.arange(len(frame))
    report = []
    for item in mapping.filters:
        cells = frame[item.column].iloc[kept]
        holds = _holds(item, cells, places[kept], problems)
        problems.raise_if_any(f"{where}: rows that cannot be used")
        if not holds.any():
            common = listing([repr(value) for value in cells.value_counts().index[:8]], 8)
            raise DataError(
                f"{where}: no row is left after the filter {_in_words(item)}; {item.column} is: {common}. "
                "Is this the right table?"
            )
        report.append(f"{int((~holds).sum()):,} rows left out: {item.because or 'not ' + _in_words(item)}")
        kept = kept[holds]
    rows = CsvTable(frame.iloc[kept].reset_index(drop=True), [table.lines[i] for i in kept])
    columns: dict[str, Any] = {}
    for name, rule in mapping.columns.items():
        columns[name] = read_rule(rule, rows.frame, places[kept], problems)
    problems.raise_if_any(f"{where}: rows that cannot be used")
    columns |= {name: pd.Series([value] * len(kept), dtype="str") for name, value in mapping.constants.items()}
    columns |= {name: rows.frame[name] for name in mapping.keep}
    return Mapped(pd.DataFrame(columns), rows, report)


def _check_columns(mapping: Mapping, present: list[str], left_out: tuple[str, ...], where: str) -> None:
    missing = [name for name in mapping.table_columns() if name not in present]
    if not missing:
        return
    present = [*present, *left_out]
    hints = []
    for name in missing:
        near = difflib.get_close_matches(name.lower(), [other.lower() for other in present], 1, 0.8)
        like = [other for other in present if near and other.lower() == near[0]]
        hints.append(name + (f" (like {like[0]}?)" if like else ""))
    raise DataError(
        f"{where}: the mapping {mapping.name} needs columns that this table does not have: {', '.join(hints)}. "
        f"It has: {listing(present, 50)}."
    )


def read_rule(rule: Rule, frame: pd.DataFrame, places: np.ndarray, problems: Problems) -> pd.Series:
    """One record column, text or float64, of all rows; cells that do not fit are added to ``problems``."""
    if rule.constant is not None:
        read = pd.Series([rule.constant] * len(frame), dtype="str")
    elif rule.any_of:
        flags = np.stack([read_rule(r, frame, places, problems).to_numpy(np.float64) for r in rule.any_of])
        unknown = np.where(np.isnan(flags).any(axis=0), math.nan, 0.0)
        return pd.Series(np.where((flags == 1).any(axis=0), 1.0, unknown))
    elif rule.is_plain:
        read = frame[rule.column].mask(frame[rule.column].str.lower().isin(MISSING), "")
    else:
        read = _each_value(frame[rule.column], lambda cell: _read_cell(rule, cell), places, problems)
    if rule.minus is not None:
        other = read_rule(rule.minus, frame, places, problems)
        return _numbers(read, places, problems, rule.column) - _numbers(other, places, problems, rule.minus.column)
    return read


def _read_cell(rule: Rule, cell: str) -> Any:
    """Raises ValueError saying what was expected."""
    if is_missing(cell) and _key(cell) not in {_key(value) for value in rule.values}:
        value = rule.missing or ""
        if rule.missing is None:
            return math.nan if rule.contains or rule.kind != "text" else ""
    elif rule.contains:
        return float(not _items(cell, rule.separator).isdisjoint(rule.contains))
    else:
        value = _looked_up(rule, _matched(rule, cell))
    if rule.contains or rule.kind != "text":
        return _flag(value) if rule.contains or rule.kind == "flag" else _number(value)
    return value


def _matched(rule: Rule, cell: str) -> str:
    if rule.pattern is None:
        return cell
    match = rule.pattern.search(cell)
    if match is not None and match.group(1) is not None:
        return match.group(1)
    if rule.otherwise is None:
        raise ValueError(f"a text that fits {rule.pattern.pattern!r}")
    return rule.otherwise


def _looked_up(rule: Rule, cell: str) -> str:
    if not rule.values:
        return cell
    values = {_key(key): value for key, value in rule.values.items()}
    found = values.get(_key(cell), rule.otherwise)
    if found is None:
        raise ValueError(f"one of {listing(list(rule.values), 12)}")
    return found


def _key(text: str) -> str:
    """Equal for equal texts, and for equal numbers however written."""
    text = text.strip()
    try:
        return f"{float(text):.12g}" if text[:1] in "+-.0123456789" else text
    except ValueError:
        return text


@lru_cache(1 << 16)  # several rules read the same labels
def _items(cell: str, separator: str) -> frozenset[str]:
    """The items of a list as a table holds it."""
    if separator:
        return frozenset(item.strip() for item in cell.split(separator))
    if not _LIST.fullmatch(cell):
        raise ValueError("a list such as ['a', 'b']")
    if "\\" in cell:
        try:
            return frozenset(str(ast.literal_eval(item.group())).strip() for item in _ITEM.finditer(cell))
        except (ValueError, SyntaxError) as error:
            raise ValueError("a list such as ['a', 'b']") from error
    return frozenset((single or double).strip() for single, double in _ITEM.findall(cell))


def _number(text: str) -> float:
    if is_missing(text):
        return math.nan
    try:
        number = float(text)
    except ValueError:
        number = math.inf
    if math.isinf(number):
        raise ValueError("a number")
    return number


def _flag(text: str) -> float:
    flags = {"1": 1.0, "true": 1.0, "yes": 1.0, "0": 0.0, "false": 0.0, "no": 0.0}
    if is_missing(text):
        return math.nan
    if _key(text.lower()) not in flags:
        raise ValueError("1 or 0 (also true/false, yes/no) or empty")
    return flags[_key(text.lower())]


def _each_value(cells: pd.Series, convert: Callable[[str], Any], places: np.ndarray, problems: Problems) -> pd.Series:
    """``convert`` once for each distinct cell: tables of 100,000 rows have few."""
    results: dict[str, Any] = {}
    expected: dict[str, str] = {}
    for cell in pd.unique(cells):
        try:
            results[cell] = convert(cell)
        except ValueError as error:
            expected[cell] = str(error)
    values = cells.tolist()
    if expected:
        for place, cell in zip(places, values, strict=True):
            if cell in expected:
                problems.add(place, f"{cells.name} is {_shortened(cell)}, expected {expected[cell]}")
        results |= dict.fromkeys(expected, "" if any(isinstance(v, str) for v in results.values()) else math.nan)
    numeric = all(isinstance(value, float) for value in results.values()) and results
    return pd.Series([results[cell] for cell in values], dtype="float64" if numeric else "str")


def _shortened(cell: str) -> str:
    return repr(cell if len(cell) <= 60 else cell[:57] + "...")


def _numbers(values: pd.Series, places: np.ndarray, problems: Problems, name: str) -> pd.Series:
    if pd.api.types.is_numeric_dtype(values):
        return values
    return _each_value(values.rename(name), _number, places, problems)


def _holds(item: Filter, cells: pd.Series, places: np.ndarray, problems: Problems) -> np.ndarray:
    wanted, unwanted = ({_key(value) for value in values} for values in (item.is_in, item.is_not))

    def test(cell: str) -> float:
        missing = is_missing(cell)
        if item.given is not None and item.given == missing:
            return 0.0
        if (wanted and _key(cell) not in wanted) or _key(cell) in unwanted:
            return 0.0
        if item.contains or item.lacks:
            items = frozenset() if missing else _items(cell, item.separator)
            if (item.contains and items.isdisjoint(item.contains)) or not items.isdisjoint(item.lacks):
                return 0.0
        if item.at_least is not None or item.at_most is not None:
            number = _number(cell)
            low = -math.inf if item.at_least is None else item.at_least
            high = math.inf if item.at_most is None else item.at_most
            return float(low <= number <= high)  # false for NaN
        return 1.0

    return _each_value(cells, test, places, problems).to_numpy() == 1


def _in_words(item: Filter) -> str:
    said = []
    for word, values in (("is", item.is_in), ("is not", item.is_not), ("has", item.contains), ("lacks", item.lacks)):
        said += [f"{item.column} {word} {listing(list(values), 3)}"] if values else []
    said += [f"{item.column} >= {item.at_least:g}"] if item.at_least is not None else []
    said += [f"{item.column} <= {item.at_most:g}"] if item.at_most is not None else []
    said += [f"{item.column} is {'given' if item.given else 'empty'}"] if item.given is not None else []
    return ", ".join(said)

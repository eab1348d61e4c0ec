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

import re
import string
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from densecf.data.problems import Problems, repeated
from densecf.errors import ConfigError
from densecf.yaml_files import read_yaml

MAPPINGS = Path(__file__).parent / "readers" / "mappings"


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
        if twice := repeated([*self.columns, *self.constants, *self.keep]):
            raise ValueError(f"columns, constants and keep all name {', '.join(twice)}")
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


def load_mapping(path: str | Path) -> Mapping:
    """Read a mapping.

    Raises:
        ConfigError: missing, not YAML, or mistaken; every mistake is listed with its key.
    """
    path = Path(path)
    values = read_yaml(path, "mapping", _Texts)
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

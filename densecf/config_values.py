"""Options as plain values and back: dictionaries, dotted names, YAML; every mistake named with its place."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from densecf.errors import ConfigError

Config = TypeVar("Config")


def to_dict(config: Any) -> dict[str, Any]:
    """The config as plain YAML-able values (tuples become lists)."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    return plain(dataclasses.asdict(config))


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options as dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def from_dict(kind: type[Config], values: dict[str, Any], source: str) -> Config:
    """Builds a config and checks types, ranges and unknown names.

    Raises:
        ConfigError: naming ``source`` and listing every mistake at once.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

    strict = with_config(ConfigDict(extra="forbid"))
    for nested in _dataclasses_in(kind):
        strict(nested)
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {_explained(kind, e)}" for e in error.errors()]
        raise ConfigError(f"{source}: {len(lines)} option(s) do not fit:\n" + "\n".join(lines)) from None


def _explained(kind: Any, error: Any) -> str:
    """One of pydantic's errors in words; for an unknown name with the nearest one there is, else with all."""
    if error["type"] != "unexpected_keyword_argument":
        return f"{error['msg']} (got {error['input']!r})"
    *rooms, name = error["loc"]
    known = _options_at(kind, rooms)
    near = get_close_matches(str(name), known, n=1)
    return f"no such option; did you mean {near[0]}?" if near else f"no such option; there are {', '.join(known)}"


def _options_at(kind: Any, rooms: Sequence[str | int]) -> list[str]:
    """The names of the fields of the dataclass at a place such as ("variants", 0)."""
    kinds = _outermost_dataclasses(kind)
    for room in rooms:
        if isinstance(room, str):
            kinds = {inner for outer in kinds for inner in _outermost_dataclasses(get_type_hints(outer)[room])}
    return sorted(part.name for outer in kinds for part in dataclasses.fields(outer))


def _outermost_dataclasses(kind: Any) -> set[type]:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return {kind}
    return {found for part in get_args(kind) for found in _outermost_dataclasses(part)}


def _dataclasses_in(kind: Any) -> set[type]:
    """The dataclasses that a type is made of, itself included."""
    found: set[type] = set()
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return {kind}.union(*(_dataclasses_in(hints[part.name]) for part in dataclasses.fields(kind)))
    for part in get_args(kind):
        found |= _dataclasses_in(part)
    return found


def load_yaml(kind: type[Config], path: Path) -> Config:
    """Reads a config file; fields it leaves out keep their defaults.

    Raises:
        ConfigError: when the file is missing, is no YAML mapping, or does not fit.
    """
    from densecf.yaml_files import read_yaml

    values = read_yaml(path, "config")
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of options, found {type(values).__name__}")
    try:
        return from_dict(kind, values, str(path))
    except ConfigError as error:  # the views check themselves, and know no file
        raise error if str(path) in str(error) else ConfigError(f"{path}: {error}") from None

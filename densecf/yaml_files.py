"""YAML files that a user hands us: small ones, read without running anything, whatever is in them."""

import os
from pathlib import Path
from typing import Any

import yaml

from densecf.errors import ConfigError

LARGEST = 1 << 20  # bytes
DEEPEST = 50
"""Lists in lists, and so on; the reader takes longer the deeper it gets."""
MOST_VALUES = 100_000
"""Once aliases (``*name``) are written out: a few lines of them can stand for more values than any memory holds."""


def read_yaml(path: str | os.PathLike, what: str = "YAML file", loader: type = yaml.SafeLoader) -> Any:
    """The content of a YAML file.

    Args:
        path: the file.
        what: it should be, for messages.
        loader: a loader of plain values, such as ``yaml.SafeLoader``.

    Raises:
        ConfigError: missing, not text, not YAML, too large, too deep, or with aliases that contain themselves or
            stand for more than `MOST_VALUES` values.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise ConfigError(f"{path}: more than {LARGEST >> 20} MB, too large for a {what}")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: this {what} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a YAML file ({error})") from None
    try:
        _check_depth(text, path, what)
        reader = loader(text)
        try:
            node = reader.get_single_node()
            _count(node, {}, path)
            return None if node is None else reader.construct_document(node)
        finally:
            reader.dispose()
    except ConfigError:
        raise
    # Impossible dates and numbers, and keys that are lists, come out of the constructors as whatever Python raises.
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
        raise ConfigError(f"{path}: not a YAML file ({error})") from None


def _check_depth(text: str, path: Path, what: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ConfigError(f"{path}: nested too deep for a {what}")


def _count(node: yaml.Node | None, known: dict[int, int], path: Path) -> int:
    """How many values a node stands for."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = 0  # open: an alias back to it would meet this
        parts = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_count(part, known, path) for part in parts)
    elif known[id(node)] == 0:
        raise ConfigError(f"{path}: an alias that contains itself")
    if known[id(node)] > MOST_VALUES:
        raise ConfigError(f"{path}: more than {MOST_VALUES:,} values once its aliases are written out")
    return known[id(node)]

"""Interventions, written as they are stored: ``scanner=other``, ``sex=F``, ``scanner=other+pleural_effusion=1``.

``other`` means each other value in turn. Of two values there is one other, and the intervention keeps that name; of K
values it stands for the K - 1 interventions ``other.1`` to ``other.K-1``, where ``other.k`` is the value k places
further round the list of values. So every record has every one of them, and none is the record's own value.

A ``+`` joins interventions that happen at once where another ``parent=`` follows, and is part of a value elsewhere.
"""

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from densecf.counterfactuals.parents import CONTINUOUS, UNKNOWN, Parent, Parents, codes, value_text
from densecf.data.intervention_names import split_terms
from densecf.data.layout import counterfactual_file
from densecf.data.problems import listing
from densecf.errors import ConfigError, DataError

_OTHER = re.compile(r"other(?:\.(\d+))?")


@dataclass(frozen=True)
class Intervention:
    """Setting one or several parents.

    Attributes:
        name: as stored, "scanner=other+pleural_effusion=other".
        terms: (parent, value); the value is "other", "other.K" or a value of the parent.
    """

    name: str
    terms: tuple[tuple[str, str], ...]

    def apply(self, records: pd.DataFrame, parents: Parents) -> pd.DataFrame:
        """A copy of the records with the parents set, and nothing else: descendants are `scm`'s matter.

        Raises:
            DataError: a record has a value the parent does not know.
        """
        changed = records.copy()
        for name, value in self.terms:
            changed[name] = with_texts(records[name], _targets(records, parents[name], value))
        return changed


def parse_interventions(texts: Sequence[str], parents: Parents) -> tuple[Intervention, ...]:
    """Read interventions, each other value in turn; combinations become every combination.

    Args:
        texts: in the grammar above, such as "scanner=other" and "sex=F+age=70".
        parents: which there are, with their values.

    Returns:
        In the order of the texts, without repetitions; names and values are written as `parents` write them.

    Raises:
        ConfigError: an unknown parent or value, "other" of a continuous parent, a parent twice in one intervention,
            or a name that cannot be stored; says what there is.
    """
    found: dict[str, Intervention] = {}
    for text in texts:
        terms = [_parse_term(term, text, parents) for term in split_terms(text.strip())]
        names = [choices[0][0] for choices in terms]
        if len(set(names)) < len(names):
            raise ConfigError(f"The intervention {text!r} sets a parent twice; set each once.")
        for combination in itertools.product(*terms):
            name = "+".join(f"{parent}={value}" for parent, value in combination)
            _check_storable(name)
            found[name] = Intervention(name, combination)
    return tuple(found.values())


def with_texts(column: pd.Series, texts: Sequence[str]) -> pd.Series:
    """A column with other values, given as text and kept in its type; cells that say the same stay untouched."""
    cells = column.tolist()
    different = [value_text(cell) != text for cell, text in zip(cells, texts, strict=True)]
    if not any(different):
        return column.copy()
    boolean, numeric = pd.api.types.is_bool_dtype(column), pd.api.types.is_numeric_dtype(column)

    def typed(text: str) -> Any:
        return text == "True" if boolean else float(text) if numeric else text

    new = [typed(text) if changed else cell for cell, text, changed in zip(cells, texts, different, strict=True)]
    whole = pd.api.types.is_integer_dtype(column) and all(float(cell).is_integer() for cell in new)
    dtype: Any = "float64" if numeric and not boolean and not whole else column.dtype
    return pd.Series(new, index=column.index, name=column.name).astype(dtype)


def _targets(records: pd.DataFrame, parent: Parent, value: str) -> list[str]:
    """The value each record is set to, as text."""
    match = _OTHER.fullmatch(value)
    if not match:
        return [value] * len(records)
    step, known = int(match[1] or 1), parent.known_values
    own = codes(records, parent)
    # A record whose value is unknown has no place on the round: it starts before the first value.
    start = np.where(own < len(known), own, -1)
    return [known[place] for place in (start + step) % len(known)]


def _parse_term(term: str, text: str, parents: Parents) -> list[tuple[str, str]]:
    """What one ``parent=value`` stands for: one pair, or a pair for each other value."""
    name, equals, value = (part.strip() for part in term.partition("="))
    if not equals or not name or not value:
        raise ConfigError(
            f"The intervention {text!r} cannot be read; write parent=value, several joined by +, with a parent among "
            f"{', '.join(parents.names)} and a value or 'other'."
        )
    parent = parents[name]
    other = _OTHER.fullmatch(value)
    if parent.kind == CONTINUOUS:
        return [(name, _number_text(parent, value))]
    if not other:
        return [(name, _known_value(parent, value))]
    count = len(parent.known_values) - 1
    steps = [int(other[1])] if other[1] else list(range(1, count + 1))
    if not all(1 <= step <= count for step in steps):
        raise ConfigError(
            f"There is no {name}={value}: {name} has {count + 1} values ({listing(parent.known_values)}), so the "
            f"others are other.1 to other.{count}."
        )
    return [(name, "other" if count == 1 else f"other.{step}") for step in steps]


def _number_text(parent: Parent, value: str) -> str:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(
            f"{parent.name}={value}: {parent.describe()} is set to a number, such as "
            f"{parent.name}={value_text(round(parent.mean))}."
        )
    return value_text(number)


def _known_value(parent: Parent, value: str) -> str:
    known = parent.known_values
    if value in known:
        return value
    try:
        same = [text for text in known if text == value_text(float(value))]
    except ValueError:
        same = [text for text in known if text.lower() == value.lower()]
    if len(same) == 1:
        return same[0]
    hint = " What is unknown cannot be set." if value == UNKNOWN else ""
    raise ConfigError(f"{parent.name}={value}: the values of {parent.name} are {listing(known)}, or 'other'.{hint}")


def _check_storable(name: str) -> None:
    try:
        counterfactual_file("source", name)
    except DataError as error:
        raise ConfigError(f"{error} Write 'other' or 'other.1', 'other.2' ... for such a value.") from error

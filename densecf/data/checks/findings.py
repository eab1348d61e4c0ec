"""What a check has to say: graded findings, and tables of what was counted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from densecf.files import to_jsonable

Grade = Literal["error", "warning", "note"]
GRADES: tuple[Grade, ...] = ("error", "warning", "note")
EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """Something a person should know.

    Attributes:
        grade: "error": results would be wrong; "warning": look at it; "note": good to know.
        topic: a short name such as "sides".
        message: what was found, and what to do about it.
        count: how many (images, pairs, patients) it concerns.
        examples: some of them, in words; the worst first.
        rows: the rows of the dataset that show it, the worst first.
        short: the finding in two or three words, for captions.
    """

    grade: Grade
    topic: str
    message: str
    count: int = 1
    examples: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    short: str = ""

    def to_json(self) -> dict[str, Any]:
        return to_jsonable(vars(self) | {"rows": list(self.rows[:1000])})


@dataclass(frozen=True)
class Table:
    """Counts or measurements.

    Attributes:
        title: the heading.
        columns: their names, with units.
        rows: cells: text, whole numbers, floats (NaN: nothing to measure).
        note: how to read it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return to_jsonable({"title": self.title, "rows": rows, "note": self.note})


@dataclass
class Result:
    """What one check gives."""

    tables: list[Table] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(self, grade: Grade, topic: str, short: str, message: str, rows: np.ndarray, names: Sequence[str]) -> None:
        """A finding about single images, the worst first; none where there are no rows."""
        if len(rows):
            chosen = tuple(int(row) for row in rows)
            examples = tuple(names[row] for row in chosen[:EXAMPLES])
            self.findings.append(Finding(grade, topic, message, len(chosen), examples, chosen, short))


def named(records: pd.DataFrame) -> list[str]:
    """Each record in words: its image and its patient."""
    pairs = zip(records["image"], records["patient_id"], strict=True)
    return [f"{image} (patient {patient})" for image, patient in pairs]

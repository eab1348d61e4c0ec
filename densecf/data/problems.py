"""Collect everything that is wrong before saying so: users mend a table once, not once a row."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from densecf.errors import DataError

SHOWN = 20
Value = TypeVar("Value", str, int)


def listing(items: Sequence[str], shown: int = SHOWN) -> str:
    """At most ``shown`` items, comma separated, and how many more there are."""
    rest = len(items) - shown
    return ", ".join(items[:shown]) + (f" and {rest:,} more" if rest > 0 else "")


def repeated(values: Iterable[Value]) -> list[Value]:
    """What stands there more than once, in order."""
    return sorted(value for value, count in Counter(values).items() if count > 1)


@dataclass
class Problems:
    """A list of (place, what is wrong) that ends in one exception."""

    found: list[tuple[str, str]] = field(default_factory=list)

    def add(self, place: str, message: str) -> None:
        self.found.append((place, message))

    def report(self, title: str, advice: str = "") -> str:
        """``title`` with the number of problems, one indented line each (20 at most), then ``advice``."""
        shown = [f"  {place}: {message}" for place, message in self.found[:SHOWN]]
        if len(self.found) > SHOWN:
            shown.append(f"  and {len(self.found) - SHOWN:,} more")
        count = f"{len(self.found):,} problem{'s' if len(self.found) > 1 else ''}"
        return "\n".join([f"{title} ({count}):", *shown, *([advice] if advice else [])])

    def raise_if_any(self, title: str, advice: str = "", error: type[DataError] = DataError) -> None:
        if self.found:
            raise error(self.report(title, advice))

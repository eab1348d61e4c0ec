"""Markdown: text that stays in its place, and tables."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence


def plain(text: str) -> str:
    """Text that cannot break out of its line or table cell, nor be taken for HTML."""
    return re.sub(r"<(?=[A-Za-z/!?])", r"\\<", " ".join(text.split()).replace("|", "\\|"))


def markdown_table(
    headings: Sequence[str], lines: Sequence[Sequence[str]], numeric: Collection[int] = (), *, padded: bool = False
) -> str:
    """A table in Markdown, without a line end at its end.

    Args:
        headings: one a column.
        lines: cells as they are printed, each through `plain` where it comes from outside.
        numeric: columns that are aligned to the right, from 0.
        padded: all cells of a column as wide as its widest, for those who read it as plain text.
    """
    rows = [headings, *lines]
    widths = [max(3, *(len(row[i]) for row in rows)) if padded else 0 for i in range(len(headings))]
    rule = [("-" * ((w or 4) - 1) + ":") if i in numeric else "-" * (w or 3) for i, w in enumerate(widths)]

    def printed(row: Sequence[str]) -> str:
        cells = [c.rjust(w) if i in numeric else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        return "| " + " | ".join(cells) + " |"

    return "\n".join(map(printed, [headings, rule, *lines]))

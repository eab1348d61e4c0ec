"""The counts as Markdown."""

from typing import Any

from densecf.markdown import markdown_table


def markdown(found: dict[str, list[dict[str, Any]]]) -> str:
    """One table for each kind of trial, with what was not zero below it."""
    parts = [
        _table("Kills", found["kills"], ("command", "seconds", "kills", "lost", "different", "torn", "left_over")),
        _table("Full disk", found["full"], ("command", "tries", "unclear", "torn")),
        _table("Read-only", found["read-only"], ("command", "tries", "unclear", "torn")),
        _table("Spoilt files", found["fuzzed"], _FUZZED),
        _table("Spoilt files, led by coverage", found["guided"], _FUZZED),
    ]
    return "\n".join(part for part in parts if part)


_FUZZED = ("parser", "inputs", "accepted", "refused", "tracebacks", "unnamed", "wrong", "slow", "seconds")


def _table(title: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    if not rows:
        return ""
    lines = [[f"{row[name]:,}" if isinstance(row[name], int) else str(row[name]) for name in columns] for row in rows]
    counts = markdown_table([name.replace("_", " ") for name in columns], lines, range(1, len(columns)))
    notes = [f"- {next(iter(row.values()))}: {note}" for row in rows for note in row["notes"]]
    return "\n".join([f"## {title}", "", counts, *([""] if notes else []), *notes, ""])

"""The counts as Markdown."""

from typing import Any


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
    lines = [f"## {title}", "", _line(name.replace("_", " ") for name in columns), _line("---" for _ in columns)]
    lines += [
        _line(f"{row[name]:,}" if isinstance(row[name], int) else str(row[name]) for name in columns) for row in rows
    ]
    notes = [f"- {next(iter(row.values()))}: {note}" for row in rows for note in row["notes"]]
    return "\n".join([*lines, *([""] if notes else []), *notes, ""])


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"

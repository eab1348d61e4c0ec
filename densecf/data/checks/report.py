"""The report of `densecf data check` as Markdown that is also legible in a terminal."""

import math
from typing import Any

from densecf.data.check import Report
from densecf.data.checks.findings import GRADES, Finding, Table
from densecf.markdown import markdown_table, plain


def markdown(report: Report) -> str:
    """Findings first, the gravest at the top, then the tables."""
    counts = ", ".join(_counted(len(report.of_grade(grade)), grade) for grade in GRADES)
    parts = [f"# {plain(report.dataset)}", plain(report.summary), f"**{counts}**"]
    for grade in GRADES:
        found = report.of_grade(grade)
        if found:
            parts += [f"## {grade.capitalize()}s", "\n".join(_finding(finding) for finding in found)]
    parts += [f"## {plain(table.title)}\n\n{_table(table)}" for table in report.tables]
    return "\n\n".join(parts) + "\n"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _finding(finding: Finding) -> str:
    count = f" ({finding.count:,})" if finding.rows else ""
    lines = [f"- **{finding.topic}**{count}: {plain(finding.message)}"]
    lines += [f"  - {plain(example)}" for example in finding.examples]
    rest = finding.count - len(finding.examples)
    if finding.examples and rest > 0:
        lines.append(f"  - and {rest:,} more")
    return "\n".join(lines)


def _table(table: Table) -> str:
    headings = [plain(str(column)) for column in table.columns]
    lines = [[_cell(value) for value in row] for row in table.rows]
    numeric = [i for i in range(len(headings)) if not any(isinstance(row[i], str) for row in table.rows)]
    text = markdown_table(headings, lines, numeric, padded=True)
    return f"{text}\n\n{plain(table.note)}" if table.note else text


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "n/a" if math.isnan(value) else f"{value:.3f}" if abs(value) < 1 else f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) else plain(str(value))

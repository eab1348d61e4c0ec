"""Tables as LaTeX, HTML and CSV, and in files."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Sequence
from pathlib import Path

from densecf.evaluation.tabular import Cell, Column, Number, Table, cell_text, groups_of, is_bold, to_markdown
from densecf.files import write_text_atomic

DATA = "data"
"""Folder of the tables as CSV, in that of the report."""
LATEX_HEAD = """\
% Tables of a comparison. Needs in the preamble: \\usepackage{amssymb,booktabs,graphicx}
"""
LATEX_WIDE = 8
"""Tables with more columns are scaled to the width of the line."""
_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    # In braces: at the start of a row they would be taken for arguments of the row's end before.
    "[": "{[}",
    "*": "{*}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "✓": r"$\checkmark$",
}


def to_latex(table: Table) -> str:
    """A ``table`` environment with booktabs rules, its notes under it."""
    columns, wide = table.columns, len(table.columns) > LATEX_WIDE
    headings = " & ".join(latex_text(column.title) for column in columns)
    body = [" & ".join(map(_latex_cell, row, columns)) + r" \\" for row in table.rows]
    lines = [
        r"\begin{table}[tbp]",
        r"\centering",
        rf"\caption{{{latex_text(table.title)}}}",
        rf"\label{{tab:{table.name}}}",
        *([r"\resizebox{\linewidth}{!}{%"] if wide else []),
        rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
        r"\toprule",
        *_latex_groups(columns),
        headings + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}" + ("%" if wide else ""),
        *(["}"] if wide else []),
        *(
            rf"\par\smallskip\begin{{minipage}}{{\linewidth}}\footnotesize {latex_text(n)}\end{{minipage}}"
            for n in table.notes
        ),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def to_html(table: Table) -> str:
    """A ``<table>`` with a caption, headings that say what they head, and the notes as paragraphs after it."""
    groups = groups_of(table.columns)
    rows = []
    if any(name for name, _ in groups):
        cells = (
            f'<th scope="colgroup" colspan="{span}" class="group">{html.escape(name)}</th>'
            if name
            else f'<td colspan="{span}"></td>'
            for name, span in groups
        )
        rows.append(f"<tr>{''.join(cells)}</tr>")
    rows.append("<tr>" + "".join(f'<th scope="col">{html.escape(c.title)}</th>' for c in table.columns) + "</tr>")
    body = "\n".join(
        "<tr>"
        + f'<th scope="row">{html.escape(cell_text(row[0], table.columns[0]))}</th>'
        + "".join(map(_html_cell, row[1:], table.columns[1:]))
        + "</tr>"
        for row in table.rows
    )
    notes = "".join(f'\n<p class="note">{html.escape(note)}</p>' for note in table.notes)
    head = "\n".join(rows)
    return (
        f'<table class="results" id="{html.escape(table.name)}">\n<caption>{html.escape(table.title)}</caption>\n'
        f"<thead>\n{head}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>{notes}\n"
    )


def to_csv(table: Table) -> str:
    """One line a row; a measured column takes one column each for mean, std, low and high where it has them."""
    parts = [_parts(table, index) for index in range(len(table.columns))]
    headings = [
        " ".join(filter(None, (c.group, c.heading, f"({c.unit})" if c.unit else "", part)))
        for c, mine in zip(table.columns, parts, strict=True)
        for part in mine
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headings)
    for row in table.rows:
        writer.writerow([_csv_cell(cell, part) for cell, mine in zip(row, parts, strict=True) for part in mine])
    return text.getvalue()


def write_tables(out: Path, tables: Sequence[Table]) -> list[Path]:
    """Writes ``tables.md``, ``tables.tex`` and ``data/<name>.csv`` into a folder; returns the paths.

    Raises:
        ValueError: two tables of one name.
        DensecfError: the disk is full, or the place cannot be written.
    """
    names = [table.name for table in tables]
    if len(set(names)) < len(names):
        raise ValueError(f"tables need names of their own, got {names}")
    texts = {
        out / "tables.md": "\n".join(to_markdown(table, level=2) for table in tables),
        out / "tables.tex": "\n".join([LATEX_HEAD, *map(to_latex, tables)]),
        **{out / DATA / f"{table.name}.csv": to_csv(table) for table in tables},
    }
    for path, text in texts.items():
        write_text_atomic(path, text)
    return list(texts)


def latex_text(text: str) -> str:
    """Text as LaTeX prints it."""
    text = " ".join(text.split())
    # A hyphen before a number that does not belong to a word is a minus.
    marked = re.sub(r"(?<![\w.-])-(?=\d)", "\0", text)
    return "".join(_LATEX.get(sign, sign) for sign in marked).replace("\0", "$-$")


def _latex_groups(columns: Sequence[Column]) -> list[str]:
    groups = groups_of(columns)
    if not any(name for name, _ in groups):
        return []
    cells, rules, start = [], [], 1
    for name, span in groups:
        cells.append(rf"\multicolumn{{{span}}}{{c}}{{{latex_text(name)}}}")
        if name:
            rules.append(rf"\cmidrule(lr){{{start}-{start + span - 1}}}")
        start += span
    return [" & ".join(cells) + r" \\", " ".join(rules)]


def _latex_cell(cell: Cell, column: Column) -> str:
    text = latex_text(cell_text(cell, column))
    return rf"\textbf{{{text}}}" if is_bold(cell) else text


def _html_cell(cell: Cell, column: Column) -> str:
    text = html.escape(cell_text(cell, column))
    kind = "absent" if cell is None else "number" if isinstance(cell, Number) else "text"
    if is_bold(cell):
        return f'<td class="{kind} best"><strong>{text}</strong></td>'
    return f'<td class="{kind}">{text}</td>'


def _parts(table: Table, index: int) -> list[str]:
    """Which of a column's parts any cell has: "" (text or mean), "std", "low", "high"."""
    numbers = [row[index] for row in table.rows if isinstance(row[index], Number)]
    return ["", *(part for part in ("std", "low", "high") if any(getattr(cell, part) is not None for cell in numbers))]


def _csv_cell(cell: Cell, part: str) -> str:
    if not isinstance(cell, Number):
        return (cell or "") if not part else ""
    value = getattr(cell, part or "value")
    return "" if value is None else f"{value:.6g}"

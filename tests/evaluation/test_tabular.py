import math

import pytest

from densecf.evaluation.tabular import (
    Column,
    Number,
    Table,
    cell_text,
    groups_of,
    number,
    to_markdown,
    with_best_in_bold,
)

P = Column("p", digits=3, smallest=0.001)
CHANGE = Column("change", unit="px", signed=True)


COLUMNS = (Column("name"), Column("score", higher_is_better=True), Column("error", higher_is_better=False))


def table(*rows):
    return Table("t", "Title", COLUMNS, rows)


@pytest.mark.parametrize(
    ("cell", "column", "text"),
    [
        (None, CHANGE, "n/a"),
        ("as it is", CHANGE, "as it is"),
        (Number(1.236), CHANGE, "+1.24"),
        (Number(1.236, std=0.5), Column("x", digits=1), "1.2 ± 0.5"),
        (Number(-1.0, low=-2.0, high=0.5), CHANGE, "-1.00 (-2.00 to +0.50)"),
        (Number(None, low=-2.0, high=0.5), CHANGE, "-2.00 to +0.50"),
        (Number(0.0009), P, "< 0.001"),
        (Number(0.001), P, "0.001"),
        (Number(-5.0), Column("x", smallest=0.001), "-5.00"),
        (Number(0.0), Column("x"), "0.00"),
    ],
)
def test_cells_as_printed(cell, column, text):
    assert cell_text(cell, column) == text


def test_titles_state_unit_and_direction():
    assert Column("HD95", unit="px", higher_is_better=False).title == "HD95 (px) ↓"
    assert Column("DSC", unit="%", higher_is_better=True).title == "DSC (%) ↑"
    assert Column("name").title == "name"


def test_absent_numbers_have_no_cell():
    assert number(None) is None
    assert number(math.nan, 1.0) is None
    assert number(0.0, 1.0) == Number(0.0, 1.0)


def test_best_as_printed_is_bold_in_its_own_direction():
    marked = with_best_in_bold(
        table(("a", Number(2.001), Number(5.0)), ("b", Number(1.999), Number(math.nan)), ("c", None, Number(4.0)))
    )
    bold = [[isinstance(cell, Number) and cell.bold for cell in row] for row in marked.rows]
    assert bold == [[False, True, False], [False, True, False], [False, False, True]]


def test_one_row_is_not_the_best_of_anything():
    alone = table(("a", Number(2.0), Number(5.0)))
    assert with_best_in_bold(alone) == alone


def test_rows_must_fit():
    with pytest.raises(ValueError, match=r"rows \[1\]"):
        table(("a", None, None), ("b", None))


def test_groups_span_neighbours():
    columns = [Column("n"), Column("x", "A"), Column("y", "A"), Column("z"), Column("x", "B")]
    assert groups_of(columns) == [("", 1), ("A", 2), ("", 1), ("B", 1)]


def test_markdown():
    text = to_markdown(
        Table(
            "t", "Title", (Column("a|b"), Column("x", "G", "%")), (("<b>|\n", Number(1, bold=True)),), ("<i> 1 < 2",)
        ),
        2,
    )
    assert text == "## Title\n\n| a\\|b | G, x (%) |\n| --- | ---: |\n| \\<b>\\| | **1.00** |\n\n\\<i> 1 < 2\n"

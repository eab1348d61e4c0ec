import pytest
from hypothesis import given
from hypothesis import strategies as st

from densecf.visualization.panel_grid import panel_grid, wrapped


@given(st.integers(1, 40), st.integers(0, 3), st.integers(1, 8))
def test_every_column_is_shown_and_none_is_too_far_right(count, lead, more):
    blocks = wrapped(count, lead, lead + more)
    leading = list(range(min(lead, count)))
    assert [column for block in blocks for column in block[len(leading) :]] == list(range(lead, count))
    assert all(block[: len(leading)] == leading and len(block) <= lead + more for block in blocks)
    lengths = [len(block) for block in blocks]
    assert lengths == sorted(lengths, reverse=True)


def test_known_blocks():
    assert wrapped(8, 1, 5) == [[0, 1, 2, 3, 4], [0, 5, 6, 7]]
    assert wrapped(3, 1, 5) == [[0, 1, 2]]
    assert wrapped(6, 0, 5) == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ValueError, match="no room"):
        wrapped(3, 2, 2)


def test_each_panel_lies_below_its_title_and_beside_its_label():
    drawn = {}
    figure = panel_grid(
        ["one", "two\nlines"], list("abcdef"), lambda axes, row, column: drawn.update({(row, column): axes}), across=3
    )
    assert sorted(drawn) == [(row, column) for row in range(2) for column in range(6)]
    boxes = {place: axes.get_position() for place, axes in drawn.items()}
    assert boxes[0, 0].x0 < boxes[0, 1].x0 < boxes[0, 2].x1 <= 1
    assert boxes[0, 3].x0 == boxes[0, 0].x0
    assert boxes[0, 0].y0 > boxes[1, 0].y1 > boxes[1, 0].y0 > boxes[0, 3].y1 > boxes[1, 3].y0 >= 0
    across, down = figure.get_size_inches()
    assert boxes[0, 0].width * across == pytest.approx(boxes[0, 0].height * down)
    texts = [text.get_text() for text in figure.texts]
    assert texts.count("a") == 1
    assert texts.count("two") == texts.count("lines") == 2
    for text in figure.texts:
        x, y = text.get_position()
        assert not any(box.x0 < x < box.x1 and box.y0 < y < box.y1 for box in boxes.values())

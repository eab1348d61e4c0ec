"""Tables in Markdown, read back."""

from densecf.markdown import markdown_table, plain


def test_numbers_are_aligned_to_the_right():
    table = markdown_table(["scanner", "n"], [["A", "12"], ["longer name", "3"]], [1])
    assert table == "| scanner | n |\n| --- | ---: |\n| A | 12 |\n| longer name | 3 |"


def test_padded_columns_are_equally_wide():
    table = markdown_table(["scanner", "n"], [["A", "1,200"], ["B", "3"]], [1], padded=True)
    assert table.splitlines() == [
        "| scanner |     n |",
        "| ------- | ----: |",
        "| A       | 1,200 |",
        "| B       |     3 |",
    ]


def test_a_table_without_lines():
    assert markdown_table(["a"], [], padded=True) == "| a   |\n| --- |"


def test_text_stays_in_its_cell():
    assert plain("a|b\n<b>c  1 < 2") == "a\\|b \\<b>c 1 < 2"

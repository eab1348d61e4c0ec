import csv
import io
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from densecf.benchmark.report.rendering import latex_text, to_csv, to_html, to_latex, write_tables
from densecf.evaluation.tabular import Column, Number, Table

COLUMNS = (
    Column("name"),
    Column("ours", "DSC (%)", higher_is_better=True),
    Column("paper", "DSC (%)"),
    Column("change", unit="px", digits=1, signed=True),
)
TABLE = Table(
    "table-1",
    "A & B <i>",
    COLUMNS,
    (
        ("a_b & <script>", Number(93.126, 0.5, bold=True), None, Number(-1.0, low=-2.0, high=0.5)),
        ("[x] 50%", Number(1.0), Number(2.0), "as it is"),
    ),
    ("Note #1 < 2.",),
)
SPECIAL = st.text(alphabet='ab1 \\&%$#_{}~^<>|"[*-±↑', max_size=20)


def test_latex_line_by_line():
    assert to_latex(TABLE).splitlines() == [
        r"\begin{table}[tbp]",
        r"\centering",
        r"\caption{A \& B \textless{}i\textgreater{}}",
        r"\label{tab:table-1}",
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r"\multicolumn{1}{c}{} & \multicolumn{2}{c}{DSC (\%)} & \multicolumn{1}{c}{} \\",
        r"\cmidrule(lr){2-3}",
        r"name & ours $\uparrow$ & paper & change (px) \\",
        r"\midrule",
        r"a\_b \& \textless{}script\textgreater{} & \textbf{93.13 $\pm$ 0.50} & n/a & $-$1.0 ($-$2.0 to +0.5) \\",
        r"{[}x] 50\% & 1.00 & 2.00 & as it is \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip\begin{minipage}{\linewidth}\footnotesize Note \#1 \textless{} 2.\end{minipage}",
        r"\end{table}",
    ]


@given(SPECIAL)
def test_latex_text_leaves_nothing_special(text):
    written = latex_text(text)
    for known in (r"\textbackslash{}", r"\textasciitilde{}", r"\textasciicircum{}", r"\textless{}", r"\textgreater{}"):
        written = written.replace(known, "")
    for known in (r"\textbar{}", r"$\pm$", r"$\uparrow$", "$-$", "{[}", "{*}", *(f"\\{sign}" for sign in "&%$#_{}")):
        written = written.replace(known, "")
    assert not set(written) & set('\\&%$#_{}~^<>|"±↑[*')


def test_minus_and_hyphen():
    assert latex_text("-1.5 to -0.5, S-MVD-CL, seed-1, 2-3") == "$-$1.5 to $-$0.5, S-MVD-CL, seed-1, 2-3"


def test_wide_latex_tables_are_scaled():
    wide = Table("w", "W", tuple(Column(str(index)) for index in range(9)), (tuple("abcdefghi"),))
    text = to_latex(wide)
    assert text.count(r"\resizebox{\linewidth}{!}{%") == 1
    assert "\\end{tabular}%\n}\n" in text
    assert text.count("{") == text.count("}")


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.rows, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


def test_html_says_what_heads_what():
    reader = _Reader()
    reader.feed(to_html(TABLE))
    assert not reader.open, "every element is closed"
    assert reader.rows == [
        ["", "DSC (%)", ""],
        ["name", "ours ↑", "paper", "change (px)"],
        ["a_b & <script>", "93.13 ± 0.50", "n/a", "-1.0 (-2.0 to +0.5)"],
        ["[x] 50%", "1.00", "2.00", "as it is"],
    ]
    assert "script" not in {tag for tag, _ in reader.tags}
    scopes = [attributes.get("scope") for tag, attributes in reader.tags if tag == "th"]
    assert scopes == ["colgroup", "col", "col", "col", "col", "row", "row"]
    spans = [int(attributes.get("colspan", 1)) for tag, attributes in reader.tags if tag in ("td", "th")][:3]
    assert spans == [1, 2, 1]
    classes = [attributes["class"] for tag, attributes in reader.tags if tag == "td" and "class" in attributes]
    assert classes == ["number best", "absent", "number", "number", "number", "text"]
    assert ("caption", {}) in reader.tags


def test_csv_keeps_the_numbers():
    head, first, second = csv.reader(io.StringIO(to_csv(TABLE)))
    assert head == [
        *("name", "DSC (%) ours", "DSC (%) ours std", "DSC (%) paper"),
        *("change (px)", "change (px) low", "change (px) high"),
    ]
    assert first == ["a_b & <script>", "93.126", "0.5", "", "-1", "-2", "0.5"]
    assert second == ["[x] 50%", "1", "", "2", "as it is", "", ""]


def test_files(tmp_path):
    other = Table("other", "Other", COLUMNS[:1], (("x",),))
    paths = write_tables(tmp_path / "report", [TABLE, other])
    written = {str(path.relative_to(tmp_path / "report")): path.read_text(encoding="utf-8") for path in paths}
    assert set(written) == {"tables.md", "tables.tex", "data/table-1.csv", "data/other.csv"}
    assert written["tables.md"].index("## A & B") < written["tables.md"].index("## Other")
    assert written["tables.tex"].count(r"\begin{table}") == 2
    assert all(package in written["tables.tex"].splitlines()[0] for package in ("amssymb", "booktabs", "graphicx"))
    assert written["data/table-1.csv"] == to_csv(TABLE)


def test_names_are_files(tmp_path):
    with pytest.raises(ValueError, match="names of their own"):
        write_tables(tmp_path, [TABLE, TABLE])

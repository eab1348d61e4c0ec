from dataclasses import replace

import pandas as pd
import pytest

from densecf.benchmark.matrix import Ablation, Matrix, Variant
from densecf.benchmark.published import ABLATION, LINEAR_PROBE, TABLE_1, TABLE_2, misprints
from densecf.benchmark.report.tables import costs_table, make_tables
from densecf.benchmark.views_code import check_code
from densecf.evaluation.tabular import Number, Table, cell_text
from tests.benchmark.builders import BEST_GAIN, LETTER_GAIN, METHOD_GAIN, known_gain, make_cases, make_results

MATRIX = Matrix(
    methods=("none", "simclr", "mvd-cl", "s-mvd-cl"),
    seeds=(0, 1),
    protocols=("fair", "authors"),
    ablation=Ablation(("mvd-cl",), ("SDRCE", "RCE")),
    variants=(Variant("MVD-CL, crop only", "mvd-cl", "C", about="what crops alone bring"),),
)


@pytest.fixture(scope="module")
def results():
    return make_results(MATRIX)


@pytest.fixture(scope="module")
def tables(results):
    return {table.name: table for table in make_tables(MATRIX, results)}


def line(table: Table, name: str) -> dict[str, str]:
    """The first row of that name as printed, by heading."""
    cells = next(row for row in table.rows if row[0] == name)
    heads = [" ".join(filter(None, (column.group, column.heading))) for column in table.columns]
    return dict(zip(heads, map(cell_text, cells, table.columns), strict=True))


def test_which_tables_there_are(tables):
    both = ("table1", "table2", "differences", "order")
    single = ("ablation", "matched", "protocols", "optimism", "variants", "costs")
    # No two codes differ in one letter only; the order of the four is the paper's.
    assert set(tables) == {f"{name}-{protocol}" for name in both for protocol in ("fair", "authors")} | set(single)


def test_nothing_finished_gives_no_table():
    assert make_tables(MATRIX, []) == []


def test_table_1(tables):
    table = tables["table1-fair"]
    assert [row[0] for row in table.rows] == ["MVD-CL", "S-MVD-CL"], "image-level methods have no pixel embeddings"
    purity = 0.5 + (METHOD_GAIN["mvd-cl"] + sum(LETTER_GAIN.values())) / 20
    assert line(table, "MVD-CL") == {
        "Pretraining": "MVD-CL",
        "k-means purity ours": f"{purity:.4f} ± 0.0000",
        "k-means purity paper": "0.6391",
        "k-means purity floor": "0.7000 ± 0.0000",
        "d/sigma ours": f"{2 * purity:.2f} ± 0.00",
        "d/sigma^2 (authors' code) ours": f"{8 * purity:.2f} ± 0.00",
        "d/sigma^2 (authors' code) paper": "1.39",
        "linear probe DSC (%) ours": f"{100 * purity:.2f} ± 0.00",
        "linear probe DSC (%) paper": "67.64",
    }
    assert any("0.6361" in note for note in table.notes)


def test_table_2_reports_the_protocols_epoch(tables, results):
    ours = {name: line(tables[f"table2-{name}"], "S-MVD-CL") for name in ("fair", "authors")}
    mean = make_cases(METHOD_GAIN["s-mvd-cl"] + sum(LETTER_GAIN.values())).groupby("fold")["dsc"].mean().mean()
    assert ours["fair"]["DSC (%) ours"].startswith(f"{mean:.2f} ±")
    assert ours["authors"]["DSC (%) ours"].startswith(f"{mean + BEST_GAIN:.2f} ±")
    assert ours["fair"]["DSC (%) paper"] == "93.93 ± 1.92"
    assert ours["fair"]["HD95 (px) paper"] == "7.3 ± 3.4"
    assert "Missed" in ours["fair"]
    assert "Missed" not in ours["authors"], "curves do not count missed structures"
    assert line(tables["table2-authors"], "SimCLR")["Views"] == "DRCE"
    best = [row[0] for row in tables["table2-fair"].rows if isinstance(row[2], Number) and row[2].bold]
    assert best == ["S-MVD-CL"]


def test_differences(tables):
    found = line(tables["differences-fair"], "SimCLR")
    gain = METHOD_GAIN["simclr"] + sum(LETTER_GAIN[letter] for letter in "RCE")
    assert found["DSC (%) difference"] == f"+{gain:.2f} (+{gain:.2f} to +{gain:.2f})"
    assert found["DSC (%) Holm p"] == "< 0.001"
    assert "the 3 rows" in tables["differences-fair"].notes[1]


def test_differences_to_a_variant_and_to_nothing(results):
    other = replace(MATRIX, baseline="MVD-CL, crop only")
    names = {table.name: table for table in make_tables(other, results)}
    assert len(names["differences-fair"].rows) == 4
    assert "differences-authors" not in names, "the variant was run under fair only"
    without = [result for result in results if result.cell.row != "None"]
    assert not {"differences-fair", "differences-authors"} & {table.name for table in make_tables(MATRIX, without)}


def test_deviations_from_the_published_order():
    def gain(cell):
        return 9.0 if cell.method == "mvd-cl" else known_gain(cell)

    matrix = Matrix(methods=("none", "mvd-cl", "s-mvd-cl"))
    tables = {table.name: table for table in make_tables(matrix, make_results(matrix, gain))}
    better = 9.0 - METHOD_GAIN["s-mvd-cl"] - sum(LETTER_GAIN.values())
    assert [list(map(cell_text, row, tables["deviations-fair"].columns)) for row in tables["deviations-fair"].rows] == [
        ["MVD-CL over S-MVD-CL", "-1.66", f"+{better:.2f} (+{better:.2f} to +{better:.2f})", "yes"]
    ]
    assert line(tables["order-fair"], "MVD-CL")["rank ours"] == "1"
    assert line(tables["order-fair"], "MVD-CL")["rank paper"] == "2"
    assert "0.33" in tables["order-fair"].notes[0]


def test_ablation(tables):
    table = tables["ablation"]
    assert [row[:6] for row in table.rows] == [("MVD-CL", *"✓✓✓✓✓"), ("MVD-CL", "", "", *"✓✓✓")]
    assert line(table, "MVD-CL")["DSC (%) paper"] == "92.27 ± 2.73"
    matched = line(tables["matched"], "MVD-CL")
    assert (matched["With"], matched["Without"], matched["DSC (%) paper"]) == ("SDRCE", "RCE", "+0.48")
    assert matched["DSC (%) ours"].startswith("+0.75 ")


def test_ingredients_have_names():
    matrix = Matrix(methods=("none",), ablation=Ablation(("mvd-cl",), ("C", "RC")))
    tables = {table.name: table for table in make_tables(matrix, make_results(matrix))}
    assert line(tables["ingredients"], "R: rotation")["DSC"] == "+0.12 (+0.12 to +0.12)"
    assert "matched" not in tables


def test_protocols_and_optimism(tables):
    simclr = line(tables["protocols"], "SimCLR")
    change = METHOD_GAIN["cf-simclr"] - METHOD_GAIN["simclr"] + LETTER_GAIN["D"]
    assert simclr["DSC (%) change"].startswith(f"+{change:.2f} ")
    last, best = (float(simclr[f"DSC (%) {kind}"].split()[0]) for kind in ("authors", "authors, best epoch"))
    assert best - last == pytest.approx(BEST_GAIN, abs=0.011)
    assert line(tables["optimism"], "None")["DSC"] == f"+{BEST_GAIN:.2f}"
    assert len(tables["optimism"].rows) == 8


def test_variants_stand_beside_their_method(tables):
    table = tables["variants"]
    assert [(row[0], row[1]) for row in table.rows] == [("MVD-CL", "SDRCE"), ("MVD-CL, crop only", "C")]
    lost = LETTER_GAIN["C"] - sum(LETTER_GAIN.values())
    assert line(table, "MVD-CL, crop only")["DSC, change"].startswith(f"{lost:+.2f} ")
    assert line(table, "MVD-CL")["DSC, change"] == "n/a"
    assert "MVD-CL, crop only: what crops alone bring" in table.notes


def test_costs_count_shared_stages_once(results):
    def minutes(found):
        return float(costs_table(found).notes[0].split(" min ")[0])

    table = costs_table(results)
    found = line(table, "MVD-CL")
    assert (found["Cells"], found["minutes a cell pretrain"], found["minutes a cell together"]) == ("2", "10.0", "15.5")
    assert line(table, "None")["minutes a cell pretrain"] == "n/a"
    one = [result for result in results if result.cell.row == "None"][:1]
    again = [*one, replace(one[0], cell=replace(one[0].cell, row="Other"))]
    assert minutes(one) == minutes(again) == 5


def test_external_records_have_tables_of_their_own():
    matrix = Matrix(methods=("none", "simclr"), ablation=Ablation(("dvd-cl",), ("SDRCE", "RCE")))

    def with_external(result):
        folds = [make_cases(known_gain(result.cell) - 10).assign(fold=fold) for fold in range(5)]
        return replace(result, external=pd.concat(folds, ignore_index=True))

    tables = {table.name: table for table in make_tables(matrix, list(map(with_external, make_results(matrix))))}
    found = tables["external-table2-fair"]
    assert line(found, "None")["DSC"] == f"{make_cases(-10)['dsc'].mean():.2f} ± 0.00"
    assert "DSC (%) paper" not in line(found, "None")
    gain = METHOD_GAIN["simclr"] + sum(LETTER_GAIN[letter] for letter in "RCE")
    assert line(tables["external-differences-fair"], "SimCLR")["DSC (%) difference"].startswith(f"+{gain:.2f} ")
    assert "DSC (%) paper" not in line(tables["external-ablation"], "DVD-CL")
    matched = line(tables["external-matched"], "DVD-CL")
    assert matched["DSC (%) ours"].startswith(f"+{LETTER_GAIN['S'] + LETTER_GAIN['D']:.2f} ")
    assert "DSC (%) paper" not in matched


def test_published_figures_fit_each_other():
    assert ABLATION["DVD-CL", "CE"].mean == TABLE_2["VADeR"]["dsc"].mean
    assert ABLATION["S-MVD-CL", "E"].mean == TABLE_2["SSDCL"]["dsc"].mean
    for row in ("DVD-CL", "MVD-CL", "S-DVD-CL", "S-MVD-CL"):
        assert ABLATION[row, "SDRCE"] == TABLE_2[row]["dsc"]
        assert {row} <= set(TABLE_1) & set(LINEAR_PROBE)
    for row, code in ABLATION:
        check_code(code)
        assert row in TABLE_2
    for figures in TABLE_2.values():
        assert figures["dsc_pe"].mean < figures["dsc"].mean < figures["dsc_nf"].mean
    assert len(misprints()) == 2

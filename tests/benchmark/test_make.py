"""The report of cells of known effects: everything is there, and nothing that has nothing to say."""

import base64
import html
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from densecf.benchmark.matrix import Ablation
from densecf.benchmark.report import make, pictures
from densecf.benchmark.report.make import make_report, picture_sections
from densecf.benchmark.report.page import DataFile, Output, Picture, Section
from densecf.errors import DataError
from tests.benchmark.builders import MATRIX, make_results

SMALL = replace(
    MATRIX,
    methods=("none", "vader", "s-mvd-cl"),
    seeds=(0,),
    ablation=Ablation(("s-mvd-cl",), ("SDRCE", "RCE")),
    variants=MATRIX.variants[:1],
)
RESULTS = make_results(SMALL, noise=0.5)
DRAWN = Section("Overlays", figures=[Picture(b"\x89PNG", "a", "b", DataFile("overlays.csv", "case\n1\n"))])


def headings(page: Path) -> list[str]:
    return re.findall(r"<h2[^>]*>(.*?)</h2>", page.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report")
    failures = {"VADeR RCE fair seed 1": "exit code 1\nMemoryError: <lots>"}
    return make_report(
        SMALL, RESULTS, failures, {"None fair seed 1": "killed at 3 o'clock"}, out, pictures=[DRAWN], dataset="phantom"
    )


def test_sections_in_the_order_in_which_one_reads(report):
    assert headings(report) == [
        "How to read this",
        "Table 2: segmentation",
        "Differences to the baseline",
        "Table 1: embeddings",
        "Beside the paper",
        "The two protocols",
        "What choosing an epoch is worth",
        "Ablation",
        "Variants",
        "Learning curves",
        "Overlays",
        "Costs",
        "Failed cells",
        "Cells not run",
        "Run it again",
    ]


def test_files(report):
    out = report.parent
    assert {path.name for path in out.iterdir()} == {"report.html", "tables.md", "tables.tex", "data"}
    assert report.stat().st_size < 2_000_000
    assert "S-MVD-CL" in (out / "tables.md").read_text(encoding="utf-8")
    assert (out / "data" / "overlays.csv").read_text(encoding="utf-8") == "case\n1\n"
    curves = pd.read_csv(out / "data" / "finetuning-curves.csv", keep_default_na=False)
    assert set(curves["row"]) == {"None", "VADeR", "S-MVD-CL", "MVD-CL, crop only"}


def test_every_table_and_figure_has_its_data_in_the_page_and_beside_it(report):
    text = report.read_text(encoding="utf-8")
    found = re.findall(r'href="data:text/csv;charset=utf-8;base64,([^"]*)" download="([^"]*)"', text)
    inside = {name: base64.b64decode(content).decode() for content, name in found}
    beside = {path.name: path.read_text(encoding="utf-8") for path in (report.parent / "data").iterdir()}
    assert inside == beside
    assert len(found) == len(inside) == text.count("<figure>") + text.count("<table ")


def test_failures_say_what_happened_and_facts_what_was_done(report):
    text = report.read_text(encoding="utf-8")
    assert "MemoryError: &lt;lots&gt;" in text
    assert "None fair seed 1" in text
    assert "1 failed and 1 have not been run" in text
    for fact in ("phantom", f"{len(RESULTS)} finished, 1 failed, 1 not run", "same initialisation", "torch"):
        assert fact in text, fact


def test_what_a_chart_shows_is_what_the_table_says(report):
    data = report.parent / "data"
    chart = pd.read_csv(data / "differences-fair-chart.csv").set_index("label")["difference"]
    table = pd.read_csv(data / "differences-fair.csv").set_index("Pretraining")["DSC (%) difference"]
    assert set(table.index) == {"VADeR", "S-MVD-CL"} < set(chart.index)
    assert dict(chart[table.index]) == pytest.approx(dict(table), rel=1e-4)


def test_external_records_have_a_section_of_their_own(tmp_path):
    two = replace(SMALL, methods=("none", "vader"), protocols=("fair",), ablation=Ablation(), variants=())
    half = [replace(result, external=result.cases.assign(dsc=result.cases["dsc"] / 2)) for result in make_results(two)]
    page = make_report(two, half, {}, {}, tmp_path)
    assert "External records" in headings(page)
    here, there = (
        pd.read_csv(tmp_path / "data" / f"differences-{name}-chart.csv").set_index("label")["difference"]
        for name in ("fair", "external")
    )
    assert dict(there) == pytest.approx(dict(here / 2), rel=1e-4)


def test_nothing_finished_is_a_report_all_the_same(tmp_path):
    page = make_report(SMALL, [], {"a": "b"}, {"c": ""}, tmp_path)
    assert headings(page) == ["Failed cells", "Cells not run", "Run it again"]
    assert "<figure>" not in page.read_text(encoding="utf-8")


def test_one_method_alone(tmp_path):
    alone = replace(
        SMALL, methods=("none",), protocols=("fair",), ablation=Ablation((), ()), variants=(), baseline="None"
    )
    page = make_report(alone, make_results(alone), {}, {}, tmp_path)
    assert headings(page) == [
        "How to read this",
        "Table 2: segmentation",
        "What choosing an epoch is worth",
        "Learning curves",
        "Costs",
        "Run it again",
    ]
    assert "not complete" not in page.read_text(encoding="utf-8")


def test_pictures_that_cannot_be_drawn_say_so(monkeypatch):
    def fail(*_):
        raise DataError("the weights are gone")

    monkeypatch.setattr(pictures, "shown_rows", lambda *_: [0])
    monkeypatch.setattr(pictures, "chromap_pictures", fail)
    monkeypatch.setattr(pictures, "overlay_pictures", lambda *_: list(DRAWN.figures))
    monkeypatch.setattr(pictures, "counterfactual_pictures", lambda *_: [])
    first, second = picture_sections(SMALL, RESULTS, None, "none")
    assert first == Section("CHRO-maps", outputs=[Output("These pictures could not be drawn", "the weights are gone")])
    assert second.heading == "Best, median and worst cases"
    assert list(second.figures) == list(DRAWN.figures)


def test_the_command_is_shown_when_there_was_one(monkeypatch, tmp_path):
    words = ["benchmark", "my file.yaml", "--report-only"]
    here = make.environment() | {"argv": words}
    monkeypatch.setattr(make, "environment", lambda: here)
    text = make_report(SMALL, [], {}, {}, tmp_path).read_text(encoding="utf-8")
    assert "densecf benchmark &#39;my file.yaml&#39;</pre>" in text


def test_what_an_unfinished_cell_printed_last_is_shown(report):
    text = html.unescape(report.read_text(encoding="utf-8"))
    assert "None fair seed 1 printed last" in text
    assert "killed at 3 o'clock" in text


def test_data_of_an_earlier_report_goes_and_other_files_stay(tmp_path):
    make_report(SMALL, RESULTS, {}, {}, tmp_path)
    assert (tmp_path / "data/ablation.csv").is_file()
    for name in ("mine.txt", "mine.csv"):
        (tmp_path / "data" / name).write_text("mine")
    alone = replace(SMALL, ablation=Ablation(), variants=())
    make_report(alone, make_results(alone), {}, {}, tmp_path)
    assert not (tmp_path / "data/ablation.csv").exists()
    assert (tmp_path / "data/mine.txt").is_file()
    assert (tmp_path / "data/mine.csv").is_file()


def test_who_trained_the_cells_is_told(tmp_path):
    results = [replace(result, versions=("0.1.0 (aaa)", "0.1.0 (bbb)")) for result in RESULTS]
    text = make_report(SMALL, results, {}, {}, tmp_path).read_text(encoding="utf-8")
    assert "densecf 0.1.0 (aaa), 0.1.0 (bbb)" in text

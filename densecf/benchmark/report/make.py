"""From finished cells to the report: ``report.html``, ``tables.md``, ``tables.tex`` and ``data/*.csv``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import yaml

from densecf.benchmark.estimate import clock_text
from densecf.benchmark.matrix import Matrix
from densecf.benchmark.protocols import PROTOCOLS
from densecf.benchmark.published import TABLE_2
from densecf.benchmark.report.drawing import Chart, svg
from densecf.benchmark.report.figures import ablation_dots, against_paper, finetuning_curves, forest, pretraining_curves
from densecf.benchmark.report.page import DataFile, Output, Picture, Section, write_page
from densecf.benchmark.report.tables import DATA, make_tables, to_csv, to_html, write_tables
from densecf.benchmark.results import CellResult, RowResult, on_external, rows_of, version_text
from densecf.benchmark.statistics import EVERY_METHOD, compare_with_baseline, ingredient_effects, order_of
from densecf.config_values import to_dict
from densecf.data.prepared import PreparedDataset
from densecf.environment import environment
from densecf.errors import DensecfError
from densecf.evaluation.tabular import Table
from densecf.files import write_text_atomic

PAGE = "report.html"
HOW_TO_READ = """\
A cell is one method under one setting and one seed: it is pretrained, then fine-tuned on the hand-drawn masks once \
for each fold and tested on the fold that was held out. No patient is in two folds, nor in pretraining and \
fine-tuning. Tables give mean and standard deviation over folds; with several seeds, the folds of each count as \
folds of their own.

Two methods are compared case by case on the same cases. Intervals are 95 % bootstrap intervals over patients: they \
tell how much of a difference may be due to which patients there are, not to the seed. Where many methods are \
compared with one baseline, p-values are corrected by Holm's method, so that the chance of any false finding among \
them stays below the level.

DSC: overlap with the hand-drawn mask, in percent. HD95 and ASD: how far the outlines lie apart, in pixels of the \
prepared image. Figures of the papers come from other images: compare orders and differences, not levels."""
# Heading, and what the names of its tables begin with.
_LAYOUT = {
    "Table 2: segmentation": ("table2",),
    "Differences to the baseline": ("differences",),
    "Table 1: embeddings": ("table1",),
    "Beside the paper": ("order", "deviations"),
    "External records": ("external",),
    "The two protocols": ("protocols",),
    "What choosing an epoch is worth": ("optimism",),
    "Ablation": ("ablation", "ingredients", "matched"),
    "Variants": ("variants",),
    "Costs": ("costs",),
}
_LAST = ("Costs",)


def make_report(
    matrix: Matrix,
    results: Sequence[CellResult],
    failures: Mapping[str, str],
    missing: Mapping[str, str],
    out: Path,
    *,
    pictures: Sequence[Section] = (),
    dataset: str = "",
) -> Path:
    """Writes everything into a folder; what there is nothing to say about is left out.

    Args:
        matrix: the comparison.
        results: its finished cells.
        failures: what failed cells printed last, by title.
        missing: what cells that neither finished nor failed just now printed last, by title; "" where nothing is known.
        out: the folder.
        pictures: further sections, before the costs.
        dataset: one line about it, see `dataset_text`.

    Returns:
        The page.

    Raises:
        DensecfError: the disk is full, or the place cannot be written.
    """
    tables = make_tables(matrix, results)
    measured = _table_sections(tables, _charts(matrix, results))
    sections = [
        *([Section("How to read this", HOW_TO_READ)] if results else []),
        *(section for section in measured if section.heading not in _LAST),
        *_curves(matrix, results),
        *(section for section in pictures if not section.is_empty),
        *(section for section in measured if section.heading in _LAST),
        *_troubles(failures, missing),
        _again(matrix),
    ]
    drawn_from = [figure.data for section in sections for figure in section.figures if figure.data]
    earlier = _files_of(out / PAGE)
    write_tables(out, tables)
    for data in drawn_from:
        write_text_atomic(out / DATA / data.name, data.text)
    for name in earlier - {f"{table.name}.csv" for table in tables} - {data.name for data in drawn_from}:
        (out / DATA / name).unlink(missing_ok=True)
    about = "\n\n".join(filter(None, (matrix.about, *_in_short(failures, missing))))
    return write_page(
        out / PAGE,
        title=matrix.title,
        about=about,
        facts=facts_of(matrix, results, failures, missing, dataset),
        sections=sections,
    )


def facts_of(
    matrix: Matrix, results: Sequence[CellResult], failures: Mapping[str, str], missing: Mapping[str, str], dataset: str
) -> dict[str, str]:
    """What a reader looks up first, by name."""
    here = environment()
    seconds: dict[Path, float] = {}
    for result in results:  # cells may share a stage
        seconds |= {folder: result.seconds.get(stage, 0.0) for stage, folder in result.folders.items()}
    count = [f"{len(results)} finished"]
    count += [f"{len(found)} {what}" for found, what in ((failures, "failed"), (missing, "not run")) if found]
    versions = {"densecf": version_text(here), "Python": here["python"]}
    trained_by = sorted({version for result in results for version in result.versions})
    facts = {
        "Dataset": dataset,
        "Cells": ", ".join(count),
        "Seeds": ", ".join(map(str, sorted({result.cell.seed for result in results} or set(matrix.seeds)))),
        "Baseline": matrix.baseline,
        **{f"Protocol {name}": PROTOCOLS[name].summary for name in matrix.protocols},
        "Time": f"{clock_text(sum(seconds.values()))} of work on one device" if any(seconds.values()) else "",
        "Cells run by": f"densecf {', '.join(trained_by)}" if trained_by else "",
        "Made": f"{here['started'][:10]}, " + ", ".join(f"{k} {v}" for k, v in (versions | here["packages"]).items()),
    }
    return {name: text for name, text in facts.items() if text}


def dataset_text(data: PreparedDataset, source: str) -> str:
    """A dataset in one line."""
    made = f", counterfactuals: {source}" if source != "none" else ""
    return f"{data.path.name}: {len(data):,} records at {data.size} px{made}; checksum {data.checksum[:12]}"


def picture_sections(
    matrix: Matrix, results: Sequence[CellResult], data: PreparedDataset, source: str
) -> list[Section]:
    """CHRO-maps, overlays and counterfactuals. What cannot be drawn says so, and does not cost the report."""
    from densecf.benchmark.report import pictures

    if not results:
        return []
    rows = pictures.shown_rows(data, results, matrix.pictures)
    strips = pictures.shown_rows(data, results, min(matrix.pictures, pictures.STRIPS))
    drawn: dict[str, Callable[[], list[Picture]]] = {
        "CHRO-maps": lambda: pictures.chromap_pictures(matrix, results, data, rows),
        "Best, median and worst cases": lambda: pictures.overlay_pictures(matrix, results, data),
        "Counterfactuals": lambda: pictures.counterfactual_pictures(data, source, strips),
    }
    sections = []
    for heading, draw in drawn.items():
        try:
            sections.append(Section(heading, figures=draw()))
        except DensecfError as error:
            sections.append(Section(heading, outputs=[Output("These pictures could not be drawn", str(error))]))
    return [section for section in sections if not section.is_empty]


def _table_sections(tables: Sequence[Table], charts: Mapping[str, Sequence[Picture]]) -> list[Section]:
    """Tables under their headings, and the charts that go with them; others under one of their own."""
    sections, left = [], list(tables)
    for heading, names in _LAYOUT.items():
        mine = [table for table in left if table.name.startswith(names)]
        left = [table for table in left if table not in mine]
        sections.append(_section(heading, mine, charts.get(heading, ())))
    sections.append(_section("Further tables", left, ()))
    return [section for section in sections if not section.is_empty]


def _section(heading: str, tables: Sequence[Table], figures: Sequence[Picture]) -> Section:
    data = [DataFile(f"{table.name}.csv", to_csv(table)) for table in tables]
    return Section(heading, "", [to_html(table) for table in tables], figures, data=data)


def _charts(matrix: Matrix, results: Sequence[CellResult]) -> dict[str, list[Picture]]:
    """The charts that stand under tables, by heading."""
    names = ("Differences to the baseline", "Beside the paper", "External records", "Ablation")
    found: dict[str, list[Picture]] = {name: [] for name in names}
    variants = rows_of(results, "variant")
    for protocol in matrix.protocols:
        rows = rows_of(results, "main", protocol)
        mine = [*rows, *(variants if protocol == "fair" else ())]
        found["Differences to the baseline"] += _differences(mine, matrix.baseline, protocol, protocol)
        if protocol == "fair":
            external = on_external(mine)
            found["External records"] += _differences(external, matrix.baseline, "external", "external records")
        order = order_of(rows, {name: row["dsc"].mean for name, row in TABLE_2.items()}, PROTOCOLS[protocol].epoch)
        found["Beside the paper"] += _picture(
            f"paper-{protocol}",
            against_paper(order),
            f"DSC of each method here and in the paper ({protocol}), and its rank in both.",
            "A scatter plot of our DSC against the paper's, and a slope chart of the ranks.",
        )
    ablation = rows_of(results, "ablation")
    found["Ablation"] += _picture(
        "ablation-chart",
        ablation_dots(ablation),
        "DSC of each method under each combination of views (letters: see the table).",
        "Dots with bars, a line for each combination of views and a colour for each method.",
    )
    effects = [
        {
            "group": effect.method,
            "label": effect.letters,
            "difference": effect.differences["dsc"].mean,
            "low": effect.differences["dsc"].low,
            "high": effect.differences["dsc"].high,
        }
        for effect in sorted(ingredient_effects(ablation), key=lambda effect: effect.method != EVERY_METHOD)
        if "dsc" in effect.differences
    ]
    if effects:
        found["Ablation"] += _picture(
            "ingredients-chart",
            forest(pd.DataFrame(effects), across="change of DSC (percentage points), with 95 % interval"),
            "What each ingredient changes in DSC: with it minus without it, all else alike. Thick: the interval leaves "
            "out zero.",
            "A forest plot of the effect of each letter of the view code, for all methods together and for each.",
        )
    return found


def _differences(rows: Sequence[RowResult], baseline: str, name: str, what: str) -> list[Picture]:
    against = next((row for row in rows if row.name == baseline), None)
    if against is None:
        return []
    table = pd.DataFrame(
        [
            {
                "label": found.row,
                "difference": found.differences["dsc"].mean,
                "low": found.differences["dsc"].low,
                "high": found.differences["dsc"].high,
                "cases": found.differences["dsc"].num_cases,
            }
            for found in compare_with_baseline(rows, against)
            if "dsc" in found.differences
        ]
    )
    if table.empty:
        return []
    return _picture(
        f"differences-{name}-chart",
        forest(
            table,
            across=f"DSC minus that of {baseline} (percentage points), with 95 % interval",
            methods={row.name: row.method for row in rows},
        ),
        f"DSC against {baseline} on the same cases ({what}). Thick: the interval leaves out zero.",
        f"A forest plot of the paired differences of {len(table)} methods to {baseline}.",
    )


def _curves(matrix: Matrix, results: Sequence[CellResult]) -> list[Section]:
    """Learning curves, under the first protocol."""
    protocol = matrix.protocols[0]
    rows = [*rows_of(results, "main", protocol), *(rows_of(results, "variant") if protocol == "fair" else ())]
    figures = [
        *_picture(
            "pretraining-curves",
            pretraining_curves(rows),
            "Pretraining, averaged over seeds. The loss is set against what guessing would give. Purity and linear "
            "probe are measured on a few records; nothing is chosen by them.",
            "Line charts of the pretraining, one line a method.",
        ),
        *_picture(
            "finetuning-curves",
            finetuning_curves(rows, matrix.baseline),
            f"Fine-tuning: DSC on the held-out folds against epoch ({protocol}), mean and standard deviation over "
            f"folds. Grey: the other methods; dotted: {matrix.baseline}. Titles: at the last epoch. The looks change "
            "nothing in the training.",
            "Small line charts, one a method.",
        ),
    ]
    return [Section("Learning curves", figures=figures)] if figures else []


def _troubles(failures: Mapping[str, str], missing: Mapping[str, str]) -> list[Section]:
    sections = []
    if failures:
        text = "These cells failed; what they printed last is below. The same command tries them again."
        sections.append(Section("Failed cells", text, outputs=[Output(*pair) for pair in failures.items()]))
    if missing:
        text = "These cells have not been run, or not to their end. The same command goes on with them."
        last_words = [Output(f"{title} printed last", printed) for title, printed in missing.items() if printed]
        sections.append(Section("Cells not run", text, outputs=[Output("", "\n".join(missing)), *last_words]))
    return sections


def _in_short(failures: Mapping[str, str], missing: Mapping[str, str]) -> list[str]:
    counts = [f"{len(found)} {what}" for found, what in ((failures, "failed"), (missing, "have not been run")) if found]
    return [f"This report is not complete: of its cells, {' and '.join(counts)} (see the end)."] if counts else []


def _again(matrix: Matrix) -> Section:
    """How to get the same report."""
    words = [word for word in environment()["argv"] if word != "--report-only"]
    command = [Output("The command", shlex.join(["densecf", *words]))] if words[:1] == ["benchmark"] else []
    settings = yaml.safe_dump(to_dict(matrix), sort_keys=False, allow_unicode=True)
    return Section(
        "Run it again",
        "The same command goes on where it was stopped, and never does again what is done. Versions are above; each "
        "run folder holds its complete config.yaml and provenance.json.",
        outputs=[*command, Output("The comparison, with all its options", settings)],
    )


def _files_of(page: Path) -> set[str]:
    """The CSV files of an earlier report, by its page: others in that folder are not ours."""
    text = page.read_text(encoding="utf-8", errors="replace") if page.is_file() else ""
    return set(re.findall(r'download="([^"/\\]+\.csv)"', text))


def _picture(name: str, chart: Chart | None, caption: str, alt: str) -> list[Picture]:
    """One picture, or none where there is nothing to draw."""
    if chart is None:
        return []
    data = DataFile(f"{name}.csv", chart.data.to_csv(index=False, float_format="%.6g"))
    return [Picture(svg(chart.figure), caption, alt, data)]

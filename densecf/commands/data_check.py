"""``densecf data check``: look over a prepared dataset before anything is trained on it."""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from densecf import runs
from densecf.commands.datasets import open_dataset
from densecf.commands.options import DataCheckOptions
from densecf.config_values import to_dict
from densecf.errors import DataError
from densecf.files import write_json_atomic, write_text_atomic

if TYPE_CHECKING:
    from densecf.data.check import Report
    from densecf.data.prepared import PreparedDataset

REPORT, FIGURES, SHEET = "check.md", "check.json", "contact_sheet.png"


def run_check(options: DataCheckOptions) -> Path:
    """Writes ``check.md``, ``check.json`` and ``contact_sheet.png``, and returns the folder.

    Raises:
        DataError: errors were found; raised after everything was printed and written.
    """
    from densecf.data.check import check
    from densecf.data.checks.report import markdown

    data = open_dataset(options.data, progress=not options.quiet)
    out = runs.start_run(
        "check",
        Path(os.path.abspath(data.path)).name,
        to_dict(options),
        out=options.out,
        overwrite=options.overwrite,
        provenance={"dataset": str(data.path), "dataset_checksum": data.checksum},
    )
    with runs.working_in(out):
        report = check(data, verify=options.verify, workers=options.workers or None, progress=not options.quiet)
        text = markdown(report)
        write_text_atomic(out / REPORT, text)
        write_json_atomic(out / FIGURES, report.to_json())
        draw_sheet(out / SHEET, data, report)
        errors = report.of_grade("error")
        runs.finish_run(out, "check", errors=len(errors))
    print(text)
    print(f"Contact sheet: {out / SHEET}")
    print(f"Run: {out}")
    if errors:
        topics = ", ".join(dict.fromkeys(finding.topic for finding in errors))
        raise DataError(f"{data.path}: errors were found ({topics}); see {out / REPORT}.")
    return out


def draw_sheet(path: Path, data: PreparedDataset, report: Report) -> Path:
    """The contact sheet: suspects first, then every scanner, split and effusion."""
    from densecf.data.checks.selection import cell_title, cells, suspects
    from densecf.visualization.contact_sheet import Group, Tile, save_contact_sheet

    files = [PurePath(image).name for image in data.records["image"]]
    patients = data.records["patient_id"].tolist()
    grades: dict[str, list[Tile]] = {"error": [], "warning": []}
    for row, finding in suspects(report.findings):
        tile = Tile(row, (finding.short, files[row], f"patient {patients[row]}"))
        grades[finding.grade].append(tile)
    common = [
        Tile(row, (key[0], f"{key[1]}, {key[2]} ({count:,})", files[row]))
        for key, count, rows in cells(data.records)
        for row in rows
    ]
    groups = [
        Group("Errors", tuple(grades["error"]), alarm=True),
        Group("Worth a look", tuple(grades["warning"])),
        Group(f"By {cell_title()} (images there are of each)", tuple(common)),
    ]
    return save_contact_sheet(
        path, groups, lambda row: (data.image(row), data.mask(row)), data.class_names, heading=report.summary
    )

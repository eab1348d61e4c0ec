"""`densecf data check` writes its products whatever it finds, and fails only for errors."""

import json

import numpy as np
from PIL import Image

from tests.data.checks.damaged import flip_mask, images, made


def test_a_sound_dataset_passes(tmp_path, run_densecf):
    made(tmp_path)
    done = run_densecf(tmp_path, "data", "check", "data", "--verify", "--workers", 1, "--quiet")
    assert "0 errors, 0 warnings" in done.stdout
    out = tmp_path / "runs/check/data"
    assert (out / "check.md").read_text() in done.stdout
    assert json.loads((out / "check.json").read_text())["errors"] == 0
    sheet = np.asarray(Image.open(out / "contact_sheet.png").convert("RGB")).astype(int)
    assert (np.abs(sheet - (0x19, 0xD3, 0xFF)).sum(axis=2) < 30).sum() > 200  # outlines of the left lung


def test_errors_end_with_code_two_after_the_report(tmp_path, run_densecf):
    data = made(tmp_path)
    flip_mask(data, 7)
    images(data)[10] = images(data)[0]
    done = run_densecf(tmp_path, "data", "check", "data", "--out", "found", "--workers", 1, "--quiet", code=2)
    assert "## Errors" in done.stdout
    assert "sides, duplicates" in done.stderr
    assert {"check.md", "check.json", "contact_sheet.png", "config.yaml"} <= {
        p.name for p in (tmp_path / "found").iterdir()
    }
    assert "holds a run already" in run_densecf(tmp_path, "data", "check", "data", "--out", "found", code=2).stderr

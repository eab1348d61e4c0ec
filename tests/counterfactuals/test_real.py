"""Real radiographs, where they are at hand: the whole way through the command line."""

import json

import pytest

from densecf.data.prepared import PreparedDataset


@pytest.mark.slow
def test_from_a_table_to_measured_counterfactuals(radiographs, run_densecf, tmp_path):
    run_densecf(tmp_path, "data", "prepare", "table", "--table", radiographs / "lungs.csv", "--out", "lungs",
                "--size", 64, "--quiet")  # fmt: skip
    done = run_densecf(tmp_path, "pretrain", "--data", "lungs", "--method", "s-mvd-cl", code=2)
    assert "densecf counterfactuals generate --data lungs" in done.stderr
    run_densecf(tmp_path, "counterfactuals", "train", "--data", "lungs", "--parents", "scanner", "--balance", "scanner",
                "--epochs", 2, "--samples-every", 0, "--quiet")  # fmt: skip
    run_densecf(tmp_path, "counterfactuals", "generate", "--data", "lungs", "--do", "scanner=other", "--quiet")
    data = PreparedDataset.open(tmp_path / "lungs")
    assert data.counterfactuals == {"hvae": ("scanner=other",)}
    data.verify()
    run_densecf(tmp_path, "counterfactuals", "evaluate", "--data", "lungs", "--images", 16, "--judge-epochs", 1,
                "--out", "sound", "--quiet")  # fmt: skip
    found = json.loads((tmp_path / "sound" / "soundness.json").read_text())["scanner"]
    assert found["composition"] < 1e-4
    assert 0 <= found["effectiveness"] <= 1
    assert 0 <= found["lung_dice"] <= 1
    assert found["error_to_truth"] is None
    image = radiographs / "montgomery" / "images"
    picture = next(image.glob("*.png"))
    run_densecf(tmp_path, "counterfactuals", "show", picture, "--parents", "scanner=Montgomery Eureka CR",
                "--do", "scanner=Shenzhen Philips DR", "--out", "shown")  # fmt: skip
    assert (tmp_path / "shown" / "counterfactuals.png").stat().st_size > 10_000

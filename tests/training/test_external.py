"""Further records, such as another scanner's, tested by the network of every fold."""

import json

import numpy as np
import pandas as pd
import pytest

from densecf import cli
from densecf.data.prepared import PreparedDataset
from densecf.models.embed import predict_masks
from densecf.models.weights import load_run
from densecf.training.finetune import EXTERNAL, EXTERNAL_SUMMARY, measure, read_cases
from tests.training.finetuning import arguments, finetune

WHERE = "split=manual,age<30"


@pytest.fixture(scope="module")
def run(phantom, tmp_path_factory):
    return finetune(phantom, tmp_path_factory.mktemp("external") / "run", "--external", WHERE)


def test_every_network_is_measured_on_every_case(run, phantom):
    data, found = PreparedDataset.open(phantom), read_cases(run / EXTERNAL)
    records = data.records
    rows = np.flatnonzero((records["split"] == "manual") & (records["age"] < 30))
    assert len(rows) > 1
    for fold in (0, 1):
        model = load_run(run / "folds" / str(fold)).model
        expected = measure(data, rows, predict_masks(model, [data.image(row) for row in rows]), fold)
        mine = found[found["fold"] == fold].reset_index(drop=True)
        assert list(mine["case"]) == list(expected["case"])
        np.testing.assert_allclose(mine["dsc"], expected["dsc"].astype(float), rtol=1e-9)
    assert len(found) == 2 * len(rows)


def test_the_summary_averages_over_networks(run):
    means = read_cases(run / EXTERNAL).groupby("fold")["dsc"].mean()
    summary = json.loads((run / EXTERNAL_SUMMARY).read_text())["dsc"]
    assert summary["mean"] == pytest.approx(means.mean())
    assert summary["std"] == pytest.approx(means.std(ddof=0))
    assert f"On {WHERE}" in (run / "summary.md").read_text()


def test_external_cases_change_nothing_else(run, phantom, tmp_path):
    alone = finetune(phantom, tmp_path / "alone")
    for name in ("cases.csv", "folds/0/weights.safetensors", "folds/1/predictions.npy"):
        assert (alone / name).read_bytes() == (run / name).read_bytes()
    assert not (alone / EXTERNAL).exists()
    pd.testing.assert_frame_equal(read_cases(alone / "cases.csv"), read_cases(run / "cases.csv"))


def test_patients_of_the_folds_are_refused(phantom, tmp_path, capsys):
    assert cli.main(arguments(phantom, tmp_path / "run", "--external", "split=manual,age>=60")) == 2
    error = capsys.readouterr().err
    assert "--external" in error
    assert "patients are in the folds too" in error
    assert not (tmp_path / "run").exists()

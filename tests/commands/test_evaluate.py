"""``densecf evaluate`` on patients that the network has seen, and on others."""

import pytest

from densecf import runs
from densecf.commands.evaluate import run_evaluate
from densecf.commands.options import EvaluateOptions
from densecf.data.prepared import PreparedDataset
from densecf.data.seen import SEEN
from densecf.errors import DensecfError, LeakError
from tests.commands.test_explore import pixel_run


@pytest.fixture
def options(phantom, tmp_path, monkeypatch) -> EvaluateOptions:
    """Of a run whose folder says that it saw the training split."""
    monkeypatch.chdir(tmp_path)
    records, run = PreparedDataset.open(phantom).records, pixel_run(tmp_path, "mvd-cl", size=32)
    records[records["split"] == "train"][["image", "patient_id"]].to_csv(run / SEEN, index=False)
    return EvaluateOptions(run=str(run / "weights.safetensors"), data=str(phantom), images=6, out=tmp_path / "out")


def test_patients_that_were_pretrained_on_are_refused(options, tmp_path):
    with pytest.raises(LeakError, match=r"21 patients .* pretrained on: .*--where"):
        run_evaluate(EvaluateOptions(**{**vars(options), "where": "split=train"}))
    assert not options.out.exists()
    assert runs.is_finished(run_evaluate(options))


def test_a_damaged_list_of_patients_is_refused_by_its_name(options, tmp_path):
    (tmp_path / "mvd-cl" / SEEN).write_bytes(b"image\n\xff")
    with pytest.raises(DensecfError, match=SEEN):
        run_evaluate(options)

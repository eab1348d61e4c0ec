"""Which records a command works on."""

import pytest

from densecf.commands.datasets import choose_rows, open_dataset, with_masks
from densecf.commands.prepare import check_size
from densecf.config import PHANTOM
from densecf.data.prepared import PreparedDataset
from densecf.errors import ConfigError, DataError


@pytest.fixture
def data(phantom) -> PreparedDataset:
    return PreparedDataset.open(phantom)


def test_the_split_is_the_default(data):
    rows = choose_rows(data, where="", split="manual")
    assert (data.records.iloc[rows]["split"] == "manual").all()
    assert len(rows) == 70


def test_a_condition_chooses_from_all_records(data):
    rows = choose_rows(data, where="pleural_effusion=1", split="manual")
    assert set(data.records.iloc[rows]["split"]) == {"train", "manual"}
    assert (data.records.iloc[rows]["pleural_effusion"] == 1).all()


def test_excluding_takes_whole_patients(data):
    pretraining = data.records[data.records["split"] == "train"]
    twice = pretraining["patient_id"].value_counts().index[0]
    assert (pretraining["patient_id"] == twice).sum() > 1
    one_image = pretraining.loc[pretraining["patient_id"] == twice, "image"].iloc[0]
    rows = choose_rows(data, where="", split="train", exclude=f"image={one_image}")
    assert twice not in set(data.records.iloc[rows]["patient_id"])


def test_nothing_left_is_an_error(data):
    with pytest.raises(DataError, match="no record is left"):
        choose_rows(data, where="age>200", split="manual")


def test_masks_are_asked_for(data):
    data.records["mask_kind"] = ""
    with pytest.raises(DataError, match="has a mask"):
        with_masks(data, [0, 1])


def test_where_the_phantom_cannot_be_made_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.access", lambda place, mode: False)  # root may write everywhere
    with pytest.raises(DataError, match=r"no permission to make the phantom .* --data FOLDER"):
        open_dataset(PHANTOM)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 16, 50, 100])
def test_sizes_that_the_network_cannot_take(size):
    with pytest.raises(ConfigError, match="multiple of 32"):
        check_size(size)
    check_size(224)

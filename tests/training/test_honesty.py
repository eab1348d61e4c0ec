"""The held-out fold decides nothing: with its masks spoilt, the same weights come out, byte for byte."""

import json
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from densecf.data.finish import file_entry
from densecf.data.layout import MASKS, META, overall_checksum
from densecf.data.prepared import PreparedDataset
from densecf.files import write_json_atomic
from densecf.training.watching import CURVES
from tests.training.finetuning import CASES, finetune

WATCHED = ("--test-every", 1)
SAME, ITS_TEST = ("weights.safetensors", "predictions.npy"), ("cases.csv", CURVES)


def swapped(mask: np.ndarray) -> np.ndarray:
    """Left for right, and lung for background."""
    return np.array([1, 2, 0], np.uint8)[mask]


def noise(mask: np.ndarray) -> np.ndarray:
    return np.random.default_rng(int(mask.sum())).integers(0, 3, mask.shape, dtype=np.uint8)


def spoil(clean: Path, out: Path, images: Collection[str], change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """A sound prepared dataset that differs from another in the masks of some images only."""
    shutil.copytree(clean, out)
    records = PreparedDataset.open(out).records
    masks = np.load(out / MASKS)
    for row in records.index[records["image"].isin(images)]:
        masks[row] = change(masks[row])
    np.save(out / MASKS, masks)
    meta = json.loads((out / META).read_text())
    meta["files"][MASKS] = file_entry(out / MASKS)
    meta["checksum"] = overall_checksum(meta)
    write_json_atomic(out / META, meta)
    spoilt, before = PreparedDataset.open(out), PreparedDataset.open(clean)
    spoilt.verify()
    assert spoilt.checksum != before.checksum
    changed = [records["image"][row] for row in records.index if not np.array_equal(masks[row], before.masks[row])]
    assert set(changed) == set(images)
    return out


@pytest.fixture(scope="module")
def clean(tmp_path_factory, phantom) -> Path:
    return finetune(phantom, tmp_path_factory.mktemp("honesty") / "clean", *WATCHED)


def in_fold(run: Path, fold: int) -> list[str]:
    images = json.loads((run / "folds.json").read_text())["images"]
    assert len(images) == CASES
    return [entry["image"] for entry in images if entry["fold"] == fold]


def content(run: Path, fold: int, name: str) -> bytes:
    return (run / "folds" / str(fold) / name).read_bytes()


@pytest.mark.parametrize("change", [swapped, noise])
def test_spoilt_test_masks_change_the_metrics_and_nothing_else(clean, phantom, tmp_path, change):
    data = spoil(phantom, tmp_path / "data", in_fold(clean, 0), change)
    run = finetune(data, tmp_path / "run", *WATCHED, "--folds-file", clean / "folds.json")
    for name in SAME:
        assert content(run, 0, name) == content(clean, 0, name), name
    for name in ITS_TEST:
        mine, theirs = (pd.read_csv(r / "folds/0" / name)["dsc"] for r in (run, clean))
        assert len(mine) == len(theirs)
        assert not np.isclose(mine, theirs).all(), name
    # The other fold trains on these masks: it must notice.
    assert content(run, 1, "weights.safetensors") != content(clean, 1, "weights.safetensors")


def test_one_spoilt_training_mask_changes_the_weights(clean, phantom, tmp_path):
    """The control: were the masks not read at all, or the wrong ones spoilt, the test above would prove nothing."""
    data = spoil(phantom, tmp_path / "data", in_fold(clean, 1)[:1], swapped)
    run = finetune(data, tmp_path / "run", *WATCHED, "--folds-file", clean / "folds.json")
    assert content(run, 0, "weights.safetensors") != content(clean, 0, "weights.safetensors")
    assert content(run, 1, "weights.safetensors") == content(clean, 1, "weights.safetensors")

"""Names that other people's code relies on."""

import inspect

import torch

import densecf
from densecf.data import PreparedDataset, phantom
from densecf.losses import info_nce
from densecf.methods import METHODS
from densecf.views import RandomViewd, sample_correspondences


def test_public_names():
    assert issubclass(densecf.errors.DataError, densecf.DensecfError)
    assert callable(densecf.load_pretrained)
    assert callable(densecf.encoder_state_dict)
    assert callable(PreparedDataset.open)
    assert callable(phantom.render)
    assert set(METHODS) == {
        *("vader", "dvd-cl", "mvd-cl", "ssdcl", "s-dvd-cl", "s-mvd-cl", "segmentation"),
        *("simclr", "simclr-plus", "cf-simclr", "dino", "dino-plus", "cf-dino"),
    }
    assert inspect.isclass(RandomViewd)


def test_the_loss_is_called_as_documented():
    assert list(inspect.signature(info_nce).parameters) == [
        "queries", "keys", "query_ids", "key_ids", "temperature", "exclude_self", "query_mask",
    ]  # fmt: skip
    rows, ids = torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 2])
    assert info_nce(rows, rows, ids, ids, temperature=0.5, exclude_self=True).ndim == 0


def test_correspondences_are_called_as_documented():
    affines = torch.eye(3, dtype=torch.float64).expand(2, 3, 3, 3)
    points, valid = sample_correspondences(affines, 32, 5, torch.Generator().manual_seed(0))
    assert points.shape == (2, 3, 5, 2)
    assert valid.shape == (2, 5)


def test_published_datasets_are_read_as_documented():
    from densecf.data import chexmask, read_records

    assert list(inspect.signature(read_records).parameters)[:3] == ["name", "table", "split"]
    assert list(inspect.signature(chexmask.decode).parameters) == ["rle", "height", "width"]

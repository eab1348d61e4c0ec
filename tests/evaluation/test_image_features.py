"""Each image passes the network once, and never again while dataset and weights are the same."""

import numpy as np
import pytest
import torch
from torch import nn

from densecf.data.prepared import PreparedDataset
from densecf.errors import DataError
from densecf.evaluation.image_features import FeatureStore, extract_features, stored_features
from densecf.models.backbone import ImageEncoder
from densecf.models.unet import normalise


class Counting(nn.Module):
    """Mean and spread of an image, and how many images were asked for."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.seen = 0

    def forward(self, images):
        self.seen += len(images)
        return torch.stack([images.mean((1, 2, 3)), images.std((1, 2, 3))], dim=1) * self.scale


@pytest.fixture
def data(phantom) -> PreparedDataset:
    return PreparedDataset.open(phantom)


@pytest.fixture
def encoder() -> ImageEncoder:
    return ImageEncoder(Counting(), 2)


def expected(data, rows):
    images = [normalise(torch.from_numpy(data.image(row))) for row in rows]
    return np.array([[float(image.mean()), float(image.std())] for image in images], dtype=np.float32)


def test_features_are_those_of_the_rows_in_their_order(data, encoder):
    rows = [5, 0, 80, 7]
    np.testing.assert_allclose(extract_features(encoder, data, rows, progress=False), expected(data, rows), rtol=1e-4)


def test_each_image_passes_once(data, encoder, tmp_path):
    store = FeatureStore(tmp_path / "features", "weights")

    def ask(rows):
        found = stored_features(store, lambda: encoder, data, rows, progress=False)
        np.testing.assert_allclose(found, expected(data, rows), rtol=1e-4)

    ask([3, 1, 2])
    assert encoder.body.seen == 3
    ask([2, 3, 3])  # kept
    assert encoder.body.seen == 3
    ask([9, 1, 0])  # two are new
    assert encoder.body.seen == 5
    again = FeatureStore(tmp_path / "features", "weights")
    stored_features(again, None, data, [0, 1, 2, 3, 9], progress=False)  # no network is needed


def test_features_of_other_weights_or_damaged_ones_are_made_again(data, encoder, tmp_path):
    def ask(weights):
        stored_features(FeatureStore(tmp_path, weights), lambda: encoder, data, [0, 1], progress=False)

    ask("first")
    ask("second")
    assert encoder.body.seen == 4
    [path] = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:40])
    ask("second")
    assert encoder.body.seen == 6
    ask("second")
    assert encoder.body.seen == 6


def test_a_folder_that_cannot_be_written_is_said(data, encoder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    store = FeatureStore(tmp_path / "file" / "features", "weights")
    stored_features(store, lambda: encoder, data, [0, 1], progress=False)
    assert "not kept" in capsys.readouterr().out


def test_broken_networks_are_named(data, encoder):
    encoder.body.scale.data.fill_(float("nan"))
    with pytest.raises(DataError, match="mine: the features hold NaN"):
        extract_features(encoder, data, [0, 1], title="mine", progress=False)

"""The pretraining step against slow, plain ways to the same numbers."""

import math

import pytest
import torch
from torch.utils.data import default_collate

from densecf.config import ModelConfig, PretrainConfig
from densecf.data.prepared import PreparedDataset
from densecf.losses.info_nce import info_nce
from densecf.methods import METHODS
from densecf.models.unet import dense_features
from densecf.training.datasets import ContrastDataset, ViewDataset, choose_counterfactuals
from densecf.training.pixel_level import Contrast, encode_views, features_at_points
from densecf.views.sampling import sample_at
from tests.losses.oracle import slow_nearby

MODEL = ModelConfig(encoder="resnet18", decoder_channels=(16, 16, 8, 8, 8), projection_hidden=16, projection_dim=8)


@pytest.fixture(scope="module")
def data(phantom) -> PreparedDataset:
    return PreparedDataset.open(phantom)


def step(data, method: str, **options) -> tuple[Contrast, dict]:
    config = PretrainConfig(method=method, points=12, temperature=0.3, model=MODEL, **options)
    stored = choose_counterfactuals(data, "auto", METHODS[method])
    views = ViewDataset(data, config.views, counterfactuals=stored)
    dataset = ContrastDataset(
        views,
        METHODS[method],
        config.points,
        sampling=config.sampling,
        positions=config.match_radius > 0,
        background_queries=config.background_queries,
    )
    torch.manual_seed(0)
    module = Contrast(config, data, 10, None).eval()
    return module, default_collate([dataset[0, row] for row in (1, 6)])


def features_of(module: Contrast, batch: dict) -> torch.Tensor:
    features = module.unet.decoder(encode_views(module.unet, batch["images"]))
    return features_at_points(features, batch["points"], views=batch["images"].shape[1])


@pytest.mark.parametrize("method", ["mvd-cl", "dvd-cl"])
def test_features_are_read_where_the_points_are(data, method):
    module, batch = step(data, method)
    with torch.no_grad():
        found = features_of(module, batch)
        for record in range(2):
            maps = dense_features(module.unet, batch["images"][record])
            if method == "mvd-cl":
                expected = sample_at(maps, batch["points"][record])
            else:
                expected = torch.stack(
                    [
                        sample_at(maps[[0, target]], batch["points"][record, target - 1])
                        for target in range(1, len(maps))
                    ]
                )
            torch.testing.assert_close(found[record], expected, rtol=1e-4, atol=1e-5)


def test_the_loss_of_a_dual_method_is_the_mean_over_directions_and_targets(data):
    module, batch = step(data, "s-dvd-cl")
    with torch.no_grad():
        loss = module.training_step(batch, batch_idx=1)
        embeddings = module.head(features_of(module, batch))
        parts = []
        for target in range(3):
            anchor, other = (embeddings[:, target, side].flatten(0, 1) for side in range(2))
            ids = [batch["ids"][:, target, side].flatten() for side in range(2)]
            query = [batch["query"][:, target, side].flatten() for side in range(2)]
            parts.append(info_nce(anchor, other, ids[0], ids[1], temperature=0.3, query_mask=query[0]))
            parts.append(info_nce(other, anchor, ids[1], ids[0], temperature=0.3, query_mask=query[1]))
    torch.testing.assert_close(loss, torch.stack(parts).mean())


@pytest.mark.parametrize("sampling", ["common", "anywhere"])
def test_a_match_radius_makes_near_points_positives(data, sampling, monkeypatch):
    module, batch = step(data, "mvd-cl", match_radius=0.2, sampling=sampling)
    facts = {}
    monkeypatch.setattr(module, "report", lambda step, loss, found: facts.update(found))
    with torch.no_grad():
        loss = module.training_step(batch, batch_idx=0)
        rows = module.head(features_of(module, batch)).double()
    options = {"radius": 0.2, "temperature": 0.3}
    expected = slow_nearby(rows, batch["positions"].double(), batch["ids"] >= 0, **options)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    assert facts["chance"].item() == pytest.approx(math.log(2 * 4 * 12 - 1))
    assert facts["gap"].isfinite()
    assert facts["valid_points"] == 1


def test_background_queries_are_heard(data):
    losses = []
    for asked in (False, True):
        module, batch = step(data, "s-mvd-cl", background_queries=asked)
        with torch.no_grad():
            losses.append(module.training_step(batch, batch_idx=1))
            rows = module.head(features_of(module, batch)).flatten(0, 2)
        ids = batch["ids"].flatten()
        mask = None if asked else ids > 0
        expected = info_nce(rows, rows, ids, ids, temperature=0.3, exclude_self=True, query_mask=mask)
        torch.testing.assert_close(losses[-1], expected)
    assert losses[0] != losses[1]


def test_every_trained_weight_gets_a_gradient(data):
    module, batch = step(data, "s-mvd-cl")
    module.train().training_step(batch, batch_idx=1).backward()
    without = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    assert not any(p.requires_grad for p in module.unet.segmentation_head.parameters())


def test_the_image_level_term_is_added(data):
    plain, batch = step(data, "s-mvd-cl")
    both, _ = step(data, "s-mvd-cl", global_weight=0.5, global_temperature=0.2)
    both.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():
        pooled = encode_views(both.unet, batch["images"])[-1].mean((2, 3))
        rows = both.global_head(pooled)
        ids = batch["row"].repeat_interleave(batch["images"].shape[1])
        term = info_nce(rows, rows, ids, ids, temperature=0.2, exclude_self=True)
        expected = plain.training_step(batch, 1) + 0.5 * term
        torch.testing.assert_close(both.training_step(batch, 1), expected)
    both.train().training_step(batch, 1).backward()
    assert all(p.grad is not None for p in both.parameters() if p.requires_grad)

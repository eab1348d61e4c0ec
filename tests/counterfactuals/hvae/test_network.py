from dataclasses import replace

import pytest
import torch

from densecf.counterfactuals.hvae.network import HVAE
from densecf.presets import COUNTERFACTUAL_PRESETS
from tests.counterfactuals.tiny import NETWORK, spread_out

TINY = replace(NETWORK, prior="conditional")
PRIORS = ("conditional", "exogenous", "standard")


def latent_count(network: HVAE) -> int:
    return sum(block.latents * block.size**2 for block in network.decoder.blocks if block.stochastic)


@pytest.mark.parametrize(
    ("preset", "blocks", "stochastic", "latents", "parameters"),
    [
        ("authors", 63, 55, 673_500, 30_965_195),
        ("224", 63, 55, 673_500, 30_965_195),
        ("256", 40, 38, 1_064_544, 18_691_477),
        ("192", 40, 40, 2_195_744, 18_044_513),
    ],
)
def test_published_networks_have_the_published_counts(preset, blocks, stochastic, latents, parameters):
    # Blocks and latents: counterfactual-contrastive, causal_models/hps.py, and CF-Seg, causal-gen/src/hps.py.
    network = HVAE(COUNTERFACTUAL_PRESETS[preset].network, 3)
    assert len(network.decoder.blocks) == blocks
    assert sum(block.stochastic for block in network.decoder.blocks) == stochastic
    assert latent_count(network) == latents
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("preset", ["64", "128", "embedded"])
def test_small_networks_fit_into_eight_megabytes(preset):
    config = COUNTERFACTUAL_PRESETS[preset].network
    network = HVAE(config, 3)
    assert network.size == int(64 if preset == "embedded" else preset)
    assert 4 * sum(p.numel() for p in network.parameters()) < 8 * 2**20


@pytest.mark.parametrize("prior", PRIORS)
def test_at_the_start_kl_is_zero_and_the_image_is_grey(prior):
    network = HVAE(replace(TINY, prior=prior), 3)
    found = network(torch.rand(2, 1, 32, 32) * 2 - 1, torch.randn(2, 3))
    assert found.kl.shape == (2, 4)
    assert torch.equal(found.kl, torch.zeros(2, 4))
    assert torch.equal(found.mean, torch.zeros(2, 1, 32, 32))


@pytest.mark.parametrize("prior", PRIORS)
def test_decoding_what_was_abducted_gives_the_reconstruction(prior):
    network = spread_out(HVAE(replace(TINY, prior=prior), 3))
    images, parents = torch.rand(3, 1, 32, 32) * 2 - 1, torch.randn(3, 3)
    found = network.abduct(images, parents)
    assert torch.allclose(network.decode(found.latents, parents).mean, found.mean, atol=1e-5)
    assert not torch.allclose(network.decode(found.latents, parents + 1).mean, found.mean, atol=1e-3)


def test_only_a_conditional_prior_hears_the_parents():
    for prior in PRIORS:
        network = spread_out(HVAE(replace(TINY, prior=prior), 3))
        block, state = network.decoder.blocks[1], torch.randn(1, 16, 4, 4)
        one, other = (block.prior_of(state, network.embed(torch.full((1, 3), v))).mean for v in (0.0, 5.0))
        assert torch.equal(one, other) == (prior != "conditional")


@pytest.mark.parametrize("prior", PRIORS)
def test_every_weight_is_used(prior):
    # What has no gradient stops DistributedDataParallel, and is not what the counts promise.
    network = spread_out(HVAE(replace(TINY, prior=prior), 3)).train()
    found = network(torch.rand(2, 1, 32, 32) * 2 - 1, torch.randn(2, 3))
    (found.mean.square().mean() + found.kl.mean()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_bfloat16_gives_finite_numbers_and_gradients():
    network = spread_out(HVAE(TINY, 3)).train()
    with torch.autocast("cpu", torch.bfloat16):
        found = network(torch.rand(2, 1, 32, 32) * 2 - 1, torch.randn(2, 3))
    loss = found.mean.square().mean() + found.kl.mean()
    loss.backward()
    assert found.mean.dtype == found.kl.dtype == torch.float32
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())

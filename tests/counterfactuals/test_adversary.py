from dataclasses import replace

import numpy as np
import pytest
import torch

from densecf.counterfactuals.adversary import Adversary
from densecf.counterfactuals.hvae.network import HVAE
from densecf.counterfactuals.parents import Parent, Parents
from tests.counterfactuals.tiny import NETWORK

PARENTS = Parents(
    (
        Parent("scanner", "categorical", ("A", "B", "C")),
        Parent("sex", "binary", ("F", "M")),
        Parent("age", "continuous", (), 50.0, 10.0),
    )
)


def encoded(count, generator):
    scanner = torch.randint(3, (count,), generator=generator)
    sex = torch.randint(2, (count,), generator=generator)
    age = torch.randn(count, 1, generator=generator)
    return torch.cat([torch.eye(3)[scanner], 2.0 * sex[:, None] - 1, age], dim=1)


def latents_of(count, generator):
    sizes = [(b.latents, b.size) for b in HVAE(NETWORK, 5).decoder.blocks if b.stochastic]
    return [torch.randn(count, c, s, s, generator=generator) for c, s in sizes]


def test_finds_a_parent_that_hides_in_a_product_and_sends_the_gradient_back():
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    adversary = Adversary(HVAE(NETWORK, 5).decoder, PARENTS, width=32)
    optimizer = torch.optim.Adam(adversary.parameters(), 3e-3)
    first = last = 0.0
    for _ in range(150):
        parents, latents = encoded(64, generator), latents_of(64, generator)
        # The sex is the sign of a product: neither latent is correlated with it.
        latents[0][:, 0] = parents[:, 3, None, None] * latents[0][:, 1].sign() * latents[0][:, 0].abs()
        loss = adversary(latents, parents, 1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        last = float(loss.detach())
        first = first or last
    assert last < first - 0.35  # of log 2


def test_the_gradient_of_the_latents_is_reversed_and_weighted():
    generator = torch.Generator().manual_seed(0)
    adversary = Adversary(HVAE(NETWORK, 5).decoder, PARENTS)
    parents, latents = encoded(8, generator), latents_of(8, generator)

    def gradients(weight):
        leaves = [z.clone().requires_grad_() for z in latents]
        adversary.zero_grad()
        adversary(leaves, parents, weight).backward()
        return leaves[0].grad, adversary.guess[2].weight.grad.clone()

    (one, own), (three, own_again) = gradients(1.0), gradients(3.0)
    assert torch.allclose(three, 3 * one)
    assert torch.equal(own, own_again)
    step = 1e-2 * one / one.norm()
    with torch.no_grad():
        before = adversary(latents, parents, 1.0)
        after = adversary([latents[0] - step, *latents[1:]], parents, 1.0)
    assert after > before  # going down the reversed gradient makes the adversary worse


def test_chance_is_the_entropy_of_the_parents():
    adversary = Adversary(HVAE(NETWORK, 5).decoder, PARENTS)
    with torch.no_grad():
        for parameter in adversary.guess[2].parameters():
            parameter.zero_()
    generator = torch.Generator().manual_seed(0)
    loss = float(adversary(latents_of(8, generator), encoded(8, generator), 1.0))
    assert loss == pytest.approx(np.log(3) + np.log(2) + np.log(2))


@pytest.mark.parametrize("size", [1, 4])
def test_works_where_latents_are_a_single_place(size):
    decoder = HVAE(replace(NETWORK, max_latent_size=size), 5).decoder
    generator = torch.Generator().manual_seed(0)
    latents = [torch.randn(4, b.latents, b.size, b.size) for b in decoder.blocks if b.stochastic]
    assert torch.isfinite(Adversary(decoder, PARENTS)(latents, encoded(4, generator), 1.0))

import numpy as np
import pytest
import torch

from densecf.counterfactuals.independence import dependence


def oracle(latents, parents):
    total = 0.0
    for z in latents:
        z = z.flatten(1).numpy().astype(float)
        for moment in (z, (z - z.mean(0)) ** 2):
            for column in moment.T:
                for parent in parents.numpy().astype(float).T:
                    total += 0.5 * np.corrcoef(column, parent)[0, 1] ** 2
    return total


def noise_floor(count, batch, parents):
    """What `dependence` is on average when so many latents know nothing: batches are small."""
    return count * parents / (batch - 1)


def test_is_half_the_squared_correlation_summed():
    generator = torch.Generator().manual_seed(0)
    latents = [torch.randn(12, 3, 2, 2, generator=generator), torch.randn(12, 5, 1, 1, generator=generator)]
    parents = torch.randn(12, 2, generator=generator)
    assert float(dependence(latents, parents)) == pytest.approx(oracle(latents, parents), rel=1e-4)


def test_independent_latents_reach_the_noise_floor_and_no_more():
    generator = torch.Generator().manual_seed(0)
    found = [
        float(dependence([torch.randn(32, 40, generator=generator)], torch.randn(32, 3, generator=generator)))
        for _ in range(200)
    ]
    assert np.mean(found) == pytest.approx(noise_floor(40, 32, 3), rel=0.05)


def test_a_latent_that_is_the_parent_costs_most_and_a_constant_parent_nothing():
    parents = torch.tensor([[-1.0], [1.0]]).repeat(8, 1)
    told = float(dependence([parents.clone()], parents))
    assert told == pytest.approx(0.5, abs=1e-4)  # its square is constant
    assert float(dependence([parents.clone()], torch.ones(16, 1))) == 0


def test_the_spread_of_a_group_counts_too():
    parents = torch.tensor([[-1.0], [1.0]]).repeat(500, 1)
    z = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0)) * (2 + parents)
    assert float(dependence([z], parents)) > 20 * noise_floor(1, 1000, 1)


def test_descending_it_makes_latents_forget_the_parents():
    parents = torch.tensor([[-1.0], [1.0]]).repeat(32, 1)
    z = (torch.randn(64, 4, generator=torch.Generator().manual_seed(0)) + 2 * parents).requires_grad_()
    before = float(dependence([z], parents))
    for _ in range(200):
        (gradient,) = torch.autograd.grad(dependence([z], parents), z)
        z = (z - 2 * gradient).detach().requires_grad_()
    assert float(dependence([z], parents)) < 0.1 * before
    assert z.std() > 0.5

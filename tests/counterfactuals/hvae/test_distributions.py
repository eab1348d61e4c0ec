import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from densecf.counterfactuals.hvae.distributions import discretised_gaussian_nll, gaussian_kl, positive_scale


def test_probabilities_of_all_grey_levels_sum_to_one():
    levels = torch.linspace(-1, 1, 256, dtype=torch.float64)[:, None]
    for mean, scale in ((0.0, 0.0581), (-0.97, 0.0581), (1.3, 0.2), (0.2, 0.01)):
        nll = discretised_gaussian_nll(levels, torch.tensor([[mean]]), torch.tensor(scale))
        assert float(torch.exp(-nll).sum()) == pytest.approx(1, abs=2e-4)


def test_a_bin_holds_what_the_normal_distribution_holds_there():
    values = np.linspace(-1, 1, 256)
    nll = discretised_gaussian_nll(torch.tensor(values), torch.tensor(0.1), torch.tensor(0.0581)).numpy()
    normal = stats.norm(0.1, 0.0581)
    for i in (0, 100, 137, 170, 255):
        low = -math.inf if i == 0 else values[i] - 1 / 255
        high = math.inf if i == 255 else values[i] + 1 / 255
        wanted = normal.cdf(high) - normal.cdf(low)
        if wanted > 1e-5:
            assert math.exp(-nll[i]) == pytest.approx(wanted, rel=1e-2)  # float32
        elif 0 < i < 255:  # density times width
            assert nll[i] == pytest.approx(-normal.logpdf(values[i]) - math.log(2 / 255), rel=1e-4)


def test_the_gradient_never_vanishes():
    mean = torch.tensor([-3.0, -0.9, 0.0, 0.9, 3.0], requires_grad=True)
    discretised_gaussian_nll(torch.full((5,), 0.1), mean, torch.tensor(0.0581)).sum().backward()
    assert (mean.grad.abs() > 0.1).all()
    assert (torch.sign(mean.grad) == torch.sign(mean.detach() - 0.1)).all()


def test_scale_is_one_at_zero_and_inverts():
    assert float(positive_scale(torch.tensor(0.0))) == pytest.approx(1)
    assert float(positive_scale(torch.tensor(math.log(1e-2)))) == pytest.approx(0.0581, abs=1e-4)  # the authors' 0.01


def test_kl_is_the_integral_it_stands_for():
    q, p = stats.norm(0.3, 0.5), stats.norm(-0.4, 1.7)
    wanted, _ = integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), -5, 6)
    found = gaussian_kl(*(torch.tensor(v, dtype=torch.float64) for v in (0.3, 0.5, -0.4, 1.7)))
    assert float(found) == pytest.approx(wanted, rel=1e-6)

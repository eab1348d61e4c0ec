import math

import numpy as np
import pytest
import torch

from densecf.training.monitors import effective_rank, feature_spread, nearby_gap, positive_negative_gap


def gaussians(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def slow_gap(z: torch.Tensor, ids: torch.Tensor) -> float:
    positives: list[float] = []
    negatives: list[float] = []
    for i in range(len(z)):
        for j in range(len(z)):
            if i != j and ids[i] >= 0 and ids[j] >= 0:
                cosine = float(torch.cosine_similarity(z[i], z[j], dim=0))
                (positives if ids[i] == ids[j] else negatives).append(cosine)
    return sum(positives) / len(positives) - sum(negatives) / len(negatives)


@pytest.mark.parametrize("dim", [8, 64])
def test_isotropic(dim):
    z = gaussians(4096, dim)
    assert feature_spread(z).item() == pytest.approx(1, abs=0.01)
    assert effective_rank(z).item() == pytest.approx(dim, rel=0.03)


def test_collapsed_to_a_point():
    z = gaussians(1, 32).expand(1000, 32) * torch.rand(1000, 1).add(0.1)
    assert feature_spread(z).item() == pytest.approx(0, abs=1e-5)
    assert effective_rank(z).item() == pytest.approx(1, abs=1e-3)
    assert feature_spread(torch.zeros(5, 3)).item() == 0
    assert effective_rank(torch.zeros(5, 3)).item() == 1


def test_collapsed_to_few_dimensions():
    z = gaussians(4096, 4) @ gaussians(4, 64, seed=1)
    assert 2 < effective_rank(z).item() < 4.01
    basis = torch.cat([torch.eye(3), -torch.eye(3)]) @ torch.linalg.qr(gaussians(64, 3)).Q.T
    assert effective_rank(basis).item() == pytest.approx(3, rel=1e-5)
    assert feature_spread(torch.cat([torch.eye(3), -torch.eye(3)])).item() == pytest.approx(1)


def test_effective_rank_against_singular_values():
    z = gaussians(300, 20) * torch.linspace(0.1, 2, 20)
    unit = torch.nn.functional.normalize(z, dim=1)
    shares = torch.linalg.svdvals(unit - unit.mean(0)) ** 2
    shares = shares / shares.sum()
    expected = math.exp(-sum(p * math.log(p) for p in shares.tolist()))
    assert effective_rank(z).item() == pytest.approx(expected, rel=1e-4)


def test_effective_rank_of_few_rows():
    sample, whole = effective_rank(gaussians(20_000, 16), max_rows=1000), effective_rank(gaussians(20_000, 16))
    assert sample.item() == pytest.approx(whole.item(), rel=0.03)


@pytest.mark.parametrize("seed", range(4))
def test_gap_equals_a_double_loop(seed):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(-2, 6, (60,), generator=generator)
    z = gaussians(60, 7, seed) + 2 * gaussians(8, 7, seed + 50)[ids + 2]
    assert positive_negative_gap(z, ids).item() == pytest.approx(slow_gap(z, ids), abs=1e-5)
    assert positive_negative_gap(z.double(), ids).item() == pytest.approx(slow_gap(z.double(), ids), abs=1e-12)


def test_gap_closed_forms():
    z = torch.eye(4).repeat(3, 1)
    assert positive_negative_gap(z, torch.arange(4).repeat(3)).item() == pytest.approx(1)
    opposite = torch.tensor([[1.0, 0], [2, 0], [-1, 0], [-3, 0]])
    assert positive_negative_gap(opposite, torch.tensor([7, 7, 3, 3])).item() == pytest.approx(2)
    constant = torch.ones(4, 5)
    assert positive_negative_gap(constant, torch.tensor([0, 0, 1, 1])).item() == pytest.approx(0, abs=1e-6)


def test_gap_leaves_negative_ids_out():
    z, ids = gaussians(40, 6), torch.arange(40) % 5
    padded = torch.cat([z, 100 * gaussians(9, 6, seed=5)])
    left_out = torch.cat([ids, torch.tensor([-1, -1, -1, -2, -2, -7, -1, -9, -1])])
    assert positive_negative_gap(padded, left_out).item() == pytest.approx(positive_negative_gap(z, ids).item())


@pytest.mark.parametrize("ids", [[0, 1, 2], [4, 4, 4], [-1, -1, -1], [-1, 0, 0]])
def test_gap_without_pairs_is_undefined(ids):
    assert positive_negative_gap(torch.eye(3), torch.tensor(ids)).isnan()


def test_gap_of_many_rows_needs_no_matrix():
    z, ids = gaussians(200_000, 4), torch.arange(200_000) // 4  # a matrix would take 160 GB
    assert positive_negative_gap(z, ids).item() == pytest.approx(0, abs=0.01)


def test_gap_checks_shapes():
    with pytest.raises(ValueError, match=r"\(3, 3\) and ids \(2,\)"):
        positive_negative_gap(torch.eye(3), torch.tensor([0, 1]))


def test_scalars_without_gradient_also_in_half_precision():
    z = gaussians(512, 16).requires_grad_()
    ids = torch.arange(512) % 8
    for monitor in (feature_spread, effective_rank, lambda rows: positive_negative_gap(rows, ids)):
        value = monitor(z)
        assert value.shape == ()
        assert not value.requires_grad
        with torch.autocast("cpu", torch.bfloat16):
            assert monitor(z).item() == pytest.approx(value.item(), abs=1e-5)
        assert monitor(z.bfloat16()).item() == pytest.approx(value.item(), rel=0.02, abs=1e-3)


def test_fake_tensors_prove_that_no_value_is_read():
    """Tensors without data raise when a value or a data-dependent shape is asked for."""
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        z, ids = torch.empty(100, 8), torch.empty(100, dtype=torch.int64)
        for value in (feature_spread(z), effective_rank(z, max_rows=50), positive_negative_gap(z, ids)):
            assert value.shape == ()


def test_gap_of_near_pairs_against_the_double_loop():
    z, positions = gaussians(24, 5).view(2, 3, 4, 5), torch.rand(2, 3, 4, 2, generator=torch.Generator().manual_seed(0))
    part = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(1)) < 0.8
    rows = [index for index in np.ndindex(2, 3, 4) if part[index]]
    near: list[float] = []
    far: list[float] = []
    for one in rows:
        for other in rows:
            if one != other:
                cosine = float(torch.cosine_similarity(z[one], z[other], dim=0))
                together = one[0] == other[0] and (positions[one] - positions[other]).norm() < 0.4
                (near if together else far).append(cosine)
    expected = sum(near) / len(near) - sum(far) / len(far)
    assert nearby_gap(z, positions, part, 0.4).item() == pytest.approx(expected, abs=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert nearby_gap(z, positions, part, 0.4).item() == pytest.approx(expected, abs=1e-6)

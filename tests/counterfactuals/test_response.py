import numpy as np
import pytest
import torch

from densecf.counterfactuals.parents import fit_parents
from densecf.counterfactuals.response import complaint, mean_shift, response
from densecf.counterfactuals.truth import truth_of
from densecf.data.prepared import PreparedDataset
from tests.counterfactuals.generators import Ignoring, Truthful


def test_mean_shift_is_the_share_of_the_way():
    generator = torch.Generator().manual_seed(0)
    real, target = torch.randn(6, 4, generator=generator), torch.randn(9, 4, generator=generator) + 3
    way = target.mean(0) - real.mean(0)
    for share in (0.0, 0.4, 1.0):
        assert mean_shift(real, real + share * way, target) == pytest.approx(share, abs=1e-5)
    sideways = torch.tensor([way[1], -way[0], 0, 0])
    assert mean_shift(real, real + sideways, target) == pytest.approx(0, abs=1e-5)


def test_a_truthful_generator_goes_all_the_way_and_an_ignoring_one_nowhere(phantom):
    data = PreparedDataset.open(phantom)
    parents, _ = fit_parents(data.records, ["scanner", "sex", "pleural_effusion"])
    rows = np.arange(len(data)).tolist()
    nowhere = response(Ignoring(parents, data.size), data, rows)
    assert nowhere == dict.fromkeys(parents.names, 0.0)
    assert "scanner (0% of the way)" in complaint(nowhere)
    assert "--independence" in complaint(nowhere)
    truth = truth_of(data)
    assert truth is not None
    there = response(Truthful(parents, truth), data, rows)
    assert 0.8 < there["scanner"] < 1.2
    assert 0.4 < there["pleural_effusion"] < 1.4  # few patients: the groups differ in more than fluid
    assert complaint({"scanner": there["scanner"]}) == ""

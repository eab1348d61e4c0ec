import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from densecf.config_values import to_dict
from densecf.counterfactuals.generator import HVAEGenerator, load_generator
from densecf.counterfactuals.hvae.network import HVAE
from densecf.counterfactuals.parents import Parent, Parents
from densecf.counterfactuals.scm import StructuralCausalModel
from densecf.errors import CheckpointError
from densecf.models.weights import save_tensors
from tests.counterfactuals.tiny import NETWORK, learned, spread_out

SCM = StructuralCausalModel(Parents((Parent("scanner", "binary", ("A", "B")), Parent("age", "continuous", (), 50, 10))))
IMAGES = torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(0))
OWN = torch.tensor([[-1.0, 0.3], [1.0, -1.0], [1.0, 0.0], [-1.0, 2.0], [-1.0, -0.2]])


def generator(config=NETWORK, **options) -> HVAEGenerator:
    torch.manual_seed(0)
    return HVAEGenerator(spread_out(HVAE(config, 2)), SCM, {}, "abc", **options)


@pytest.mark.parametrize("config", [NETWORK, learned(NETWORK)])
@pytest.mark.parametrize("sample", [False, True])
def test_a_null_intervention_returns_the_input(config, sample):
    model = generator(config, sample=sample)
    answer = model.predict(model.abduct(IMAGES, OWN), torch.stack([OWN, OWN]))
    assert answer.shape == (2, 5, 1, 32, 32)
    assert float((answer - IMAGES).abs().max()) < 1e-5


def test_with_a_fixed_scale_the_change_is_the_difference_of_the_means():
    model, other = generator(), OWN * torch.tensor([-1.0, 1.0])
    answer = model.predict(model.abduct(IMAGES, OWN), other[None])[0]
    found = model.network.abduct(IMAGES * 2 - 1, OWN)
    before, after = found.mean.clamp(-1, 1), model.network.decode(found.latents, other).mean.clamp(-1, 1)
    inside = (answer > 0) & (answer < 1)
    assert inside.float().mean() > 0.5
    assert torch.allclose((answer - IMAGES)[inside], ((after - before) / 2)[inside], atol=1e-5)
    assert float((answer - IMAGES).abs().max()) > 1e-3


def test_with_a_learned_scale_the_noise_is_scaled_too():
    model, other = generator(learned(NETWORK)), OWN * torch.tensor([-1.0, 1.0])
    answer = model.predict(model.abduct(IMAGES, OWN), other[None])[0]
    found = model.network.abduct(IMAGES * 2 - 1, OWN)
    after = model.network.decode(found.latents, other)
    noise = (IMAGES * 2 - 1 - found.mean.clamp(-1, 1)) / found.scale
    wanted = ((after.mean.clamp(-1, 1) + after.scale * noise).clamp(-1, 1) + 1) / 2
    assert torch.allclose(answer, wanted, atol=1e-5)
    assert float((after.scale / found.scale - 1).abs().max()) > 1e-3


def test_interventions_in_one_go_are_those_one_by_one():
    model = generator()
    sets = torch.stack([OWN, -OWN, OWN + 1])
    abducted = model.abduct(IMAGES, OWN)
    together = model.predict(abducted, sets)
    for one, parents in zip(together, sets, strict=True):
        assert torch.allclose(one, model.predict(abducted, parents[None])[0], atol=1e-5)


def test_samples_differ_from_the_mean_and_follow_the_seed():
    def answer(**options):
        model = generator(**options)
        return model.predict(model.abduct(IMAGES, OWN), -OWN[None])

    mean, one, again, other = answer(), answer(sample=True), answer(sample=True), answer(sample=True, seed=1)
    assert torch.equal(one, again)
    assert not torch.equal(one, mean)
    assert not torch.equal(one, other)


def facts(**changes):
    return {"kind": "hvae", "network": to_dict(NETWORK), "scm": SCM.to_dict(), **changes}


def test_loads_what_was_saved(tmp_path):
    model = generator()
    save_tensors(model.network.state_dict(), tmp_path / "weights.safetensors", facts())
    loaded = load_generator(tmp_path, device="cpu")
    assert loaded.scm == SCM
    assert loaded.size == 32
    wanted = model.predict(model.abduct(IMAGES, OWN), -OWN[None])
    assert torch.equal(loaded.predict(loaded.abduct(IMAGES, OWN), -OWN[None]), wanted)
    assert len(loaded.provenance()["weights_sha256"]) == 64
    json.dumps(loaded.provenance())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kind": "unet"}, "not a counterfactual model"),
        ({"scm": None}, "model"),
        ({"network": to_dict(learned(NETWORK))}, "does not fit"),
    ],
)
def test_refuses_other_weights(changes, told, tmp_path):
    save_tensors(generator().network.state_dict(), tmp_path / "weights.safetensors", facts(**changes))
    with pytest.raises(CheckpointError, match=told):
        load_generator(tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"widths": [10**6] * 4}, "in the network"),
        ({"context_width": 10**12}, "cannot be built"),
        ({"patch": 10**4}, "in the network"),
        ({"encoder": "16b900000000d2,8b1d2,4b1d4,1b1"}, "900000008 blocks"),
        ({"widths": "wide"}, "cannot be built"),
        ({"decoder": "1b1"}, "cannot be built"),
    ],
)
def test_a_spoilt_description_is_refused_before_any_memory_is_taken(changes, told, tmp_path):
    spoilt = facts(network={**to_dict(NETWORK), **changes})
    save_tensors(generator().network.state_dict(), tmp_path / "weights.safetensors", spoilt)
    with pytest.raises(CheckpointError, match=told) as caught:
        load_generator(tmp_path)
    assert "weights.safetensors" in str(caught.value)


def test_refuses_files_of_others(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(np.random.default_rng(0).bytes(200))
    for name in ("a", "b", "missing"):
        with pytest.raises(CheckpointError, match=name):
            load_generator(tmp_path / f"{name}.safetensors")

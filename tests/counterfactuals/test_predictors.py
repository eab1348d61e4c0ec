import numpy as np
import pandas as pd
import pytest
import torch

from densecf.counterfactuals.judges import save_judge
from densecf.counterfactuals.parents import fit_parents
from densecf.counterfactuals.predictors import (
    NOT_KNOWN,
    ParentPredictor,
    class_weights,
    load_predictor,
    predict,
    predictor_loss,
    save_predictor,
    targets_of,
    train_predictor,
)
from densecf.counterfactuals.segmenter import DECODER, ENCODER, load_segmenter, save_segmenter
from densecf.data.prepared import PreparedDataset
from densecf.errors import CheckpointError, DataError
from densecf.models.unet import build_unet


@pytest.fixture(scope="module")
def data(phantom):
    return PreparedDataset.open(phantom)


@pytest.fixture(scope="module")
def parents(data):
    return fit_parents(data.records, ["scanner", "pleural_effusion", "age"])[0]


@pytest.fixture(scope="module")
def predictor(parents):
    torch.manual_seed(0)
    return ParentPredictor(parents).eval()


def test_targets_are_places_among_the_values_and_normalised_numbers():
    records = pd.DataFrame({"image": list("abcd"), "scanner": ["B", "A", "", "C"], "age": [30.0, 50.0, np.nan, 70.0]})
    parents, _ = fit_parents(records, ["scanner", "age"])  # leaves out the third record
    found = targets_of(records.assign(scanner=["B", "A", "", "Z"]), parents)
    assert found["scanner"].tolist() == [1, 0, NOT_KNOWN, NOT_KNOWN]
    np.testing.assert_allclose(found["age"][[0, 1, 3]], np.array([-20, 0, 20]) / np.std([30, 50, 70]), rtol=1e-6)
    assert np.isnan(found["age"][2])


def test_unknown_is_no_target_even_where_it_is_a_category():
    records = pd.DataFrame({"image": list("abc"), "scanner": ["B", "A", ""]})
    parents, _ = fit_parents(records, ["scanner"], missing="category")
    assert targets_of(records, parents)["scanner"].tolist() == [1, 0, NOT_KNOWN]


def test_every_value_weighs_the_same_in_total_unless_it_is_very_rare():
    target = np.array([0] * 6 + [1] * 2 + [NOT_KNOWN] * 5)
    weights = class_weights(target, 3)
    np.testing.assert_allclose(weights, [8 / 12, 8 / 4, 0])
    assert class_weights(np.array([0] * 999 + [1]), 2)[1] == 20.0


def test_loss_is_the_weighted_cross_entropy_and_the_squared_error_of_what_is_known():
    logits = torch.log(torch.tensor([[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]]))
    found = {"scanner": logits, "age": torch.tensor([1.0, 2.0, 3.0])}
    targets = {"scanner": torch.tensor([0, 1, NOT_KNOWN]), "age": torch.tensor([0.0, float("nan"), 1.0])}
    loss = predictor_loss(found, targets, {"scanner": torch.tensor([1.0, 3.0])})
    expected = (-np.log(0.8) - 3 * np.log(0.5)) / 3 + (1 + 4) / 3
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_an_unknown_number_gives_no_gradient():
    out = torch.tensor([1.0, 2.0], requires_grad=True)
    predictor_loss({"age": out}, {"age": torch.tensor([float("nan"), 0.0])}, {}).backward()
    np.testing.assert_allclose(out.grad, [0.0, 2.0])


def test_outputs_have_one_logit_a_value_or_one_number(predictor, parents):
    found = predictor(torch.rand(3, 1, 32, 32))
    assert {name: tuple(out.shape) for name, out in found.items()} == {
        "scanner": (3, 2),
        "pleural_effusion": (3, 2),
        "age": (3,),
    }


def test_predicting_in_batches_changes_nothing(predictor):
    images = np.random.default_rng(0).random((5, 32, 32), np.float32)
    whole, parts = predict(predictor, images), predict(predictor, images, batch_size=2)
    for name in whole:
        assert whole[name].shape == (5,)
        np.testing.assert_allclose(whole[name], parts[name], atol=0.02)


def test_what_was_saved_is_read_again(predictor, parents, tmp_path):
    save_predictor(predictor, tmp_path / "p.safetensors")
    again = load_predictor(tmp_path / "p.safetensors")
    assert again.parents == parents
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())
    for key, value in predictor.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)


@pytest.mark.parametrize("content", [None, b"nonsense", "other"])
def test_what_is_no_predictor_is_named(content, predictor, tmp_path):
    path = tmp_path / "p.safetensors"
    if content == "other":
        from safetensors.torch import save_file

        save_file({"a": torch.zeros(1)}, path)
    elif content:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"p\.safetensors"):
        load_predictor(path)


@pytest.mark.parametrize("spoilt", ["more parents", "other values", "nothing"])
def test_a_predictor_that_is_not_what_it_says_is_named(spoilt, predictor, parents, tmp_path):
    path = tmp_path / "p.safetensors"
    said = parents.to_dict()
    if spoilt == "more parents":
        said += [{"name": f"p{i}", "kind": "categorical", "values": ["a", "b"]} for i in range(3)]
    elif spoilt == "other values":
        said = [{"name": "p", "kind": "categorical", "values": [str(i) for i in range(1000)]}]
    save_judge(predictor, path, "densecf-predictor-1", {"parents": said} if spoilt != "nothing" else {})
    with pytest.raises(CheckpointError, match=r"(?s)p\.safetensors.*(in the network|lacks)"):
        load_predictor(path)


def test_a_segmenter_of_absurdly_many_classes_is_refused_by_its_shapes(tmp_path):
    save_segmenter(build_unet(ENCODER, DECODER, classes=3), tmp_path / "s.safetensors", ["a", "b", "c"])
    assert load_segmenter(tmp_path / "s.safetensors").segmentation_head[0].out_channels == 3
    save_segmenter(build_unet(ENCODER, DECODER, classes=3), tmp_path / "s.safetensors", ["x"] * 10**5)
    with pytest.raises(CheckpointError, match=r"\(100000, 16, 3, 3\) in the network"):
        load_segmenter(tmp_path / "s.safetensors")


def test_training_learns_the_scanner_and_repeats_itself(data, parents):
    rows = np.arange(len(data))
    state = torch.get_rng_state()
    only = parents.only(["scanner"])
    trained = train_predictor(data, rows, only, seed=1, epochs=25, progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    images = np.stack([data.image(row) for row in rows])
    right = predict(trained, images)["scanner"] == targets_of(data.records, only)["scanner"]
    assert right.mean() >= 0.9
    short = [train_predictor(data, rows[:8], only, seed=2, epochs=1, progress=False).heads[0].weight for _ in range(2)]
    assert torch.equal(short[0], short[1])


def test_there_must_be_images_to_learn_from(data, parents):
    with pytest.raises(DataError, match="no image"):
        train_predictor(data, [], parents, seed=0, progress=False)

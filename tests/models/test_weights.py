"""Weights on disk: self-describing, refused clearly when they do not fit."""

import json

import pytest
import torch
from safetensors.torch import save_file

from densecf import load_pretrained
from densecf.errors import CheckpointError, ConfigError
from densecf.models.heads import projection_head
from densecf.models.unet import build_unet, dense_features
from densecf.models.weights import describe_mismatch, load_run, read_facts, save_head, save_weights

CHANNELS = (16, 16, 8, 8, 8)
FACTS = {"method": "test", "encoder": "resnet18", "decoder_channels": list(CHANNELS), "classes": 3}


@pytest.fixture
def run(tmp_path):
    torch.manual_seed(1)
    model = build_unet("resnet18", CHANNELS)
    save_weights(model, tmp_path / "weights.safetensors", FACTS)
    save_head(projection_head(8, 16, 4), tmp_path / "head.safetensors", {"hidden": 16, "dim": 4})
    return tmp_path, model.eval()


def test_a_run_comes_back_as_it_was(run):
    path, model = run
    found = load_run(path)
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(dense_features(found.model, image), dense_features(model, image))
        assert found.head(torch.zeros(5, 8)).shape == (5, 4)
    assert not found.model.training
    assert found.meta["normalisation"] == {"mean": 0.485, "std": 0.229}


def test_fine_tuning_gets_a_new_head_and_the_old_body(run):
    path, model = run
    ready = load_pretrained(path, classes=4)
    assert ready.training
    assert ready.segmentation_head[0].out_channels == 4
    for part in ("encoder", "decoder"):
        old, new = getattr(model, part).state_dict(), getattr(ready, part).state_dict()
        assert all(torch.equal(old[key], new[key]) for key in old)


def test_mismatches_are_listed_key_by_key(run):
    path, model = run
    other = build_unet("resnet18", (16, 16, 8, 8, 4))
    lines = describe_mismatch(other, model.state_dict())
    assert "decoder.blocks.4.conv1.0.weight: (8, 8, 3, 3) in the file -> (4, 8, 3, 3) in the network" in lines
    tensors = model.state_dict()
    tensors["extra"] = torch.zeros(1)
    del tensors["encoder.conv1.weight"]
    save_file(tensors, path / "weights.safetensors", metadata={"densecf": json.dumps({"format": "densecf-1", **FACTS})})
    with pytest.raises(CheckpointError) as error:
        load_pretrained(path)
    assert "encoder.conv1.weight: in the network, not in the file" in str(error.value)
    assert "extra: in the file, not in the network" in str(error.value)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (None, "not written by densecf"),
        ({"densecf": "{"}, "not written by densecf"),
        ({"densecf": json.dumps({"format": "densecf-9"})}, "format 'densecf-9'"),
        ({"densecf": json.dumps({"format": "densecf-1"})}, "lacks 'encoder'"),
    ],
)
def test_foreign_files_are_refused(tmp_path, metadata, words):
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(CheckpointError, match=words) as error:
        load_pretrained(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a safetensors file"),
        (b"PK\x03\x04 a pickle in a zip", "unpickles nothing"),
        (b"\x80\x04.", "unpickles nothing"),
    ],
)
def test_no_file_is_unpickled(tmp_path, content, words):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        read_facts(path)


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match="no such weights file"):
        load_run(tmp_path)


def test_unknown_encoder_names_the_known_ones():
    with pytest.raises(ConfigError, match="resnet50"):
        build_unet("resnet5000")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": 10**9}, r"10{9}, 8, 3, 3\) in the network"),
        ({"decoder_channels": [10**7] * 5}, "in the network"),
        ({"decoder_channels": "no"}, "cannot be built"),
        ({"decoder_channels": [16, 16]}, "cannot be built"),
        ({"classes": "many"}, "cannot be built"),
        ({"encoder": ["resnet18"]}, "cannot be built"),
        ({"encoder": "../evil"}, "not known"),
        ({"encoder": None}, "cannot be built"),
    ],
)
def test_a_spoilt_description_is_refused_before_any_memory_is_taken(run, change, words):
    path, model = run
    save_weights(model, path / "weights.safetensors", FACTS | change)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_run(path)
    assert "weights.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "classes", "words"),
    [
        ({"decoder_channels": [10**7] * 5}, 3, "in the network"),
        ({"classes": 10**9}, None, "masks have 1 to 255"),
        ({"encoder": "resnet34"}, 3, "in the network, not in the file"),
    ],
)
def test_fine_tuning_refuses_a_spoilt_description_before_any_memory_is_taken(run, change, classes, words):
    path, model = run
    save_weights(model, path / "weights.safetensors", FACTS | change)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_pretrained(path, classes=classes)
    assert "weights.safetensors" in str(caught.value)


@pytest.mark.parametrize("change", [{"hidden": 10**12}, {"dim": 10**12}, {"hidden": None}, {"dim": 5}])
def test_so_does_a_head(run, change):
    path, _ = run
    save_head(projection_head(8, 16, 4), path / "head.safetensors", {"hidden": 16, "dim": 4} | change)
    with pytest.raises(CheckpointError, match=r"head\.safetensors"):
        load_run(path)


def test_headers_that_lie(run):
    path, _ = run
    file = path / "weights.safetensors"
    for head in (b"\xff" * 8, (10**15).to_bytes(8, "little"), (100).to_bytes(8, "little") + b"{" * 100):
        file.write_bytes(head + b"{}")
        with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
            load_run(path)
    save_file({"a": torch.zeros(1)}, file, metadata={"densecf": "[" * 100_000})
    with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
        load_run(path)

"""Image-level networks: timm's backbones, and what of a U-Net sees whole images."""

import pytest
import timm
import torch

from densecf import encoder_state_dict, load_pretrained
from densecf.errors import CheckpointError, ConfigError
from densecf.models.backbone import build_image_encoder, load_image_encoder, patch_of
from densecf.models.unet import build_unet, normalise
from densecf.models.weights import BACKBONE, WEIGHTS, load_into, load_run, read_facts, save_tensors, save_weights

CHANNELS = (16, 16, 8, 8, 8)
FACTS = {"method": "test", "encoder": "resnet18", "decoder_channels": list(CHANNELS), "classes": 3}


def backbone_run(folder, name="resnet18", size=64, patch=0):
    torch.manual_seed(0)
    encoder = build_image_encoder(name, size, patch_size=patch).eval()
    facts = {"kind": BACKBONE, "method": "simclr", "encoder": name, "size": size, "patch_size": patch, "classes": 3}
    save_tensors(encoder.body.state_dict(), folder / WEIGHTS, facts)
    return encoder


@pytest.mark.parametrize(("name", "patch"), [("resnet18", 0), ("vit_tiny_patch16_224", 8)])
def test_a_backbone_comes_back_and_loads_into_timm(tmp_path, name, patch):
    encoder = backbone_run(tmp_path, name, patch=patch)
    again, meta = load_image_encoder(tmp_path)
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(again(images), encoder(images))
        assert again(images).shape == (2, encoder.width)
    assert not again.training
    assert meta["method"] == "simclr"
    options = {"img_size": 64, "patch_size": patch} if patch else {}
    network = timm.create_model(name, in_chans=1, num_classes=0, **options).eval()
    network.load_state_dict(encoder_state_dict(tmp_path))  # strict: no key missing, none left over
    with torch.no_grad():
        torch.testing.assert_close(network(normalise(images)), encoder(images))


def test_the_encoder_of_a_unet_sees_whole_images(tmp_path):
    unet = build_unet("resnet18", CHANNELS).eval()
    save_weights(unet, tmp_path / WEIGHTS, FACTS)
    encoder, _ = load_image_encoder(tmp_path)
    images = torch.rand(2, 1, 64, 96)
    with torch.no_grad():
        expected = unet.encoder(normalise(images))[-1].mean((2, 3))
        torch.testing.assert_close(encoder(images), expected)
    assert encoder.width == 512


def test_an_image_level_run_starts_a_pixel_level_one(tmp_path):
    encoder = backbone_run(tmp_path)
    unet = load_pretrained(tmp_path, classes=2, decoder_channels=CHANNELS)
    torch.testing.assert_close(dict(unet.encoder.state_dict()), dict(encoder.body.state_dict()))
    assert unet.segmentation_head[0].out_channels == 2
    other = build_unet("resnet18", CHANNELS)
    assert "encoder loaded" in load_into(other, tmp_path)
    with pytest.raises(CheckpointError, match="image-level run"):
        load_run(tmp_path)
    with pytest.raises(CheckpointError, match="in the network, not in the file"):
        load_into(build_unet("resnet34", CHANNELS), tmp_path / WEIGHTS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 64 * 10**5}, "pos_embed"),
        ({"patch_size": 1}, "pos_embed"),
        ({"encoder": "vit_huge_patch14_224"}, "in the network"),
        ({"patch_size": "small"}, "cannot be built"),
    ],
)
def test_a_spoilt_description_is_refused_before_any_memory_is_taken(tmp_path, change, words):
    encoder = backbone_run(tmp_path, "vit_tiny_patch16_224", patch=8)
    facts = {**read_facts(tmp_path), **change}
    save_tensors(encoder.body.state_dict(), tmp_path / WEIGHTS, facts)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_image_encoder(tmp_path)
    assert WEIGHTS in str(caught.value)


def test_an_image_level_run_says_nothing_of_the_decoder(tmp_path):
    encoder = backbone_run(tmp_path)
    facts = {**read_facts(tmp_path), "decoder_channels": [10**7] * 5, "classes": 10**9}
    save_tensors(encoder.body.state_dict(), tmp_path / WEIGHTS, facts)
    assert load_pretrained(tmp_path, classes=2, decoder_channels=CHANNELS).segmentation_head[0].out_channels == 2
    with pytest.raises(CheckpointError, match="1000000000 classes"):
        load_pretrained(tmp_path)


def test_a_vit_is_no_encoder_of_a_unet(tmp_path):
    backbone_run(tmp_path, "vit_tiny_patch16_224", patch=8)
    with pytest.raises((CheckpointError, ConfigError)):
        load_pretrained(tmp_path)


def test_patches_must_fit():
    assert patch_of(build_image_encoder("vit_tiny_patch16_224", 64).body) == 16
    assert patch_of(build_image_encoder("resnet18", 64).body) == 0
    with pytest.raises(ConfigError, match="do not divide"):
        build_image_encoder("vit_tiny_patch16_224", 72)
    with pytest.raises(ConfigError, match="has no patches"):
        build_image_encoder("resnet18", 64, patch_size=8)
    with pytest.raises(ConfigError, match="did you mean"):
        build_image_encoder("resnet1800", 64)


@pytest.mark.parametrize(("encoder", "stem"), [("resnet18", "conv1.weight"), ("efficientnet-b0", "_conv_stem.weight")])
def test_only_the_convolution_that_reads_the_image_is_spread(tmp_path, encoder, stem):
    model = build_unet(encoder, CHANNELS)
    save_weights(model, tmp_path / "weights.safetensors", FACTS | {"encoder": encoder})
    grey, rgb = encoder_state_dict(tmp_path), encoder_state_dict(tmp_path, in_channels=3)
    assert {key for key in grey if grey[key].shape != rgb[key].shape} == {stem}
    torch.testing.assert_close(rgb[stem].sum(dim=1, keepdim=True), grey[stem])

"""timm: the encoder, or an image-level run's backbone, in the folder layout of timm's hub models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import save_for_hf
from torch import nn

from densecf.errors import ConfigError
from densecf.export.agreement import check_same, sample_images
from densecf.export.source import Source
from densecf.export.written import Written
from densecf.models.backbone import load_image_encoder
from densecf.models.unet import MEAN, STD, normalise
from densecf.models.weights import describe_mismatch

_USAGE = """\
import timm
import torch

model = timm.create_model({arguments}, checkpoint_path="model.safetensors").eval()
image = torch.rand(1, 1, {size}, {size})  # grey levels in [0, 1]
with torch.no_grad():
    output = model((image - {mean}) / {std})  # features (B, {width})
"""


def write_timm(source: Source, folder: Path) -> Written:
    """Writes ``config.json`` and ``model.safetensors`` for ``timm.create_model``.

    Raises:
        ConfigError: an encoder that timm does not build under these names.
    """
    encoder = load_image_encoder(source.weights)[0]
    options = _options(source)
    network = _timm_network(source, options)
    tensors = dict(encoder.body.state_dict())
    if describe_mismatch(network, tensors):
        raise _no_such_network(source)
    network.load_state_dict(tensors)
    shape = [1, source.size, source.size]
    preparation = {"mean": [MEAN], "std": [STD], "input_size": shape, "fixed_input_size": bool(options.get("img_size"))}
    settings = {"num_classes": 0, "pretrained_cfg": {**preparation, "num_classes": 0}}
    save_for_hf(network, str(folder), model_config=settings, model_args=options, safe_serialization=True)
    images = sample_images(source.size)
    again = timm.create_model(source.encoder, checkpoint_path=str(folder / "model.safetensors"), **options).eval()
    with torch.no_grad():
        check_same(again(normalise(images)), encoder(images), "timm")
    arguments = ", ".join([f'"{source.encoder}"', *(f"{key}={value}" for key, value in options.items())])
    usage = _USAGE.format(arguments=arguments, size=source.size, mean=MEAN, std=STD, width=encoder.width)
    return Written("timm", usage)


def _options(source: Source) -> dict[str, Any]:
    """What ``timm.create_model`` needs besides the name; a ViT's position embedding has a size."""
    patch = int(source.facts.get("patch_size", 0))
    sides = {"img_size": source.size, "patch_size": patch, "dynamic_img_size": True} if patch else {}
    return {"in_chans": 1, "num_classes": 0, **sides}


def _timm_network(source: Source, options: dict[str, Any]) -> nn.Module:
    if not timm.is_model(source.encoder):
        raise _no_such_network(source)
    return timm.create_model(source.encoder, **options).eval()


def _no_such_network(source: Source) -> ConfigError:
    fits = "onnx" if source.image_level else "smp or onnx"
    return ConfigError(f"{source.run}: timm has no network that takes the weights of {source.encoder}; --format {fits}")

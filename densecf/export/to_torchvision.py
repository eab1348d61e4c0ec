"""torchvision: the encoder of a ResNet, for images of three equal channels."""

from __future__ import annotations

from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

from densecf.errors import ConfigError
from densecf.export.agreement import check_same, sample_images
from densecf.export.source import Source
from densecf.export.written import Written
from densecf.models.backbone import encoder_state_dict, load_image_encoder
from densecf.models.unet import MEAN, STD, normalise
from densecf.models.weights import describe_mismatch, save_tensors

_USAGE = """\
import torch
import torchvision
from safetensors.torch import load_file

model = torchvision.models.{name}()
model.fc = torch.nn.Identity()
model.load_state_dict(load_file("model.safetensors"))
model.eval()
image = torch.rand(1, 1, {size}, {size})  # grey levels in [0, 1]
with torch.no_grad():
    output = model(((image - {mean}) / {std}).repeat(1, 3, 1, 1))  # features (B, {width})
"""


def write_torchvision(source: Source, folder: Path) -> Written:
    """Writes ``model.safetensors``: all of the network but its classifier ``fc``.

    Raises:
        ConfigError: an encoder that is no ResNet of torchvision.
    """
    encoder = load_image_encoder(source.weights)[0]
    network = _torchvision_network(source)
    # By key first: a network without these names may well be one whose first convolution cannot be told.
    if set(network.state_dict()) != set(encoder.body.state_dict()):
        raise _no_such_network(source)
    tensors = encoder_state_dict(source.weights, in_channels=3)
    if describe_mismatch(network, tensors):
        raise _no_such_network(source)
    save_tensors(tensors, folder / "model.safetensors", source.facts)
    network.load_state_dict(load_file(folder / "model.safetensors"))
    images = sample_images(source.size)
    with torch.no_grad():
        check_same(network(normalise(images).repeat(1, 3, 1, 1)), encoder(images), "torchvision")
    usage = _USAGE.format(name=source.encoder, size=source.size, mean=MEAN, std=STD, width=encoder.width)
    note = "Give it the grey image three times: its first convolution was spread so that the features stay the same."
    return Written("torchvision", usage, (note,))


def resnets() -> list[str]:
    """Those of torchvision's networks that end in a classifier ``fc`` behind a global average."""
    return [name for name in torchvision.models.list_models(module=torchvision.models) if "resne" in name]


def _torchvision_network(source: Source) -> nn.Module:
    if source.encoder not in resnets():
        raise _no_such_network(source)
    network = torchvision.models.get_model(source.encoder, weights=None)
    network.fc = nn.Identity()
    return network.eval()


def _no_such_network(source: Source) -> ConfigError:
    return ConfigError(
        f"{source.run}: torchvision has no network that takes the weights of {source.encoder}, only "
        f"{', '.join(resnets())}; --format timm or onnx takes more"
    )

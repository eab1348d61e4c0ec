"""ONNX: the whole network with its normalisation inside, checked against PyTorch by onnxruntime."""

from __future__ import annotations

import json
import logging
import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from densecf.errors import ConfigError
from densecf.export.agreement import check_same, sample_images
from densecf.export.expected import expected_input
from densecf.export.source import Source
from densecf.export.written import Written
from densecf.files import to_jsonable
from densecf.models.backbone import load_image_encoder
from densecf.models.unet import dense_features, normalise
from densecf.models.weights import Run, load_run

FILE = "model.onnx"
NEEDS = ("onnx", "onnxruntime", "onnxscript")
_USAGE = """\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
image = np.random.rand(3, 1, {size}, {size}).astype(np.float32)  # grey levels in [0, 1]
{line}
"""
_LINES = {
    "probabilities": "(output,) = session.run(None, {{'image': image}})  # class probabilities (B, {classes}, H, W)",
    "embeddings": "output, features = session.run(None, {{'image': image}})  # of the projection head and the decoder",
    "features": "(output,) = session.run(None, {{'image': image}})  # features",
}


class MaskNetwork(nn.Module):
    """Grey levels ``(B, 1, H, W)`` in [0, 1] -> class probabilities ``(B, K, H, W)``."""

    outputs = ("probabilities",)

    def __init__(self, run: Run):
        super().__init__()
        self.unet = run.model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self.unet(normalise(image)).softmax(1),)


class PixelNetwork(nn.Module):
    """Grey levels ``(B, 1, H, W)`` in [0, 1] -> embeddings ``(B, D, H, W)``, decoder features ``(B, C, H, W)``."""

    def __init__(self, run: Run):
        super().__init__()
        self.unet, self.head = run.model, run.head
        self.outputs = ("features",) if run.head is None else ("embeddings", "features")

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        features = dense_features(self.unet, image)
        if self.head is None:
            return (features,)
        return self.head(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), features


class ImageNetwork(nn.Module):
    """Grey levels ``(B, 1, H, W)`` in [0, 1] -> features of the image ``(B, D)``."""

    outputs = ("features",)

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self.encoder(image),)


def whole_network(source: Source) -> MaskNetwork | PixelNetwork | ImageNetwork:
    """The network from grey levels to what is asked of it, in eval mode."""
    if source.image_level:
        return ImageNetwork(load_image_encoder(source.weights)[0]).eval()
    run = load_run(source.weights)
    return (MaskNetwork(run) if source.draws_masks else PixelNetwork(run)).eval()


def write_onnx(source: Source, folder: Path) -> Written:
    """Writes ``model.onnx`` for batches of any size.

    Raises:
        ConfigError: the packages are missing, or PyTorch cannot express the network in ONNX.
        DensecfError: onnxruntime gives other numbers than PyTorch.
    """
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        raise ConfigError(f"--format onnx needs {', '.join(missing)}: pip install 'densecf[export]'")
    network = whole_network(source)
    _save(network, source, folder / FILE)
    differences = [_check(network, folder / FILE, sample_images(source.size, count)) for count in (1, 3)]
    first = network.outputs[0]
    usage = _USAGE.format(size=source.size, line=_LINES[first].format(classes=len(source.classes)))
    notes = (
        f"Batches may have any size, images are {source.size} x {source.size}.",
        f"onnxruntime and PyTorch differ by {max(differences):.0e} at most, measured at export.",
    )
    return Written("onnx", usage, notes, normalises=True)


def _save(network: MaskNetwork | PixelNetwork | ImageNetwork, source: Source, file: Path) -> None:
    known = {key: source.facts[key] for key in ("method", "encoder", "class_names", "size", "profile")}
    facts = known | {"input": expected_input(source, normalises=True)}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (sample_images(source.size),),
                dynamo=True,
                input_names=["image"],
                output_names=list(network.outputs),
                dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
                verbose=False,
            )
    except Exception as error:  # the exporter raises many kinds
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"{source.run}: {source.encoder} cannot be expressed in ONNX ({lines[0]})") from error
    assert program is not None  # with dynamo=True, which mypy cannot tell
    program.model.metadata_props.update({key: json.dumps(to_jsonable(value)) for key, value in facts.items()})
    program.save(str(file), external_data=False)


def _check(network: MaskNetwork | PixelNetwork | ImageNetwork, file: Path, images: Tensor) -> float:
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(file))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    found = session.run(list(network.outputs), {"image": images.numpy()})
    with torch.no_grad():
        expected = network(images)
    return max(
        check_same(torch.from_numpy(one), other, f"onnx: {name}")
        for name, one, other in zip(network.outputs, found, expected, strict=True)
    )

"""segmentation_models_pytorch: the U-Net, in the folder layout of its ``save_pretrained``."""

from __future__ import annotations

from pathlib import Path

import segmentation_models_pytorch as smp
import torch

from densecf.errors import ConfigError
from densecf.export.agreement import check_same, sample_images
from densecf.export.source import Source
from densecf.export.written import Written
from densecf.models.unet import MEAN, STD, normalise
from densecf.models.weights import load_run

_USAGE = """\
import segmentation_models_pytorch as smp
import torch

model = smp.from_pretrained(".").eval()
image = torch.rand(1, 1, {size}, {size})  # grey levels in [0, 1]
with torch.no_grad():
    {output}
"""
_MASKS = "output = model((image - {mean}) / {std}).softmax(1)  # class probabilities (B, {classes}, H, W)"
_FEATURES = "output = model.decoder(model.encoder((image - {mean}) / {std}))  # dense features (B, C, H, W)"


def write_smp(source: Source, folder: Path) -> Written:
    """Writes ``config.json`` and ``model.safetensors`` for ``smp.from_pretrained``.

    Raises:
        ConfigError: an image-level run, which has no decoder.
    """
    if source.image_level:
        raise ConfigError(
            f"{source.run}: an image-level run has no decoder for --format smp; its backbone goes to "
            "--format timm, torchvision or onnx"
        )
    model = load_run(source.weights).model
    model.save_pretrained(folder)
    images = normalise(sample_images(source.size))
    with torch.no_grad():
        check_same(smp.from_pretrained(str(folder)).eval()(images), model(images), "smp")
    line = (_MASKS if source.draws_masks else _FEATURES).format(mean=MEAN, std=STD, classes=len(source.classes))
    notes = () if source.draws_masks else ("The segmentation head is untrained: fine-tune before you use its masks.",)
    return Written("segmentation-models-pytorch", _USAGE.format(size=source.size, output=line), notes)

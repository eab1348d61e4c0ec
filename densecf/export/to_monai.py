"""MONAI: a bundle that draws masks on a folder of images."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import Any

import monai
import numpy as np
import torch
from monai.bundle import ConfigParser
from PIL import Image
from torch import nn

from densecf import __version__
from densecf.data.profiles import load_image
from densecf.errors import ConfigError
from densecf.export import bundle_preparation
from densecf.export.agreement import check_same, sample_images
from densecf.export.expected import expected_input, profile_of
from densecf.export.source import Source
from densecf.export.written import Written
from densecf.files import write_json_atomic, write_text_atomic
from densecf.models.unet import MEAN, STD, normalise
from densecf.models.weights import load_run, save_tensors

_CONFIG = "configs/inference.json"
_USAGE = """\
import torch
from monai.bundle import create_workflow

workflow = create_workflow(config_file="configs/inference.json", workflow_type="inference")
workflow.run()  # images/NAME.png -> masks/NAME_mask.png, class numbers, as large as the image

model = workflow.parser.get_parsed_content("network")  # for grey levels that are prepared already
image = torch.rand(1, 1, {size}, {size})
with torch.no_grad():
    output = model(((image - {mean}) / {std}).to(workflow.device)).softmax(1)  # (B, {classes}, H, W)
"""


def write_monai(source: Source, folder: Path) -> Written:
    """Writes ``configs/``, ``models/model.safetensors`` and ``scripts/preparation.py``.

    Raises:
        ConfigError: a run whose segmentation head was never trained, or pytorch-ignite is missing.
    """
    if not source.draws_masks:
        fits = "timm, torchvision or onnx" if source.image_level else "smp, timm, torchvision or onnx"
        raise ConfigError(
            f"{source.run}: has not learnt to draw masks, which --format monai-bundle is for; fine-tune it and export "
            f"that (densecf finetune --from {quote(str(source.run))}), or choose --format {fits}"
        )
    if find_spec("ignite") is None:
        raise ConfigError("--format monai-bundle needs pytorch-ignite: pip install 'densecf[export]'")
    model = load_run(source.weights).model
    save_tensors(model.state_dict(), folder / "models" / "model.safetensors", source.facts)
    write_text_atomic(folder / "scripts" / "preparation.py", Path(bundle_preparation.__file__).read_text("utf-8"))
    write_json_atomic(folder / "configs" / "metadata.json", metadata(source))
    write_json_atomic(folder / _CONFIG, inference(source))
    _check(source, model, folder)
    notes = (
        "Put the images (PNG, JPEG or TIFF) into `images` inside this folder first, or name another one: "
        "`create_workflow(..., dataset_dir=..., output_dir=...)`.",
        "From a shell (needs `pip install fire`): `python -m monai.bundle run --config_file configs/inference.json`.",
        "`scripts/preparation.py` prepares them as densecf does; it needs NumPy, SciPy and PyTorch.",
        "`monai.bundle.load` reads pickled weights only; these are safetensors, which `configs/inference.json` loads.",
    )
    usage = _USAGE.format(size=source.size, mean=MEAN, std=STD, classes=len(source.classes))
    return Written("monai", usage, notes)


def _check(source: Source, model: nn.Module, folder: Path) -> None:
    """Whether the bundle prepares an image file, and computes, as the run does."""
    parser = ConfigParser()
    parser.read_config(str(folder / _CONFIG))
    parser["bundle_root"], parser["device"] = str(folder), "$torch.device('cpu')"
    with _sample_file(source.size) as file, _quietly(), torch.no_grad():
        prepared = torch.from_numpy(load_image(file, source.size, profile_of(source))[0])
        again = parser.get_parsed_content("preprocessing")({"image": str(file)})["image"].as_tensor()
        check_same(again[0], normalise(prepared), "monai-bundle, image")
        images = normalise(sample_images(source.size))
        check_same(parser.get_parsed_content("network")(images), model(images), "monai-bundle")


@contextmanager
def _quietly() -> Iterator[None]:
    """MONAI's image reader speaks of DICOM decoders that nobody asked for."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def _sample_file(size: int) -> Iterator[Path]:
    """A wide image of 8 bit with a black border, twice as large as the network's."""
    grey = sample_images(2 * size, 1)[0, 0, : size + 1].numpy()
    grey[:4] = 0
    with TemporaryDirectory() as folder:
        file = Path(folder) / "sample.png"
        Image.fromarray((255 * grey).astype(np.uint8)).save(file)
        yield file


def metadata(source: Source) -> dict[str, Any]:
    """``configs/metadata.json`` by MONAI's schema, and how images are prepared."""
    side = [source.size, source.size]
    grey = {"format": "magnitude", "modality": "n/a", "num_channels": 1, "spatial_shape": side, "dtype": "float32"}
    classes = {str(number): name for number, name in enumerate(source.classes)}
    needs = ("segmentation-models-pytorch", "safetensors", "pytorch-ignite", "pillow", "scipy")
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported by densecf {__version__}"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__,
        "numpy_version": np.__version__,
        "required_packages_version": {name: version(name) for name in needs},
        "name": source.name,
        "task": "segmentation of grey images",
        "description": f"U-Net ({source.encoder}) of the densecf run {source.name}; see README.md",
        "authors": "see README.md",
        "copyright": "see README.md",
        "intended_use": "research; not for clinical decisions",
        "preparation": expected_input(source, normalises=False),
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    **grey,
                    "value_range": [-MEAN / STD, (1 - MEAN) / STD],
                    "is_patch_data": False,
                    "channel_def": {"0": "image"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": len(classes),
                    "spatial_shape": side,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": classes,
                }
            },
        },
    }


def inference(source: Source) -> dict[str, Any]:
    """``configs/inference.json``: every image of ``dataset_dir`` to a mask in ``output_dir``."""
    convolutions = {
        "encoder_name": source.encoder,
        "encoder_weights": None,
        "in_channels": 1,
        "classes": len(source.classes),
        "decoder_channels": list(source.facts["decoder_channels"]),
    }
    # PIL's rows and columns, as in training, for reading and for writing; MONAI turns images around by default.
    read = {
        "_target_": "LoadImaged",
        "keys": "image",
        "reader": "PILReader",
        "reverse_indexing": False,
        "converter": "$lambda picture: picture.convert('F')",
        "image_only": True,
        "ensure_channel_first": True,
    }
    prepared = "$lambda image: @preparation['prepare'](image, @size, @profile)"
    restored = (
        "$lambda pred: @preparation['restore'](pred, int(pred.meta['height']), int(pred.meta['width']), @profile)"
    )
    normalised = {"_target_": "NormalizeIntensityd", "keys": "image", "subtrahend": MEAN, "divisor": STD}
    save = (
        "$monai.transforms.SaveImaged(keys='pred', output_dir=@output_dir, output_ext='.png', output_postfix='mask', "
        "output_dtype='uint8', writer='PILWriter', resample=False, separate_folder=False, print_log=False)"
        ".set_options(write_kwargs={'reverse_indexing': False})"
    )
    return {
        "imports": ["$import pathlib", "$import runpy", "$import monai", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/masks'",
        "batch_size": 1,
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "size": source.size,
        "profile": profile_of(source),
        # By its path: MONAI puts a bundle's folder on Python's path only when the config is run, not when it is read.
        "preparation": "$runpy.run_path(@bundle_root + '/scripts/preparation.py')",
        "files": "$@preparation['image_files'](@dataset_dir)",
        "network_def": {"_target_": "segmentation_models_pytorch.Unet", **convolutions},
        "weights": {
            "_target_": "safetensors.torch.load_file",
            "filename": "$@bundle_root + '/models/model.safetensors'",
        },
        "network": "$(@network_def.load_state_dict(@weights), @network_def.to(@device).eval())[1]",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [read, {"_target_": "Lambdad", "keys": "image", "func": prepared}, normalised],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': file} for file in @files]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": "@batch_size"},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {"_target_": "Lambdad", "keys": "pred", "func": restored},
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                save,
            ],
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "initialize": ["$pathlib.Path(@output_dir).mkdir(parents=True, exist_ok=True)"],
        "run": ["$@evaluator.run()"],
    }

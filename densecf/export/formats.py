"""The formats that a run can be exported to: adding one is adding a row and the function that it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from densecf.export.source import Source
from densecf.export.to_monai import write_monai
from densecf.export.to_onnx import write_onnx
from densecf.export.to_smp import write_smp
from densecf.export.to_timm import write_timm
from densecf.export.to_torchvision import write_torchvision
from densecf.export.written import Written

FORMATS: dict[str, Callable[[Source, Path], Written]] = {
    "smp": write_smp,
    "timm": write_timm,
    "torchvision": write_torchvision,
    "onnx": write_onnx,
    "monai-bundle": write_monai,
}

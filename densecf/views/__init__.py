"""Views of an image: geometry as one matrix, photometric changes, and what two views share.

The names below are loaded on first use, so that ``densecf.views.parameters`` needs no torch.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "MultiView": "multiview",
    "RandomPhotometricd": "transforms",
    "RandomViewd": "transforms",
    "ViewParameters": "parameters",
    "labels_at": "sampling",
    "sample_at": "sampling",
    "sample_correspondences": "correspondences",
}

__all__ = [
    "MultiView",
    "RandomPhotometricd",
    "RandomViewd",
    "ViewParameters",
    "labels_at",
    "sample_at",
    "sample_correspondences",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"densecf.views.{_HOME[name]}"), name)
    raise AttributeError(f"module 'densecf.views' has no attribute {name!r}")

"""Pixel-level counterfactual contrastive learning for medical image segmentation."""

from densecf.errors import DensecfError

__version__ = "0.1.0"

__all__ = ["DensecfError", "__version__", "encoder_state_dict", "load_pretrained"]


def __getattr__(name: str):
    # Loaded on first use: importing densecf must not import torch.
    if name == "encoder_state_dict":
        from densecf.models.backbone import encoder_state_dict

        return encoder_state_dict
    if name == "load_pretrained":
        from densecf.models.weights import load_pretrained

        return load_pretrained
    raise AttributeError(f"module 'densecf' has no attribute {name!r}")

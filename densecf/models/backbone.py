"""Networks that make one vector of a whole image: timm's backbones, and the encoder of a pretrained U-Net."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from densecf.errors import CheckpointError, ConfigError
from densecf.models.unet import normalise
from densecf.models.weights import BACKBONE, build_described, load_exactly, load_run, read_weights, weights_file


class ImageEncoder(nn.Module):
    """Images ``(B, 1, H, W)`` in [0, 1] -> pooled features ``(B, D)``.

    Args:
        body: the network.
        width: D.
        pyramid: the body gives a list of feature maps, fine to coarse (a U-Net's encoder), whose last is averaged;
            otherwise it pools by itself, as timm's backbones do.
    """

    def __init__(self, body: nn.Module, width: int, *, pyramid: bool = False):
        super().__init__()
        self.body, self.width, self.pyramid = body, width, pyramid

    def forward(self, images: Tensor) -> Tensor:
        found = self.body(normalise(images))
        return found[-1].mean(dim=(2, 3)) if self.pyramid else found


def build_image_encoder(
    name: str, size: int, *, patch_size: int = 0, drop_path: float = 0.0, pretrained: bool = False
) -> ImageEncoder:
    """A backbone of timm for one-channel images.

    Args:
        name: as timm calls it, e.g. resnet50, vit_base_patch16_224.
        size: side of the images; a ViT's position embedding is made for it, and interpolated for others.
        patch_size: side of a ViT's patches; 0: that of its name.
        drop_path: largest share of samples that skip a block.
        pretrained: start from timm's ImageNet weights (downloaded).

    Raises:
        ConfigError: an unknown name, sizes that do not fit, or weights that cannot be had.
    """
    if not timm.is_model(name):
        near = ", ".join(get_close_matches(name, timm.list_models(), n=3, cutoff=0.4)) or "resnet50"
        raise ConfigError(f"model.encoder: {name!r} is no backbone of timm; did you mean {near}?")
    options: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    if timm.models.model_entrypoint(name).__module__ == VisionTransformer.__module__:
        options |= {"img_size": size, "dynamic_img_size": True, **({"patch_size": patch_size} if patch_size else {})}
    elif patch_size:
        raise ConfigError(f"model.patch_size: {name} has no patches; leave it 0")
    try:
        body = timm.create_model(name, pretrained=pretrained, in_chans=1, num_classes=0, **options)
    except Exception as error:  # timm and the hub client each raise their own
        hint = "; weights are downloaded once: run where there is a network, or use --model.encoder-weights none"
        raise ConfigError(
            f"model.encoder: {name!r} cannot be built for {size} px ({error}){hint if pretrained else ''}"
        ) from error
    patch = patch_of(body)
    if patch and size % patch:
        raise ConfigError(f"model.patch_size: images of {size} px do not divide into patches of {patch} px")
    width: Any = getattr(body, "head_hidden_size", body.num_features)  # some widen what they pooled
    return ImageEncoder(body, int(width))


def patch_of(body: nn.Module) -> int:
    """Side of a ViT's patches; 0 for a network without patches."""
    return int(body.patch_embed.patch_size[0]) if isinstance(body, VisionTransformer) else 0


def load_image_encoder(path: str | Path) -> tuple[ImageEncoder, dict[str, Any]]:
    """The image encoder of any pretraining run, in eval mode, and what its weights file says of itself.

    Args:
        path: a run folder or its ``weights.safetensors``: an image-level run's backbone, or a U-Net, of which the
            encoder is taken.

    Raises:
        CheckpointError: naming the file and what does not fit, key by key.
    """
    file = weights_file(Path(path))
    tensors, meta = read_weights(file)
    if meta.get("kind") != BACKBONE:
        unet = load_run(file).model
        return ImageEncoder(unet.encoder, unet.encoder.out_channels[-1], pyramid=True).eval(), meta

    def build() -> ImageEncoder:
        return build_image_encoder(meta["encoder"], int(meta["size"]), patch_size=int(meta["patch_size"]))

    encoder = build_described(build, file, tensors, part=lambda encoder: encoder.body)
    load_exactly(encoder.body, tensors, file)
    return encoder.eval(), meta


def encoder_state_dict(path: str | Path, *, in_channels: int = 1) -> dict[str, Tensor]:
    """The encoder of any pretraining run, under the names that timm (and, for ResNets, torchvision) use.

    ``timm.create_model("resnet50", in_chans=1, num_classes=0).load_state_dict(encoder_state_dict(run))`` and
    ``torchvision.models.resnet50().load_state_dict(encoder_state_dict(run, in_channels=3), strict=False)``.

    Args:
        path: a run folder or its ``weights.safetensors``.
        in_channels: 1, or more: the first convolution is then spread so that a grey image repeated over the
            channels gives the same features.

    Raises:
        CheckpointError: naming the file and what does not fit.
    """
    body = load_image_encoder(path)[0].body
    encoder = dict(body.state_dict())
    if in_channels != 1:
        # In a grey network, the convolution that reads the image is the only one with one input and no groups.
        stems = [
            name
            for name, part in body.named_modules()
            if isinstance(part, nn.Conv2d) and part.in_channels == 1 and part.groups == 1
        ]
        if len(stems) != 1:
            raise CheckpointError(f"{path}: cannot tell which of {stems} reads the image; use in_channels=1")
        weight = encoder[f"{stems[0]}.weight"]
        encoder[f"{stems[0]}.weight"] = weight.repeat(1, in_channels, 1, 1) / in_channels
    return encoder

"""Weights on disk: safetensors that carry what is needed to rebuild the network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import segmentation_models_pytorch as smp
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from densecf.config import ModelConfig
from densecf.data.prepared import PreparedDataset
from densecf.errors import CheckpointError, ConfigError
from densecf.files import parse_json, write_bytes_atomic
from densecf.models.heads import projection_head
from densecf.models.unet import MEAN, STD, build_unet
from densecf.views.geometry import IGNORE

WEIGHTS = "weights.safetensors"
HEAD = "head.safetensors"
BACKBONE = "backbone"
"""The ``kind`` of a weights file that holds an image-level backbone, under timm's names, and no U-Net."""
_FORMAT = "densecf-1"
Network = TypeVar("Network", bound=nn.Module)
Built = TypeVar("Built")


@dataclass(frozen=True)
class Run:
    """A pretrained network as loaded from a run folder or a weights file.

    Attributes:
        path: where it came from.
        model: the U-Net, in eval mode.
        head: the projection head, ``(..., C) -> (..., D)``; None when the run has none.
        meta: what the weights file says of itself (encoder, decoder_channels, class_names, method, ...).
    """

    path: Path
    model: smp.Unet
    head: nn.Module | None
    meta: dict[str, Any]

    def to(self, device: torch.device) -> Run:
        """Moves network and head, and returns itself."""
        self.model.to(device)
        if self.head is not None:
            self.head.to(device)
        return self


def network_facts(method: str, model: ModelConfig, data: PreparedDataset) -> dict[str, Any]:
    """What a weights file says of itself: enough to rebuild the network and to prepare images for it."""
    return {
        "method": method,
        "encoder": model.encoder,
        "decoder_channels": list(model.decoder_channels),
        "classes": len(data.class_names),
        "class_names": list(data.class_names),
        "size": data.size,
        "profile": data.meta.get("profile") or "",
    }


def image_facts(method: str, encoder: str, patch_size: int, data: PreparedDataset) -> dict[str, Any]:
    """The same of an image-level backbone: ``encoder`` is timm's name, ``patch_size`` 0 for a network without."""
    return {
        "kind": BACKBONE,
        "method": method,
        "encoder": encoder,
        "patch_size": patch_size,
        "in_channels": 1,
        "normalisation": {"mean": MEAN, "std": STD},
        "classes": len(data.class_names),
        "class_names": list(data.class_names),
        "size": data.size,
        "profile": data.meta.get("profile") or "",
    }


def save_weights(model: smp.Unet, path: Path, meta: dict[str, Any]) -> None:
    """Writes the U-Net atomically; keys are those of segmentation_models_pytorch."""
    save_tensors(model.state_dict(), path, {"normalisation": {"mean": MEAN, "std": STD}, "in_channels": 1, **meta})


def save_head(head: nn.Module, path: Path, meta: dict[str, Any]) -> None:
    """Writes the projection head atomically."""
    save_tensors(head.state_dict(), path, meta)


def read_facts(path: str | Path) -> dict[str, Any]:
    """What a run's weights file says of itself.

    Args:
        path: a run folder or its ``weights.safetensors``.

    Raises:
        CheckpointError: when the file is missing, is not safetensors, or was not written by densecf.
    """
    file = weights_file(Path(path))
    with _opened(file) as tensors:
        meta = (tensors.metadata() or {}).get("densecf")
    try:
        facts = parse_json(meta or "")
        written_as = facts["format"]
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(
            f"{file}: safetensors, but not written by densecf (no densecf entry in its metadata)"
        ) from None
    if written_as != _FORMAT:
        raise CheckpointError(f"{file}: weights format {written_as!r}, this version reads {_FORMAT!r}")
    return facts


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a weights file; arguments and errors as in `read_facts`."""
    file = weights_file(Path(path))
    facts = read_facts(file)
    with _opened(file) as tensors:
        return {key: tensors.get_tensor(key) for key in tensors.keys()}, facts  # noqa: SIM118


def load_run(path: str | Path) -> Run:
    """Loads a pretraining run for looking at: network and projection head, in eval mode.

    Args:
        path: a run folder or its ``weights.safetensors``.

    Raises:
        CheckpointError: naming the file and what does not fit, key by key.
    """
    file = weights_file(Path(path))
    tensors, meta = read_weights(file)
    if meta.get("kind") == BACKBONE:
        raise CheckpointError(f"{file}: an image-level run ({meta.get('method')}), and pixels need a pixel-level one")

    def build_model() -> smp.Unet:
        return build_unet(meta["encoder"], meta["decoder_channels"], classes=int(meta["classes"]))

    model = build_described(build_model, file, tensors)
    load_exactly(model, tensors, file)
    head_file, head = file.with_name(HEAD), None
    if head_file.is_file():
        head_tensors, head_meta = read_weights(head_file)

        def build_head() -> nn.Module:
            return projection_head(int(meta["decoder_channels"][-1]), int(head_meta["hidden"]), int(head_meta["dim"]))

        head = build_described(build_head, head_file, head_tensors)
        load_exactly(head, head_tensors, head_file)
        head.eval()
    return Run(file.parent, model.eval(), head, meta)


def load_pretrained(
    path: str | Path, *, classes: int | None = None, decoder_channels: Sequence[int] | None = None
) -> smp.Unet:
    """The pretrained ``smp.Unet`` ready to fine-tune: encoder and decoder loaded, new segmentation head.

    Args:
        path: a run folder (``runs/pretrain/latest``) or a ``weights.safetensors``.
        classes: output channels; the number of classes of the pretraining data when left out.
        decoder_channels: widths of the decoder that an image-level run, which has none, gets; a pixel-level run
            brings its own.

    Returns:
        The model in train mode. It expects images as ``(x - 0.485) / 0.229`` of grey levels in [0, 1].

    Raises:
        CheckpointError: naming the file and what does not fit, key by key.
    """
    file = weights_file(Path(path))
    tensors, facts = read_weights(file)
    if facts.get("kind") == BACKBONE:
        facts = {**facts, "decoder_channels": decoder_channels or ModelConfig().decoder_channels}

    def build() -> smp.Unet:
        return build_unet(facts["encoder"], facts["decoder_channels"], classes=classes or _num_classes(facts))

    brought = _without_head(tensors)
    model = build_described(build, file, brought, part=partial(_filled, facts=facts))
    load_exactly(_filled(model, facts), brought, file)
    return model.train()


def load_into(model: smp.Unet, path: str | Path) -> str:
    """Loads encoder and decoder, or the encoder alone from an image-level run, into a network that exists.

    Returns:
        What was loaded and what starts anew, for the user.

    Raises:
        CheckpointError: naming the file and what does not fit, key by key.
    """
    file = weights_file(Path(path))
    tensors, facts = read_weights(file)
    brought = _without_head(tensors)
    load_exactly(_filled(model, facts), brought, file)
    whole, rest = (
        ("encoder", "decoder and heads") if facts.get("kind") == BACKBONE else ("encoder and decoder", "heads")
    )
    return f"{file}: {whole} loaded ({len(brought)} tensors of {facts.get('method')}); {rest} start anew"


def describe_mismatch(model: nn.Module, tensors: dict[str, Tensor]) -> list[str]:
    """One line for each key that differs: missing, unexpected, or of another shape."""
    own = model.state_dict()
    lines = [f"{key}: in the network, not in the file" for key in own if key not in tensors]
    lines += [f"{key}: in the file, not in the network" for key in tensors if key not in own]
    lines += [
        f"{key}: {tuple(tensors[key].shape)} in the file -> {tuple(own[key].shape)} in the network"
        for key in own
        if key in tensors and own[key].shape != tensors[key].shape
    ]
    return lines


def save_tensors(state: dict[str, Tensor], path: Path, meta: dict[str, Any]) -> None:
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    # Written by us, not by safetensors: its own errors hide what went wrong with the disk.
    write_bytes_atomic(path, to_bytes(tensors, metadata={"densecf": json.dumps({"format": _FORMAT, **meta})}))


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with safe_open(file, framework="pt") as tensors:
            yield tensors
    except FileNotFoundError:
        raise CheckpointError(f"{file}: no such weights file") from None
    except (OSError, SafetensorError) as error:
        if _pickled(file):
            reason = (
                "looks like a pickle, as torch.save writes it; densecf unpickles nothing and reads safetensors only"
            )
        else:
            reason = f"not a safetensors file ({error})"
        raise CheckpointError(f"{file}: {reason}") from None


def _pickled(file: Path) -> bool:
    """Whether it begins like a file of ``torch.save``: a ZIP archive, or a bare pickle."""
    try:
        with file.open("rb") as stream:
            return stream.read(2) in (b"PK", b"\x80\x02", b"\x80\x04")
    except OSError:
        return False


def weights_file(path: Path) -> Path:
    return path / WEIGHTS if path.is_dir() else path


def _filled(model: smp.Unet, facts: dict[str, Any]) -> nn.Module:
    """What of a U-Net a weights file fills: the encoder, and of a pixel-level run the decoder; never the head."""
    if facts.get("kind") == BACKBONE:
        return model.encoder
    return nn.ModuleDict({"encoder": model.encoder, "decoder": model.decoder})


def _without_head(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in tensors.items() if not key.startswith("segmentation_head.")}


def _num_classes(facts: dict[str, Any]) -> int:
    """Classes of the pretraining data; no tensor that is taken over tells whether they are true."""
    found = int(facts["classes"])
    if not 0 < found <= IGNORE:
        raise ValueError(f"{found} classes, and masks have 1 to {IGNORE}")
    return found


def build_described(
    build: Callable[[], Network],
    file: Path,
    tensors: dict[str, Tensor],
    part: Callable[[Network], nn.Module] = lambda network: network,
) -> Network:
    """A network as a weights file describes it.

    Args:
        build: makes it, from the file's own words.
        file: for messages.
        tensors: of the file; ``part`` of the network must have the same names and shapes, which is found out before
            any memory is taken: a damaged description may ask for more than any machine has.
        part: what of the network the tensors are for; all of it unless told otherwise.

    Raises:
        CheckpointError: the description lacks or spoils something, or does not fit the tensors.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        described = as_described(build, file)
    _refuse_mismatch(part(described), tensors, file)
    return as_described(build, file)


def as_described(build: Callable[[], Built], file: Path) -> Built:
    """What ``build`` makes of a weights file's own words.

    Raises:
        CheckpointError: they lack or spoil something; names the file.
    """
    try:
        return build()
    except KeyError as error:
        raise CheckpointError(f"{file}: no network of densecf (its metadata lacks {error})") from None
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from None
    except (ConfigError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RuntimeError) as error:
        raise CheckpointError(f"{file}: describes a network that cannot be built ({error})") from None


def load_exactly(model: nn.Module, tensors: dict[str, Tensor], file: Path) -> None:
    """Loads tensors that must fit key by key; raises CheckpointError with what does not."""
    _refuse_mismatch(model, tensors, file)
    with torch.no_grad():
        model.load_state_dict(tensors)


def _refuse_mismatch(model: nn.Module, tensors: dict[str, Tensor], file: Path) -> None:
    lines = describe_mismatch(model, tensors)
    if lines:
        more = f"\n  and {len(lines) - 20} more" if len(lines) > 20 else ""
        raise CheckpointError(f"{file}: does not fit the network it names:\n  " + "\n  ".join(lines[:20]) + more)

"""Short supervised trainings on real images: the judges of counterfactuals, and nothing a user keeps.

A minute or two on two cores, so there are no checkpoints, logs or Lightning here: one loop, one schedule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from densecf.config import HardwareConfig
from densecf.errors import DensecfError
from densecf.models.device import best_device
from densecf.training.loop import resolve_precision


@dataclass(frozen=True)
class ShortTraining:
    """AdamW under one cycle of the learning rate, over jittered images.

    Attributes:
        epochs: passes over the images, within the bounds below.
        batch_size: images a step.
        lr: peak learning rate.
        weight_decay: of AdamW.
        min_steps: steps at least, or a hundred images would not be learnt.
        max_steps: steps at most, so that large datasets do not take hours.
        shift: greatest shift, as a share of the side.
        tone: greatest change of brightness (absolute) and contrast (relative).
    """

    epochs: int = 14
    batch_size: int = 32
    lr: float = 2e-3
    weight_decay: float = 0.01
    min_steps: int = 200
    max_steps: int = 4000
    shift: float = 1 / 32
    tone: float = 0.08


def settings_for(epochs: int | None) -> ShortTraining:
    """The usual settings; with a number of epochs, exactly so many."""
    return ShortTraining() if epochs is None else ShortTraining(epochs=epochs, min_steps=1)


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where the hardware multiplies it natively (`densecf.training.loop.resolve_precision`)."""
    hardware = HardwareConfig(accelerator="cpu" if device.type == "cpu" else "auto")
    return torch.autocast(device.type, torch.bfloat16, enabled=resolve_precision(hardware) == "bf16-mixed")


def train_shortly(
    build: Callable[[], nn.Module],
    load: Callable[[np.ndarray], tuple[np.ndarray, dict[str, np.ndarray]]],
    loss: Callable[[nn.Module, Tensor, dict[str, Tensor]], Tensor],
    count: int,
    settings: ShortTraining,
    *,
    seed: int,
    title: str,
    device: torch.device | None = None,
    progress: bool = True,
) -> nn.Module:
    """Build a network and train it; the same seed gives the same one, and the caller's random state stays as it was.

    Args:
        build: makes the network with fresh weights.
        load: places (B,) among the ``count`` images -> images (B, S, S) in [0, 1], and their targets by name:
            arrays of B rows; those of shape (B, S, S) move with the image.
        loss: of the network on images (B, 1, S, S) and the targets.
        count: images to learn from.
        settings: length, batch, rates, jitter.
        seed: of weights, order and jitter.
        title: in front of the progress bar.
        device: where to train; without one, the GPU if there is one.
        progress: show the bar.

    Returns:
        The network in eval mode, on the CPU, without gradients.

    Raises:
        DensecfError: the loss is no longer finite.
    """
    batch_size = min(settings.batch_size, count)
    steps = min(max(settings.epochs * (count // batch_size), settings.min_steps), settings.max_steps)
    device, rng = device or best_device(), np.random.default_rng([seed, 1])
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        network = build().to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, total_steps=steps + 1)
        order = np.empty(0, int)
        value = torch.zeros(())
        for _ in tqdm(range(steps), desc=title, unit="step", disable=not progress):
            if len(order) < batch_size:
                order = rng.permutation(count)
            chosen, order = order[:batch_size], order[batch_size:]
            images, targets = jitter(*load(chosen), settings, rng)
            pixels = torch.from_numpy(images)[:, None].to(device)
            tensors = {name: torch.from_numpy(array).to(device) for name, array in targets.items()}
            with autocast(device):
                value = loss(network, pixels, tensors)
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        if not torch.isfinite(value):
            raise DensecfError(f"{title}: the loss is {value.item()} at the end; the images may not be finite")
    return network.cpu().eval().requires_grad_(False)


def jitter(
    images: np.ndarray, targets: dict[str, np.ndarray], settings: ShortTraining, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Shift every image by whole pixels (the border is repeated) and change its brightness and contrast a little.

    Args:
        images: (B, S, S) float32 in [0, 1].
        targets: as `train_shortly` takes them; maps of the images' shape are shifted alike.

    Returns:
        Images and targets anew.
    """
    count, size = images.shape[:2]
    most = round(settings.shift * size)
    offsets = rng.integers(-most, most + 1, (count, 2))
    rows, columns = (np.clip(np.arange(size) + offsets[:, axis, None], 0, size - 1) for axis in range(2))
    each = np.arange(count)[:, None, None]
    gain = 1 + rng.uniform(-settings.tone, settings.tone, (count, 1, 1)).astype(np.float32)
    offset = rng.uniform(-settings.tone, settings.tone, (count, 1, 1)).astype(np.float32)

    def shifted(maps: np.ndarray) -> np.ndarray:
        return maps[each, rows[:, :, None], columns[:, None, :]]

    moved = {name: shifted(array) if array.shape == images.shape else array for name, array in targets.items()}
    return np.clip((shifted(images) - 0.5) * gain + 0.5 + offset, 0, 1), moved

"""Image features of a dataset's records: each image passes the network once, and is kept beside its weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes
from tqdm.auto import tqdm

from densecf.data.prepared import PreparedDataset
from densecf.errors import DataError, DensecfError
from densecf.files import write_bytes_atomic
from densecf.models.backbone import ImageEncoder

FOLDER = "features"
BATCH = 64


@dataclass(frozen=True)
class FeatureStore:
    """The features of one network, in a file for each dataset.

    Attributes:
        folder: where; None keeps nothing.
        weights: SHA-256 of the network's weights: features of other weights are never taken.
    """

    folder: Path | None
    weights: str

    def path(self, data: PreparedDataset) -> Path | None:
        return self.folder / f"{data.checksum[:16]}.safetensors" if self.folder else None

    def load(self, data: PreparedDataset) -> tuple[np.ndarray, np.ndarray]:
        """Rows (k,) int64 of the dataset and their features (k, D) float32; none when nothing usable is there."""
        path = self.path(data)
        nothing = np.empty(0, np.int64), np.empty((0, 0), np.float32)
        if path is None or not path.is_file():
            return nothing
        try:
            with safe_open(path, framework="np") as tensors:
                if json.loads((tensors.metadata() or {}).get("densecf", "{}")) != self._key(data):
                    return nothing
                return tensors.get_tensor("rows"), tensors.get_tensor("features")
        except (OSError, ValueError, SafetensorError):  # damaged: made again
            return nothing

    def save(self, data: PreparedDataset, rows: np.ndarray, features: np.ndarray) -> None:
        """Replaces what is kept; where nothing can be written, the user hears of it and the work goes on."""
        path = self.path(data)
        if path is None:
            return
        content = to_bytes({"rows": rows, "features": features}, metadata={"densecf": json.dumps(self._key(data))})
        try:
            write_bytes_atomic(path, content)
        except DensecfError as error:
            print(f"The features are not kept for the next time: {error}")

    def _key(self, data: PreparedDataset) -> dict[str, str]:
        return {"weights": self.weights, "dataset": data.checksum}


def extract_features(
    encoder: ImageEncoder,
    data: PreparedDataset,
    rows: Sequence[int],
    *,
    title: str = "features",
    progress: bool = True,
) -> np.ndarray:
    """Features (n, D) float32 of records; the network is used as it is (eval mode), on the device where it lies.

    Raises:
        DataError: the features are not finite.
    """
    device = next(encoder.parameters()).device
    encoder.to(memory_format=torch.channels_last)
    found = np.empty((len(rows), encoder.width), np.float32)
    with torch.inference_mode(), tqdm(total=len(rows), desc=title, unit="img", disable=not progress) as bar:
        for start in range(0, len(rows), BATCH):
            images = np.stack([data.image(row) for row in rows[start : start + BATCH]])
            batch = torch.from_numpy(images)[:, None].to(device, memory_format=torch.channels_last)
            found[start : start + len(images)] = encoder(batch).float().cpu().numpy()
            bar.update(len(images))
    if not np.isfinite(found).all():
        raise DataError(f"{title}: the features hold NaN or infinite values: the network is broken")
    return found


def stored_features(
    store: FeatureStore,
    load_encoder,
    data: PreparedDataset,
    rows: Sequence[int],
    *,
    title: str = "features",
    progress: bool = True,
) -> np.ndarray:
    """Features (n, D) of records; only what the store lacks passes the network.

    Args:
        store: where they are kept.
        load_encoder: gives the network; called only when it is needed.
        data: prepared dataset.
        rows: its rows, (n,).
    """
    wanted = np.asarray(rows, np.int64)
    held, features = store.load(data)
    lacking = np.setdiff1d(wanted, held)
    if len(lacking):
        new = extract_features(load_encoder(), data, lacking.tolist(), title=title, progress=progress)
        held = np.concatenate([held, lacking])
        features = np.concatenate([features, new]) if features.size else new
        order = np.argsort(held)
        held, features = held[order], features[order]
        store.save(data, held, features)
    return features[np.searchsorted(held, wanted)]

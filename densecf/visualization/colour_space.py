"""A colour for every embedding: UMAP to the plane, enclosing ellipse to the unit disc, polar coordinates to HSV.

The mapping of the CHRO-map (paper section 2.3). UMAP sees a few thousand sampled pixels; all others take the weighted
average of their nearest sampled neighbours. A saved colour space therefore needs neither UMAP nor its compiler again,
and pictures made with it at different times can be compared colour by colour.
"""

import json
import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from matplotlib.colors import hsv_to_rgb
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from densecf.errors import CheckpointError, ConfigError, DataError
from densecf.files import parse_json, write_bytes_atomic
from densecf.visualization.ellipse import enclosing_ellipse
from densecf.visualization.neighbours import nearest
from densecf.visualization.projection import umap_plane

Mode = Literal["value", "saturation"]
MODES: tuple[str, ...] = get_args(Mode)

FORMAT = "densecf.colour_space"
VERSION = 1
MIN_FIT = 16  # UMAP's spectral start fails on a handful of points
PLACING_NEIGHBOURS = 3
ISLAND = 0.2  # places on the unit disc further apart than this are not averaged


@dataclass(frozen=True)
class ColourSpace:
    """A fitted map from embeddings to the unit disc.

    Attributes:
        mean, scale: (D,) float32, the standardisation of each feature.
        landmarks: (n, D) float32, the standardised features UMAP was fitted on.
        discs: (n, 2) float32, where the landmarks lie in the unit disc.
        settings: JSON-able record of how the space was fitted; `origin` says from which network.
    """

    mean: np.ndarray
    scale: np.ndarray
    landmarks: np.ndarray
    discs: np.ndarray
    settings: dict[str, Any]

    @classmethod
    def fit(
        cls,
        features: np.ndarray,
        *,
        num_fit: int = 4000,
        seed: int = 0,
        num_neighbors: int = 15,
        min_dist: float = 0.1,
        num_epochs: int = 200,
        normalise: bool = True,
        origin: str = "",
    ) -> "ColourSpace":
        """Fit on at most `num_fit` of the given pixels, drawn without replacement.

        Args:
            features: (N, D) embeddings, N >= 16.
            num_fit: pixels that UMAP sees; its time grows linearly with them.
            seed: of the draw and of UMAP; the same seed gives the same colours on the same machine.
            num_neighbors, min_dist, num_epochs: UMAP's own (the first two at UMAP's defaults, as in the authors' code).
            normalise: scale each pixel's features to length one first, here and in `place`: the contrastive losses
                leave the length free, and the authors' code maps normalised embeddings.
            origin: what the embeddings come from, kept in the saved file.

        Raises:
            DataError: fewer than 16 pixels, or NaN or infinite embeddings.
            ConfigError: `num_fit` below 16.

        Warns:
            UserWarning: all embeddings are equal; every colour is then the disc's centre.
        """
        features = _checked(features)
        if len(features) < MIN_FIT:
            raise DataError(f"a colour space needs the embeddings of at least {MIN_FIT} pixels, got {len(features)}")
        if num_fit < MIN_FIT:
            raise ConfigError(f"num_fit must be at least {MIN_FIT} pixels, got {num_fit}")
        if len(features) > num_fit:
            features = features[np.sort(np.random.default_rng(seed).choice(len(features), num_fit, replace=False))]
        if normalise:
            features = _unit(features)
        mean = features.mean(axis=0, dtype=np.float64)
        scale = features.std(axis=0, dtype=np.float64)
        alive = scale > 1e-6 * max(float(np.abs(features).max()), 1e-30)
        scale = np.where(alive, scale, 1.0)
        landmarks = np.where(alive, (features - mean) / scale, 0.0).astype(np.float32)
        if alive.any():
            plane = umap_plane(landmarks, min(num_neighbors, len(landmarks) - 1), min_dist, num_epochs, seed)
            discs = enclosing_ellipse(plane).to_disc(plane)
        else:
            warnings.warn(
                "all sampled pixels have the same embedding (the network has collapsed): every pixel gets one colour",
                stacklevel=2,
            )
            discs = np.zeros((len(landmarks), 2))
        settings = {
            "num_fit": len(landmarks),
            "seed": seed,
            "num_neighbors": num_neighbors,
            "min_dist": min_dist,
            "num_epochs": num_epochs,
            "normalise": normalise,
            "origin": origin,
        }
        scale = np.where(alive, scale, np.inf)  # a feature that never varied stays silent
        return cls(mean.astype(np.float32), scale.astype(np.float32), landmarks, discs.astype(np.float32), settings)

    def place(self, features: np.ndarray) -> np.ndarray:
        """Disc coordinates (N, 2) float32 of embeddings (N, D), by their nearest landmarks.

        Weights fall with the squared distance, so a landmark lies exactly where UMAP put it, and averages of points
        in the disc stay in it. Neighbours that UMAP put far from the nearest one do not count: the place between two
        islands would mean a third thing.

        Raises:
            DataError: another number of features than the space was fitted on, or NaN or infinite embeddings.
        """
        features = _checked(features)
        if features.shape[1] != len(self.mean):
            raise DataError(
                f"this colour space was fitted on {len(self.mean)} features a pixel, got {features.shape[1]}: "
                "it belongs to another network; fit a new one"
            )
        if self.settings.get("normalise"):
            features = _unit(features)
        indices, squared = nearest(
            (features - self.mean) / self.scale, self.landmarks, min(PLACING_NEIGHBOURS, len(self.landmarks))
        )
        places = self.discs[indices]
        same_island = np.linalg.norm(places - places[:, :1], axis=2) < ISLAND
        weights = same_island / np.maximum(squared, 1e-12)
        weights /= weights.sum(axis=1, keepdims=True)
        return np.einsum("nk,nkd->nd", weights, places, dtype=np.float32)

    def turned(self, turn: np.ndarray) -> "ColourSpace":
        """This space with its disc rotated or reflected: other hues, the same distances between places.

        Args:
            turn: (2, 2) orthogonal matrix, such as `densecf.visualization.alignment.closest_turn` finds.

        Raises:
            ValueError: the matrix would deform the disc.
        """
        turn = np.asarray(turn, np.float64)
        if turn.shape != (2, 2) or not np.allclose(turn @ turn.T, np.eye(2), atol=1e-6):
            raise ValueError(f"a disc is turned by an orthogonal (2, 2) matrix, got {turn.tolist()}")
        return replace(self, discs=(self.discs @ turn).astype(np.float32))

    def save(self, path: Path | str) -> None:
        """Write one safetensors file whose header holds the settings; an existing file is replaced in one step."""
        header = {"format": FORMAT, "version": str(VERSION), "settings": json.dumps(self.settings, sort_keys=True)}
        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in _TENSORS}
        write_bytes_atomic(path, save(tensors, metadata=header))

    @classmethod
    def load(cls, path: Path | str) -> "ColourSpace":
        """Read what `save` wrote.

        Raises:
            CheckpointError: missing, unreadable, not a colour space, of another version, or damaged.
        """
        path = Path(path)
        if not path.is_file():
            raise CheckpointError(f"{path}: no such colour space; make one by running chromap without it")
        try:
            with safe_open(path, framework="numpy") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: not a colour space saved by densecf ({error})") from error
        if header.get("format") != FORMAT or set(tensors) != set(_TENSORS):
            raise CheckpointError(f"{path}: a safetensors file, but not a colour space saved by densecf")
        if header.get("version") != str(VERSION):
            raise CheckpointError(
                f"{path}: colour space version {header.get('version')}, this densecf reads {VERSION}; fit a new one"
            )
        space = cls(**tensors, settings=_settings(path, header.get("settings", "")))
        count, dimension = space.landmarks.shape if space.landmarks.ndim == 2 else (0, 0)
        if count == 0 or space.discs.shape != (count, 2) or not space.mean.shape == space.scale.shape == (dimension,):
            raise CheckpointError(f"{path}: the arrays of this colour space do not fit each other; fit a new one")
        return space


_TENSORS = ("mean", "scale", "landmarks", "discs")


def disc_colours(discs: np.ndarray, mode: Mode = "value") -> np.ndarray:
    """RGB colours (..., 3) uint8 of disc coordinates (..., 2).

    The hue is the angle. `value` (paper section 2.3): the radius is the value, saturation is 1, the centre black.
    `saturation` (the authors' code): the radius is the saturation, value is 1, the centre white.

    Raises:
        ConfigError: unknown mode.
    """
    if mode not in MODES:
        raise ConfigError(f"unknown colour mode {mode!r}; choose from {', '.join(MODES)}")
    discs = np.asarray(discs, np.float32)
    hue = (np.arctan2(discs[..., 1], discs[..., 0]) / (2 * math.pi)) % 1.0
    radius = np.minimum(np.hypot(discs[..., 0], discs[..., 1]), 1.0)
    full = np.ones_like(radius)
    hsv = np.stack([hue, full, radius] if mode == "value" else [hue, radius, full], axis=-1)
    return np.rint(hsv_to_rgb(hsv) * 255).astype(np.uint8)


def _checked(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, np.float32)
    if features.ndim != 2 or features.shape[1] == 0:
        raise DataError(f"embeddings must have the shape (pixels, features), got {features.shape}")
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features)).any(axis=1).sum())
        raise DataError(f"the embeddings of {bad} of {len(features)} pixels are NaN or infinite: the network is broken")
    return features


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _settings(path: Path, text: str) -> dict[str, Any]:
    try:
        settings = parse_json(text)
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged colour space settings ({error}); fit a new one") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path}: damaged colour space settings; fit a new one")
    return settings

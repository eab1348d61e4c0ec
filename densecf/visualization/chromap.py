"""CHRO-map: the colour-coded high-resolution overlay of pixel embeddings (paper section 2.3).

`make_chromaps` turns embeddings into overlays that share one colour space; `save_figure` and `save_overlays` write
them. Nothing here knows networks or configs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates

from densecf.errors import ConfigError, DataError
from densecf.files import atomic_path
from densecf.visualization.colour_space import ISLAND, MODES, ColourSpace, Mode, disc_colours


@dataclass(frozen=True)
class MapEntry:
    """One image of a CHRO-map.

    Attributes:
        title: shown above the picture.
        image: (H, W) float in [0, 1], at the resolution the overlay shall have.
        features: (D, h, w) float32 embeddings.
        valid: (h, w) bool, False where the network saw padding; None means everywhere.
        affine: (3, 3) feature-grid pixel index -> image pixel index (row, column, pixel centres at integers), as
            `Sample.affine`; None means that the grid covers the image edge to edge.
    """

    title: str
    image: np.ndarray
    features: np.ndarray
    valid: np.ndarray | None = None
    affine: np.ndarray | None = None

    def check(self) -> None:
        """Raises DataError when the arrays do not fit each other."""
        if self.image.ndim != 2 or 0 in self.image.shape:
            raise DataError(f"{self.title}: a CHRO-map needs a grey image (H, W), got {self.image.shape}")
        if not np.isfinite(self.image).all() or self.image.min() < 0 or self.image.max() > 1:
            raise DataError(f"{self.title}: the image must be scaled to [0, 1] and hold no NaN")
        if self.features.ndim != 3 or 0 in self.features.shape:
            raise DataError(f"{self.title}: embeddings must have the shape (D, h, w), got {self.features.shape}")
        if self.valid is not None and self.valid.shape != self.features.shape[1:]:
            raise DataError(
                f"{self.title}: valid has the shape {self.valid.shape}, the embeddings {self.features.shape[1:]}"
            )
        if self.valid is not None and not self.valid.any():
            raise DataError(f"{self.title}: no pixel of this image is valid")
        if self.affine is not None and np.shape(self.affine) != (3, 3):
            raise DataError(f"{self.title}: affine must be (3, 3), got {np.shape(self.affine)}")


@dataclass(frozen=True)
class ChroMaps:
    """Images and their overlays in one colour space.

    Attributes:
        titles: one a picture.
        images: (H, W, 3) uint8, grey.
        colours: (H, W, 3) uint8, the pure colours at full resolution; 0 where `coloured` is False.
        coloured: (H, W) bool, False on padding and outside the network's field.
        overlays: (H, W, 3) uint8, the image blended with the colours.
        discs: (h, w, 2) float32 disc coordinates on the embedding grid, NaN where not valid.
    """

    space: ColourSpace
    mode: Mode
    alpha: float
    titles: list[str]
    images: list[np.ndarray]
    colours: list[np.ndarray]
    coloured: list[np.ndarray]
    overlays: list[np.ndarray]
    discs: list[np.ndarray]


def make_chromaps(
    entries: Sequence[MapEntry],
    *,
    space: ColourSpace | None = None,
    num_fit: int = 4000,
    mode: Mode = "value",
    alpha: float = 0.5,
    seed: int = 0,
    origin: str = "",
) -> ChroMaps:
    """Colour every entry by its embeddings, all in one colour space.

    Args:
        entries: at least one; several images, or a record and its counterfactuals.
        space: a fitted colour space; None fits one on `num_fit` valid pixels, the same number from each entry.
        num_fit: pixels that UMAP sees in all.
        mode: "value" (the paper) or "saturation" (the authors' code).
        alpha: weight of the colours in the overlay, in [0, 1].
        seed: of the pixel draw and of UMAP.
        origin: what the embeddings come from, kept in a newly fitted space.

    Raises:
        DataError: no entry, or one whose arrays do not fit.
        ConfigError: unknown mode, or alpha outside [0, 1].
    """
    if mode not in MODES:
        raise ConfigError(f"unknown colour mode {mode!r}; choose from {', '.join(MODES)}")
    if not 0 <= alpha <= 1:
        raise ConfigError(f"alpha must lie in [0, 1], got {alpha}")
    _check(entries)
    if space is None:
        space = fit_space(entries, num_fit=num_fit, seed=seed, origin=origin)
    maps = ChroMaps(space, mode, alpha, [entry.title for entry in entries], [], [], [], [], [])
    for entry in entries:
        grid = np.full((*entry.features.shape[1:], 2), np.nan, np.float32)
        grid[_validity(entry)] = space.place(_valid_pixels(entry))
        disc, coloured = to_image_grid(grid, entry.image.shape, entry.affine)
        colours = disc_colours(disc, mode)
        colours[~coloured] = 0
        grey = np.repeat(np.rint(entry.image * 255).astype(np.uint8)[..., None], 3, axis=2)
        weight = np.float32(alpha) * coloured[..., None].astype(np.float32)
        overlay = np.rint((1 - weight) * grey + weight * colours).astype(np.uint8)
        maps.images.append(grey)
        maps.colours.append(colours)
        maps.coloured.append(coloured)
        maps.overlays.append(overlay)
        maps.discs.append(grid)
    return maps


def fit_space(entries: Sequence[MapEntry], *, num_fit: int = 4000, seed: int = 0, origin: str = "") -> ColourSpace:
    """A colour space of `num_fit` valid pixels in all, the same number from each entry.

    Which pixels these are follows from the seed and the valid pixels alone: the landmarks of two networks that see
    the same images are the same pixels in the same order.

    Raises:
        DataError: no entry, or one whose arrays do not fit.
    """
    _check(entries)
    sample = balanced_sample([_valid_pixels(entry) for entry in entries], num_fit, seed)
    return ColourSpace.fit(sample, num_fit=num_fit, seed=seed, origin=origin)


def balanced_sample(pixels: Sequence[np.ndarray], count: int, seed: int) -> np.ndarray:
    """About `count` rows in all from several arrays (n_i, D), as equally as their lengths allow, none twice."""
    remaining, chosen = count, {}
    for rank, index in enumerate(sorted(range(len(pixels)), key=lambda i: len(pixels[i]))):
        share = min(len(pixels[index]), -(-remaining // (len(pixels) - rank)))
        rows = np.random.default_rng([seed, index]).choice(len(pixels[index]), share, replace=False)
        chosen[index] = pixels[index][np.sort(rows)]
        remaining -= share
    return np.concatenate([chosen[index] for index in range(len(pixels))])


def to_image_grid(
    grid: np.ndarray, shape: tuple[int, ...], affine: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Bring disc coordinates from the embedding grid to the image, linearly between valid grid pixels.

    Interpolating coordinates, not colours, keeps the hue of a smooth map continuous. Where neighbours lie far apart
    on the disc, as at the border of an organ, the nearest grid pixel is taken: places in between would mean
    something else.

    Args:
        grid: (h, w, 2), NaN where not valid.
        shape: (H, W) of the image.
        affine: as in `MapEntry`.

    Returns:
        Disc coordinates (H, W, 2) float32, and whether the nearest grid pixel exists and is valid (H, W) bool.
    """
    height, width = grid.shape[:2]
    if affine is None:
        scale = np.array([shape[0] / height, shape[1] / width])
        affine = np.array([[scale[0], 0, (scale[0] - 1) / 2], [0, scale[1], (scale[1] - 1) / 2], [0, 0, 1]])
    inverse = np.linalg.inv(affine)
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    at = [row[0] * rows + row[1] * columns + row[2] for row in inverse[:2]]
    valid = np.isfinite(grid).all(axis=2)
    inside = (at[0] >= -0.5) & (at[0] <= height - 0.5) & (at[1] >= -0.5) & (at[1] <= width - 0.5)
    nearest = [np.clip(np.rint(a).astype(np.int64), 0, size - 1) for a, size in zip(at, (height, width), strict=True)]
    coloured = inside & valid[nearest[0], nearest[1]]
    if np.allclose(inverse, np.eye(3), atol=1e-9) and shape == (height, width):
        return np.where(valid[..., None], grid, 0), coloured

    def sample(values: np.ndarray) -> np.ndarray:
        return map_coordinates(values.astype(np.float32), at, order=1, mode="nearest")

    weight = np.maximum(sample(valid), 1e-6)
    smooth = np.stack([sample(np.where(valid, grid[..., axis], 0)) / weight for axis in range(2)], axis=-1)
    blocky = grid[nearest[0], nearest[1]]
    disc = np.where(np.linalg.norm(smooth - blocky, axis=-1, keepdims=True) < ISLAND / 2, smooth, blocky)
    return np.where(coloured[..., None], disc, 0).astype(np.float32), coloured


def save_overlays(maps: ChroMaps, path: Path | str) -> list[Path]:
    """Write each overlay at full resolution beside `path`: `<stem>_overlay.png`, of several `<stem>_<n>_overlay.png`.

    Returns:
        The files written, in the order of the entries.

    Raises:
        DensecfError: the disk is full, or the place cannot be written.
    """
    path, several = Path(path), len(maps.overlays) > 1
    written = []
    for number, overlay in enumerate(maps.overlays, start=1):
        target = path.with_name(f"{path.stem}_{number}_overlay.png" if several else f"{path.stem}_overlay.png")
        with atomic_path(target) as temporary:
            Image.fromarray(overlay).save(temporary)
        written.append(target)
    return written


def _check(entries: Sequence[MapEntry]) -> None:
    if not entries:
        raise DataError("a CHRO-map needs at least one image")
    for entry in entries:
        entry.check()
    if len({entry.features.shape[0] for entry in entries}) > 1:
        raise DataError("all images of a CHRO-map need embeddings of the same network")


def _validity(entry: MapEntry) -> np.ndarray:
    return np.ones(entry.features.shape[1:], bool) if entry.valid is None else np.asarray(entry.valid, bool)


def _valid_pixels(entry: MapEntry) -> np.ndarray:
    """Embeddings (n, D) float32 of the valid pixels, in raster order."""
    return np.ascontiguousarray(np.asarray(entry.features, np.float32)[:, _validity(entry)].T)

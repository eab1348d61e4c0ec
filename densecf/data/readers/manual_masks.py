"""A folder of masks drawn by hand, joined to a dataset by the names of their files.

```
folder/
  labels/ID.png      one image of all classes        or   left_lung/ID.png, right_lung/ID.png: one image a class
  images/ID.png      what was drawn on, where that is not the dataset's own file (a smaller crop)
  masks.yaml         how classes are coded, where that is not one of the usual ways (see `Coding`)
```

Without ``masks.yaml`` folders named like classes hold binary images, colour images in ``labels`` are coded as CF-Seg's
70 PadChest masks are (channel 2 above 0: left lung, channel 1: right lung, counted from 0), and grey ones hold class
indices (1 left lung, 2 right lung).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from pydantic import ValidationError

from densecf.data.chexmask.frames import gather
from densecf.data.images import read_image, read_mask
from densecf.data.problems import Problems, listing
from densecf.data.profiles import PROFILES
from densecf.data.raw_image import RawImage
from densecf.data.readers.image_source import ImageSource
from densecf.data.readers.mask_coding import AUTHORS, CODING_FILE, IMAGES, INDICES, KNOWN_CLASSES, LABELS, Coding
from densecf.data.readers.mask_source import image_key
from densecf.data.readers.masks import MOST_OVERLAP
from densecf.data.readers.paths import FileState, digest_of_files
from densecf.data.resampling import resample
from densecf.errors import ConfigError, DataError
from densecf.yaml_files import read_yaml

_LOWEST_CORRELATION = 0.8  # of a mask's own image with the dataset's, once aligned


def _stretch(height: int, width: int, size: int) -> np.ndarray:
    rows, columns = height / size, width / size
    return np.array([[rows, 0, (rows - 1) / 2], [0, columns, (columns - 1) / 2], [0, 0, 1]])


# How a square image may have come from the whole one: prepared pixel -> original pixel.
ALIGNMENTS: dict[str, Callable[[int, int, int], np.ndarray]] = {
    "centre crop": PROFILES["authors"].affine,
    "padding": PROFILES["robust"].affine,
    "stretching": _stretch,
}


class ManualMasks:
    """The masks of such a folder; a `densecf.data.readers.mask_source.MaskSource`.

    A mask of the size of the dataset's image lies on it as it is. One of another size must be square and was drawn on
    a small copy: where that copy is in ``images``, the way it was made (`ALIGNMENTS`) is found by comparing it with
    the dataset's image; else it is taken for the papers' centre crop. What the crop cut off counts as background; to
    train on the copies themselves, see `manual_source`.

    Args:
        folder: see the top of this file.
        coding: instead of what the folder says.

    Raises:
        DataError: there is no such folder, or it holds no masks, or several for one image.
        ConfigError: ``masks.yaml`` cannot be used.
    """

    kind = "manual"

    def __init__(self, folder: str | Path, coding: Coding | None = None):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DataError(f"{self.folder}: there is no such folder; it must hold the masks drawn by hand.")
        self.coding = coding or _coding_of(self.folder)
        self.class_names: tuple[str, ...] = self.coding.class_names
        found = [_files_by_key(self.folder / name) for name in self.coding.folders]
        self._masks = {key: [files[key] for files in found if key in files] for files in found for key in files}
        incomplete = sorted(key for key, files in self._masks.items() if len(files) < len(found))
        if incomplete:
            raise DataError(
                f"{self.folder}: these masks are in some of the folders {', '.join(self.coding.folders)} only: "
                f"{listing(incomplete, 5)}."
            )
        if not self._masks:
            raise DataError(f"{self.folder}: no mask images in {' or '.join(self.coding.folders)}.")
        self._images = _files_by_key(self.folder / IMAGES)

    @property
    def image_files(self) -> dict[str, Path]:
        """Image key -> the copy that its mask was drawn on, of those that are in the folder."""
        return {key: path for key, path in self._images.items() if key in self._masks}

    @property
    def keys(self) -> list[str]:
        """The keys (`image_key`) of all masks."""
        return sorted(self._masks)

    def quality(self, images: Sequence[str]) -> np.ndarray:
        """See `MaskSource.quality`: 1."""
        return np.array([1.0 if image_key(image) in self._masks else np.nan for image in images], np.float64)

    def labels(self, image: str, raw: RawImage) -> np.ndarray | None:
        """See `MaskSource.labels`."""
        key = image_key(image)
        if key not in self._masks:
            return None
        labels = self._drawn(self._masks[key])
        shape = raw.shape
        if labels.shape == shape:
            return labels
        path = self._masks[key][0]
        if labels.shape[0] != labels.shape[1]:
            sizes = " x ".join(map(str, labels.shape)), " x ".join(map(str, shape))
            raise DataError(
                f"{path}: the mask has {sizes[0]} px (rows x columns) and is not square, but {image} {sizes[1]}."
            )
        name = "centre crop" if key not in self._images else _alignment(self._images[key], raw, labels.shape[0])
        return _uncropped(labels, ALIGNMENTS[name](*shape, labels.shape[0]), shape)

    def _drawn(self, paths: list[Path]) -> np.ndarray:
        """Class indices as they were drawn."""
        masks = list(_masks_by_class(paths, self.coding))
        labels = np.zeros(masks[0].shape, np.uint8)
        for index, mask in enumerate(masks, start=1):
            shared = labels[mask] > 0
            if shared.sum() > MOST_OVERLAP * min(mask.sum(), max(1, np.count_nonzero(labels))):
                raise DataError(
                    f"{paths[0]}: {self.class_names[index]} overlaps other classes in {int(shared.sum()):,} px. If "
                    f"they are coded in another way, say so in {self.folder / CODING_FILE}."
                )
            labels[mask] = index
        if not labels.any():
            raise DataError(f"{paths[0]}: the mask is empty.")
        _check_sides(labels, self.class_names, paths[0])
        return labels

    def fingerprint(self) -> dict[str, Any]:
        """See `MaskSource.fingerprint`: the coding, and the size and time of change of every file."""
        files = [*(path for paths in self._masks.values() for path in paths), *self.image_files.values()]
        states = [FileState(str(p.relative_to(self.folder)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
        states.sort(key=lambda state: state.path)
        coding = self.coding.model_dump(exclude_defaults=True)
        return {"masks": "manual folder", "coding": coding, "files_sha256": digest_of_files(states)}

    def report(self, images: Sequence[str] = ()) -> list[str]:
        """See `MaskSource.report`."""
        lines = [f"{self.folder}: {len(self._masks):,} masks drawn by hand ({', '.join(self.class_names[1:])})"]
        copies = len(self.image_files)
        if copies:
            lines.append(
                f"  {copies:,} of them with the image they were drawn on; masks of another size than the dataset's "
                "image are aligned by it, and what it leaves out of the field counts as background"
            )
        if copies < len(self._masks):
            lines.append("  masks of another size without such an image are taken for the papers' centre crop")
        unused = sorted(self._masks.keys() - {image_key(image) for image in images}) if images else []
        if unused:
            lines.append(f"  {len(unused):,} of them belong to none of the images used: {listing(unused, 5)}")
        return lines


def manual_source(
    folder: str | Path, parent: pd.DataFrame, profile: str = "robust", coding: Coding | None = None
) -> ImageSource:
    """The small copies that masks were drawn on, as a dataset of their own: split "manual".

    Args:
        folder: see the top of this file, with ``images``.
        parent: the records of the dataset they are from, for patient, effusion, scanner and whatever else it has.
        profile: "robust", "breast" or "authors".
        coding: instead of what the folder says.

    Raises:
        DataError: masks without an image, or without a record in the parent table (all are listed).
    """
    masks = ManualMasks(folder, coding)
    rows = {image_key(image): row for row, image in enumerate(parent["image"])}
    problems = Problems()
    for key in masks.keys:
        if key not in masks.image_files:
            problems.add(key, f"has no image in {masks.folder / IMAGES}")
        elif key not in rows:
            problems.add(key, "is not in the table of the dataset, so its patient is unknown")
    problems.raise_if_any(f"{masks.folder}: masks that cannot be used")
    records = parent.iloc[[rows[key] for key in masks.keys]].reset_index(drop=True)
    records = records.assign(
        split=pd.Series(["manual"] * len(records), dtype="str"),
        mask_kind=pd.Series(["manual"] * len(records), dtype="str"),
        mask_quality=1.0,
        pixel_spacing=np.nan,  # the parent's is of another size
    )
    paths = [masks.image_files[key] for key in masks.keys]
    states = [FileState(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    facts = {"reader": "manual masks"}
    return ImageSource(records, paths, states, [masks], np.zeros(len(records), int), profile, facts)


def _coding_of(folder: Path) -> Coding:
    """What the folder says, or looks like."""
    path = folder / CODING_FILE
    if path.is_file():
        try:
            return Coding.model_validate(read_yaml(path))
        except ValidationError as error:
            reasons = "; ".join(e["msg"].removeprefix("Value error, ") for e in error.errors())
            raise ConfigError(
                f"{path}: {reasons}. Write for example: channels: {{left_lung: 2, right_lung: 1}}"
            ) from None
    named = [name for name in KNOWN_CLASSES if (folder / name).is_dir()]
    if named:
        return Coding(files={name: name for name in named})
    files = sorted(_files_by_key(folder / LABELS).values())
    if not files:
        raise DataError(f"{folder}: expected masks in {LABELS}, or in folders named {' and '.join(KNOWN_CLASSES[:2])}.")
    return AUTHORS if _open(files[0]).mode in ("RGB", "RGBA") else INDICES


def _files_by_key(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file():
            continue
        other = found.setdefault(image_key(path.name), path)
        if other != path:
            raise DataError(f"{folder}: {other.name} and {path.name} would be of the same image; leave one.")
    return found


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path, formats=("PNG", "TIFF"))
        image.load()
        return image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable PNG or TIFF mask ({error}).") from error


def _masks_by_class(paths: list[Path], coding: Coding) -> list[np.ndarray]:
    """(H, W) booleans for each class but the background."""
    names = coding.class_names[1:]
    if coding.files:
        values = [read_mask(path) for path in paths]
        if len({value.shape for value in values}) > 1:
            raise DataError(f"{paths[0]}: the masks of the classes are of different sizes.")
        return [(value > 0) & (value > value.max() / 2) for value in values]
    if coding.values:
        value = read_mask(paths[0])
        codes = {coding.values[name] for name in names} | {coding.values.get("background", 0), 0}
        unknown = [f"{v:g}" for v in np.unique(value) if v not in codes]
        if unknown:
            known = ", ".join(f"{code} {name}" for name, code in coding.values.items())
            raise DataError(
                f"{paths[0]}: holds the values {listing(unknown, 10)}, which are no class; expected 0 background, "
                f"{known}. Say what they are in {CODING_FILE}."
            )
        return [value == coding.values[name] for name in names]
    image = _open(paths[0])
    channels = np.atleast_3d(np.asarray(image))
    if image.mode not in ("RGB", "RGBA") or max(coding.channels.values()) >= channels.shape[2]:
        raise DataError(
            f"{paths[0]}: colour mode {image.mode}, but the classes are coded in channels. Say how in {CODING_FILE}."
        )
    return [channels[..., coding.channels[name]] > 0 for name in names]


def _check_sides(labels: np.ndarray, names: tuple[str, ...], path: Path) -> None:
    if not {"left_lung", "right_lung"} <= set(names):
        return
    left, right = (
        np.flatnonzero(labels == names.index(name)) % labels.shape[1] for name in ("left_lung", "right_lung")
    )
    if len(left) and len(right) and left.mean() <= right.mean():
        raise DataError(
            f"{path}: the patient's left lung lies on the left of the image. If left and right are coded the other way "
            f"round, say so in {CODING_FILE}; if the image is mirrored, turn it."
        )


def _alignment(path: Path, raw: RawImage, size: int) -> str:
    """How the copy of an image was made from it."""
    copy = read_image(path)
    if copy.pixels.shape != (size, size):
        height, width = copy.pixels.shape
        raise DataError(f"{path}: has {height} x {width} px, its mask {size} x {size}.")
    scores = {}
    for name, affine in ALIGNMENTS.items():
        prepared = resample(raw.pixels, affine(*raw.shape, size), size)
        scores[name] = abs(float(np.corrcoef(prepared.ravel(), copy.pixels.ravel())[0, 1]))
    best = max(scores, key=lambda name: scores[name])
    if not scores[best] >= _LOWEST_CORRELATION:
        raise DataError(
            f"{path}: is no {', '.join(ALIGNMENTS)} of the dataset's image (correlation {scores[best]:.2f} at "
            "best); the mask cannot be aligned."
        )
    return best


def _uncropped(labels: np.ndarray, affine: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Labels of the small copy -> (H, W) of the image; nearest pixel, 0 outside the copy."""
    rows, columns = (
        np.floor((np.arange(length) - affine[axis, 2]) / affine[axis, axis] + 0.5).astype(int)
        for axis, length in enumerate(shape)
    )
    return gather(labels, rows, columns)

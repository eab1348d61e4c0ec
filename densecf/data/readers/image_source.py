"""Records, image files and masks joined into one source: what every reader of files ends in."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from densecf.data.images import read_image
from densecf.data.profiles import get_profile, spacing_of
from densecf.data.raw_image import RawImage
from densecf.data.readers.mask_source import MaskSource
from densecf.data.readers.paths import FileState, Place, digest_of_files
from densecf.data.records import describe
from densecf.data.sources import Sample
from densecf.data.tones import NoPositiveValue
from densecf.errors import ConfigError, DataError

DEFAULT_CLASSES = ("background", "left_lung", "right_lung")
INVERTED = "MONOCHROME1"


class ImageSource:
    """A `densecf.data.sources.Source` of image files.

    Besides those of `densecf.data.records` these columns matter, where they exist: ``pixel_spacing`` (millimetres
    per pixel) goes before what the file says, with ``original_rows`` as the height it speaks of, for images made
    smaller since; ``photometric`` MONOCHROME1 says that low values are white where the file cannot say it.

    Args:
        records: validated, with ``split``; ``mask_kind`` says which records have a mask.
        images: where the file of each record is.
        states: of these files, for the fingerprint.
        masks: the sources of the masks, of the same classes.
        mask_of: (n,) which of them a record's mask is from, -1 for none.
        profile: "robust", "breast" or "authors".
        facts: further entries of the fingerprint.
        shared_patients: how many patients have records in several splits; above 0 only where that is known and said.

    Raises:
        ConfigError: no such profile, or mask sources of different classes.
    """

    counterfactual_source = ""
    counterfactual_names: tuple[str, ...] = ()

    def __init__(
        self,
        records: pd.DataFrame,
        images: Sequence[Place],
        states: Sequence[FileState],
        masks: Sequence[MaskSource] = (),
        mask_of: np.ndarray | None = None,
        profile: str = "robust",
        facts: dict[str, Any] | None = None,
        shared_patients: int = 0,
    ):
        self.records, self.shared_patients = records, shared_patients
        self.profile = get_profile(profile)
        self.class_names = masks[0].class_names if masks else DEFAULT_CLASSES
        for source in masks[1:]:
            if source.class_names != self.class_names:
                raise ConfigError(
                    f"The masks are of different classes: {', '.join(self.class_names)} and "
                    f"{', '.join(source.class_names)}. Leave one of the sources out, or the heart (--heart)."
                )
        self._images, self._masks = list(images), list(masks)
        self._mask_of = np.full(len(records), -1) if mask_of is None else mask_of
        self._facts = dict(facts or {}) | {"files_sha256": digest_of_files(states)}

    def load(self, row: int, size: int) -> Sample:
        """See `densecf.data.sources.Source.load`."""
        place = self._images[row]
        path = place if isinstance(place, Path) else place.path
        raw = read_image(path, None if isinstance(place, Path) else place.read())
        record = self.records.iloc[row]
        if record.get("photometric") == INVERTED:
            raw = replace(raw, inverted=True)
        try:
            image, affine = self.profile.image(raw, size)
        except NoPositiveValue as error:
            raise DataError(f"{path}: {error}") from error
        labels = None
        if self._mask_of[row] >= 0:
            labels = self._masks[self._mask_of[row]].labels(record["image"], raw)
            if labels is None:
                raise DataError(f"{record['image']}: its mask is no longer there.")
        mask = None if labels is None else self.profile.mask(labels, size, len(self.class_names))
        return Sample(image, mask, affine, spacing_of(affine, _spacing(record, raw)))

    def fingerprint(self) -> dict[str, Any]:
        """The settings, the size and time of change of every file, and what the masks are."""
        facts: dict[str, Any] = {
            "profile": [self.profile.name, self.profile.version],
            "class_names": list(self.class_names),
            "masks": [source.fingerprint() for source in self._masks],
        }
        if self.shared_patients:
            facts["shared_patients"] = self.shared_patients
        return self._facts | facts

    def summary(self) -> str:
        """A few lines for a human: classes, and images, patients and masks of each split."""
        classes = ", ".join(self.class_names[1:]) if self._masks else "none (no masks)"
        return f"profile {self.profile.name}, classes: {classes}\n{describe(self.records)}"


def _spacing(record: pd.Series, raw: RawImage) -> float:
    """Millimetres per pixel of the file."""
    stated = float(record["pixel_spacing"])
    if math.isnan(stated):
        return raw.spacing_mm
    rows = float(record.get("original_rows", math.nan))
    return stated if math.isnan(rows) or rows <= 0 else stated * rows / raw.shape[0]


def join_masks(
    records: pd.DataFrame, masks: Sequence[MaskSource], min_quality: float = 0.0
) -> tuple[pd.DataFrame, np.ndarray, list[str]]:
    """Find the mask of each record by its image id; the first source that has a good one gives it.

    Args:
        records: the table.
        masks: in the order of preference: drawn by hand before silver.
        min_quality: silver masks below this are not used.

    Returns:
        The records with ``mask_kind`` and ``mask_quality``; (n,) the index of the source, -1 for none; and what
        was found, in words.

    Raises:
        DataError: a source that has a mask for none of the images.
    """
    images = records["image"].tolist()
    mask_of, quality = np.full(len(records), -1), np.full(len(records), np.nan)
    report = []
    for index, source in enumerate(masks):
        found = source.quality(images)
        known = ~np.isnan(found)
        if not known.any():
            raise DataError(
                f"Mask source {index + 1} ({source.kind}) has a mask for none of the {len(records):,} images; the "
                f"first image is {images[0]!r}. Is it of another dataset?"
            )
        silver = source.kind == "silver"
        good = known & (found >= min_quality) if silver else known
        new = good & (mask_of < 0)
        mask_of[new], quality[new] = index, found[new]
        words = f"{int(known.sum()):,} of {len(records):,} images have a {source.kind} mask"
        below = f", {int((known & ~good).sum()):,} of them below quality {min_quality:g}" if silver else ""
        report.append(words + below)
        report += source.report(images)
    kinds = np.array([*(source.kind for source in masks), ""], dtype=object)[mask_of]
    records = records.assign(mask_kind=pd.Series(kinds, dtype="str"), mask_quality=quality)
    return records, mask_of, report

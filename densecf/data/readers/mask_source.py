"""Masks that come apart from the images: CheXmask's run lengths, or a folder of masks drawn by hand."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Protocol

import numpy as np

from densecf.data.raw_image import RawImage

_SUFFIXES = {".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff"}


def image_key(image: str, folders: int = 0) -> str:
    """What two names of one image share: the file's name without its suffix, and so many of the folders it is in."""
    path = PurePosixPath(image.strip().replace("\\", "/"))
    if path.suffix.lower() in _SUFFIXES:
        path = path.with_suffix("")
    return "/".join(path.parts[-1 - folders :])


class MaskSource(Protocol):
    """Finds the mask of an image by the image's id, in the image's own pixels, so that every profile applies.

    Must be picklable (worker processes get a copy) and deterministic. An image's id is what the dataset's own table
    calls it, such as ``1234_5.png``.

    Attributes:
        class_names: "background" first.
        kind: "silver" or "manual", what ``mask_kind`` of the records becomes.
    """

    class_names: tuple[str, ...]
    kind: str

    def quality(self, images: Sequence[str]) -> np.ndarray:
        """(n,) float64, larger is better; NaN where there is no mask. Masks drawn by hand have quality 1."""
        ...

    def labels(self, image: str, raw: RawImage) -> np.ndarray | None:
        """The mask of one image.

        Args:
            image: its id.
            raw: its pixels, (H, W).

        Returns:
            (H, W) uint8 class indices; None where `quality` says NaN.

        Raises:
            DataError: there is a mask, but it is damaged or does not fit the image.
        """
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the labels, as JSON values."""
        ...

    def report(self, images: Sequence[str] = ()) -> list[str]:
        """What was odd and how it was taken, one line each, for the user; empty where nothing was.

        Args:
            images: those that masks were sought for; masks drawn by hand that belong to none of them are named.
        """
        ...

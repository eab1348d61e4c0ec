"""Read one grey image from a NIfTI file or pair of files."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from densecf.data.raw_image import RawImage, refuse_huge
from densecf.data.unpacking import gunzip
from densecf.errors import DataError

_NIFTI2 = ((540).to_bytes(4, "little"), (540).to_bytes(4, "big"))


def read_nifti(path: Path) -> RawImage:
    import nibabel

    _check_pair(path)
    image: Any = _unpacked_nifti(path) if path.name.lower().endswith(".gz") else nibabel.load(path)
    shape = image.shape
    if len(shape) < 2 or any(extent != 1 for extent in shape[2:]):
        raise DataError(f"{path}: shape {shape}, expected one 2-D image: (X, Y) or (X, Y, 1).")
    refuse_huge(path, shape[1], shape[0])
    if image.get_data_dtype().fields:
        raise DataError(f"{path}: a colour NIfTI file, expected a grey image.")
    if np.issubdtype(image.get_data_dtype(), np.complexfloating):
        raise DataError(f"{path}: holds complex numbers, expected a grey image.")
    pixels = np.asarray(image.dataobj, dtype=np.float32).reshape(shape[:2])
    x, y = map(float, image.header.get_zooms()[:2])
    millimetres = {"mm": 1.0, "meter": 1000.0, "micron": 0.001}.get(image.header.get_xyzt_units()[0], math.nan)
    return RawImage(np.ascontiguousarray(pixels.T), spacing=(y * millimetres, x * millimetres))


def _check_pair(path: Path) -> None:
    """Raises DataError when the other file of a pair (.hdr, .img) is a link that leads out of the folder."""
    for suffix in (".hdr", ".img") if path.suffix.lower() in (".hdr", ".img") else ():
        other = path.with_suffix(suffix)
        if other.is_symlink() and other != path and other.resolve().parent != path.resolve().parent:
            raise DataError(f"{path}: its other file, {other.name}, is a link that leads out of the folder.")


def _unpacked_nifti(path: Path) -> Any:
    """A gzipped NIfTI file, unpacked in memory: nibabel neither compares the checksum nor minds a bomb."""
    import nibabel

    content = gunzip(path.read_bytes(), path)
    kind = nibabel.Nifti2Image if content[:4] in _NIFTI2 else nibabel.Nifti1Image
    return kind.from_bytes(content)

"""Read one grey image from a DICOM file."""

import io
import math
import struct
from pathlib import Path

import numpy as np

from densecf.data.raw_image import SMALL_TYPES, RawImage, refuse_huge, small_type
from densecf.data.unpacking import inflate
from densecf.errors import DataError

_DEFLATED = b"1.2.840.10008.1.2.1.99"


def read_dicom(path: Path, source: Path | io.BytesIO) -> RawImage:
    import pydicom

    _check_deflated(path, source)
    dataset = pydicom.dcmread(source, force=path.suffix.lower() in (".dcm", ".dicom"))
    if "PixelData" not in dataset:
        raise DataError(f"{path}: this DICOM file holds no image.")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise DataError(f"{path}: this DICOM file holds {frames} frames, expected a single image.")
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise DataError(f"{path}: DICOM {photometric or 'without PhotometricInterpretation'}, expected a grey image.")
    refuse_huge(path, int(dataset.Rows), int(dataset.Columns))
    try:
        stored = dataset.pixel_array
    except (RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"{path}: the pixels of this DICOM file ({dataset.file_meta.TransferSyntaxUID.name}) cannot be decoded: "
            f"{error} Compressed files need a decoder: pip install 'densecf[dicom]'."
        ) from error
    inverted, spacing = photometric == "MONOCHROME1", _spacing(dataset)
    levels = _levels(stored)
    if levels is not None:
        values, window = _values(levels, dataset)
        if values is levels:
            return RawImage(small_type(stored), inverted, spacing)
        # The window counts when the image is not constant in it; for levels that is certain only of the ends.
        if values[0] != values[-1]:
            stored = small_type(stored)
            table = np.zeros(256**stored.dtype.itemsize, np.float32)
            table[levels.view(f"u{stored.dtype.itemsize}")] = values
            return RawImage(stored, inverted, spacing, window, table=table)
    values, window = _values(stored, dataset)
    return RawImage(values.astype(np.float32), inverted, spacing, window)


def _check_deflated(path: Path, source: Path | io.BytesIO) -> None:
    """Raises DataError for a deflated DICOM file that is damaged or a bomb: pydicom unpacks whatever it is given."""
    with open(source, "rb") if isinstance(source, Path) else io.BytesIO(source.getvalue()) as file:
        head = file.read(144)  # preamble, DICM, and the length of the group that names the syntax
        if head[128:136] != b"DICM\x02\0\0\0":
            return
        group = file.read(struct.unpack("<I", head[140:144])[0])
        if _DEFLATED in group:
            inflate(file.read(), path)


def _levels(stored: np.ndarray) -> np.ndarray | None:
    """All whole numbers from the lowest to the highest of an image, in its type; None for wide types."""
    if stored.dtype.newbyteorder("=") not in SMALL_TYPES:
        return None
    return np.arange(int(stored.min()), int(stored.max()) + 1).astype(stored.dtype.newbyteorder("="))


def _values(stored: np.ndarray, dataset) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Values after rescale and VOI LUT or window, number by number, and the window if one was applied."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    values = apply_modality_lut(stored, dataset)
    if "VOILUTSequence" in dataset or "WindowCenter" in dataset:
        windowed = apply_voi_lut(values, dataset, index=0)
        if windowed.min() < windowed.max():
            return windowed, _window(dataset)
    return values, None


def _window(dataset) -> tuple[float, float] | None:
    from pydicom.multival import MultiValue

    if "VOILUTSequence" in dataset or dataset.get("WindowWidth") is None:
        return None
    first = [v[0] if isinstance(v, MultiValue) else v for v in (dataset.WindowCenter, dataset.WindowWidth)]
    return float(first[0]), float(first[1])


def _spacing(dataset) -> tuple[float, float]:
    """PixelSpacing (calibrated), else the detector's divided by the magnification where that is given."""
    if dataset.get("PixelSpacing"):
        row, column = map(float, dataset.PixelSpacing)
    elif dataset.get("ImagerPixelSpacing"):
        magnification = float(dataset.get("EstimatedRadiographicMagnificationFactor") or 1)
        row, column = (float(value) / magnification for value in dataset.ImagerPixelSpacing)
    else:
        return math.nan, math.nan
    return (row, column) if row > 0 and column > 0 else (math.nan, math.nan)

"""Read one grey image, or one mask, from PNG, JPEG, TIFF, DICOM or NIfTI: raw values, rows first.

The content decides the format, not the name. Everything that is wrong with a file is a `DataError`
that names it.
"""

import io
import math
import struct
import warnings
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from densecf.data.unpacking import gunzip, inflate
from densecf.errors import DataError

SMALLEST = 16  # pixels a side
_PNG = b"\x89PNG\r\n\x1a\n"
_PIL_FORMATS = ("PNG", "JPEG", "TIFF")
_SMALL_TYPES = (np.uint8, np.int8, np.uint16, np.int16)
_TIFF_PHOTOMETRIC = 262
_NIFTI2 = ((540).to_bytes(4, "little"), (540).to_bytes(4, "big"))
_DEFLATED = b"1.2.840.10008.1.2.1.99"


@dataclass(frozen=True)
class RawImage:
    """An image as its file holds it.

    Large images stay in the file's own type; what needs their values takes them piece by piece (`values`).

    Attributes:
        stored: (H, W) numbers of any type.
        inverted: the lowest value means white (DICOM MONOCHROME1, TIFF WhiteIsZero); ``pixels`` are as stored.
        spacing: millimetres between (rows, columns); NaN when unknown. The resolution tags of PNG, JPEG
            and TIFF speak of print and are ignored.
        window: the DICOM (centre, width) that was applied, or None.
        white: the largest value that the file's depth allows, 255 or 65535; NaN where it sets no such limit (float and
            32-bit files, DICOM, NIfTI).
        table: (256,) or (65536,) float32, the raw value of each stored number taken as unsigned (for DICOM after
            rescale and VOI LUT or window); None where the stored numbers are the raw values.
    """

    stored: np.ndarray
    inverted: bool = False
    spacing: tuple[float, float] = (math.nan, math.nan)
    window: tuple[float, float] | None = None
    white: float = math.nan
    table: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width = self.stored.shape
        return height, width

    @cached_property
    def pixels(self) -> np.ndarray:
        """(H, W) float32, the raw values of the whole image."""
        return self.values(np.s_[:, :])

    def values(self, part: tuple[slice, slice]) -> np.ndarray:
        """The raw values of a part of the image as float32; not to be written to."""
        if self.table is None:
            return self.stored[part].astype(np.float32, copy=False)
        return self.table[self.index(part)]

    def index(self, part: tuple[slice, slice]) -> np.ndarray:
        """Where the values of a part stand in ``table``."""
        stored = self.stored[part]
        return stored.view(f"u{stored.dtype.itemsize}").astype(np.intp)

    @property
    def spacing_mm(self) -> float:
        """Millimetres per pixel; NaN when unknown or when rows and columns differ by more than 1 %."""
        row, column = self.spacing
        return (row + column) / 2 if abs(row - column) <= 0.01 * row else math.nan


def read_image(path: str | Path, content: bytes | None = None) -> RawImage:
    """Read a radiograph.

    Args:
        path: the file.
        content: its bytes where it lies in an archive; ``path`` then only names it. Not for NIfTI.

    * PNG, JPEG, TIFF: 8 or 16 bit, TIFF also 32-bit integer and float; colours become luminance
      (equal channels are taken as they are), transparency is dropped.
    * DICOM: one frame; rescale and VOI LUT or window are applied unless they make the image constant.
    * NIfTI: (X, Y), (X, Y, 1) or (X, Y, 1, 1). The first axis of NIfTI is x, that is columns, so the
      array is transposed; its orientation matrix is not applied.

    Raises:
        DataError: missing, empty, truncated or unreadable file, several frames, a side below 16 px,
            an image larger than PIL's limit, NaN or infinite values, or a constant image.
    """
    raw = _read(Path(path), False, content)
    low, high = _range(raw)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise DataError(f"{path}: the image holds NaN or infinite values.")
    if low == high:
        raise DataError(f"{path}: the image is constant (every pixel is {low:g}).")
    return raw


def _range(raw: RawImage) -> tuple[float, float]:
    """Two values that differ when not all do, and are finite when all are: the lowest and the highest if need be."""
    ends = raw.stored.min(), raw.stored.max()
    if raw.table is not None and np.isfinite(raw.table).all():
        low, high = (float(raw.table[end.view(f"u{end.dtype.itemsize}")]) for end in ends)
        if low != high:
            return low, high
    if raw.table is not None:
        ends = raw.pixels.min(), raw.pixels.max()
    return float(ends[0]), float(ends[1])


def read_mask(path: str | Path) -> np.ndarray:
    """Read a mask as its stored values, (H, W) float32; a palette image gives its indices.

    Raises:
        DataError: as `read_image`, but a constant mask is let through.
    """
    pixels = _read(Path(path), True, None).pixels
    if not np.isfinite(pixels).all():
        raise DataError(f"{path}: the mask holds NaN or infinite values.")
    return pixels


def _read(path: Path, as_labels: bool, content: bytes | None) -> RawImage:
    head = _head(path) if content is None else content[:132]
    if not head:
        raise DataError(f"{path}: the file is empty (0 bytes).")
    source = path if content is None else io.BytesIO(content)
    try:
        if head.startswith(_PNG):
            _check_png(path, source)
        if head[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom"):
            raw = _read_dicom(path, source)
        elif path.name.lower().endswith((".nii", ".nii.gz", ".hdr", ".img")):
            if content is not None:
                raise DataError(f"{path}: NIfTI files cannot be read from an archive; unpack it.")
            raw = _read_nifti(path)
        else:
            raw = _read_pil(path, source, as_labels)
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{path}: not enough memory to read this file.") from error
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise DataError(f"{path}: unreadable or truncated ({type(error).__name__}: {error}).") from error
    if raw.stored.ndim != 2:  # a damaged DICOM header may tell of several samples or frames
        raise DataError(f"{path}: pixels of shape {raw.stored.shape}, expected one 2-D image.")
    if min(raw.shape) < SMALLEST:
        height, width = raw.shape
        raise DataError(f"{path}: {height} x {width} px (rows x columns) is too small, at least {SMALLEST} are needed.")
    return raw


def _head(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(132)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file.") from error
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read ({error.strerror}).") from error


def _check_png(path: Path, source: Path | io.BytesIO) -> None:
    """Compares the checksums of a PNG's chunks: PIL does not where the pixels are, so that a flipped bit would pass.

    Raises:
        DataError: damaged or cut off.
    """
    with open(source, "rb") if isinstance(source, Path) else io.BytesIO(source.getvalue()) as file:
        file.seek(len(_PNG))
        kind = b""
        while kind != b"IEND":
            length, kind = struct.unpack(">I4s", file.read(8).ljust(8, b"\0"))
            left, crc = length, zlib.crc32(kind)
            while left and (part := file.read(min(left, 1 << 20))):
                left, crc = left - len(part), zlib.crc32(part, crc)
            if left or file.read(4) != crc.to_bytes(4, "big"):
                raise DataError(f"{path}: damaged or cut off (a checksum of this PNG file does not fit).")


def _refuse_huge(path: Path, height: int, width: int) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit and height * width > limit:
        raise DataError(f"{path}: {height} x {width} px is beyond the limit of {limit:,} px (a decompression bomb?).")


def _read_pil(path: Path, source: Path | io.BytesIO, as_labels: bool) -> RawImage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused below, at the same limit
        try:
            image = Image.open(source, formats=_PIL_FORMATS)
        except Image.UnidentifiedImageError as error:
            raise DataError(
                f"{path}: not a PNG, JPEG, TIFF, DICOM (.dcm) or NIfTI (.nii, .nii.gz) file, or damaged, or of a "
                "rare variant that PIL cannot read."
            ) from error
        except Image.DecompressionBombError as error:
            raise DataError(f"{path}: {error}") from error
    with image:
        _refuse_huge(path, image.height, image.width)
        if getattr(image, "n_frames", 1) != 1:
            raise DataError(f"{path}: holds {image.n_frames} images, expected one.")  # type: ignore[attr-defined]
        # PIL turns 8-bit WhiteIsZero around by itself, wider ones not.
        tags = getattr(image, "tag_v2", {})
        inverted = image.mode[0] in "IF" and tags.get(_TIFF_PHOTOMETRIC) == 0
        if image.mode == "P" and as_labels:
            return RawImage(np.asarray(image))
        return RawImage(_grey(path, image), inverted, white=_white(image))


def _white(image: Image.Image) -> float:
    if image.mode == "1":
        return 1
    if image.mode[0] not in "IF":
        return 255
    return 65535 if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG") else math.nan


def _grey(path: Path, image: Image.Image) -> np.ndarray:
    if image.mode in ("P", "PA"):
        image = image.convert("RGB")
    if image.mode not in ("1", "L", "LA", "La", "I", "F", "RGB", "RGBA", "RGBX") and not image.mode.startswith("I;16"):
        raise DataError(f"{path}: colour mode {image.mode} is not supported, expected grey or RGB.")
    pixels = np.asarray(image)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8)
    if pixels.ndim == 2:
        return _small_type(pixels)
    if pixels.shape[2] == 2:
        return np.ascontiguousarray(pixels[..., 0])
    red, green, blue = (pixels[..., i] for i in range(3))
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return np.ascontiguousarray(red)
    red, green, blue = (channel.astype(np.float32) for channel in (red, green, blue))
    return np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue  # ITU-R BT.601, as PIL


def _small_type(pixels: np.ndarray) -> np.ndarray:
    """8 and 16 bit integers as they are, in the machine's byte order; all else as float32."""
    kind = pixels.dtype.newbyteorder("=")
    return pixels.astype(kind if kind in _SMALL_TYPES else np.float32, copy=False)


def _read_dicom(path: Path, source: Path | io.BytesIO) -> RawImage:
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
    _refuse_huge(path, int(dataset.Rows), int(dataset.Columns))
    try:
        stored = dataset.pixel_array
    except (RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"{path}: the pixels of this DICOM file ({dataset.file_meta.TransferSyntaxUID.name}) cannot be decoded: "
            f"{error} Compressed files need a decoder: pip install pylibjpeg[all]."
        ) from error
    inverted, spacing = photometric == "MONOCHROME1", _dicom_spacing(dataset)
    levels = _levels(stored)
    if levels is not None:
        values, window = _dicom_values(levels, dataset)
        if values is levels:
            return RawImage(_small_type(stored), inverted, spacing)
        # The window counts when the image is not constant in it; for levels that is certain only of the ends.
        if values[0] != values[-1]:
            stored = _small_type(stored)
            table = np.zeros(256**stored.dtype.itemsize, np.float32)
            table[levels.view(f"u{stored.dtype.itemsize}")] = values
            return RawImage(stored, inverted, spacing, window, table=table)
    values, window = _dicom_values(stored, dataset)
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
    if stored.dtype.newbyteorder("=") not in _SMALL_TYPES:
        return None
    return np.arange(int(stored.min()), int(stored.max()) + 1).astype(stored.dtype.newbyteorder("="))


def _dicom_values(stored: np.ndarray, dataset) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Values after rescale and VOI LUT or window, number by number, and the window if one was applied."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    values = apply_modality_lut(stored, dataset)
    if "VOILUTSequence" in dataset or "WindowCenter" in dataset:
        windowed = apply_voi_lut(values, dataset, index=0)
        if windowed.min() < windowed.max():
            return windowed, _dicom_window(dataset)
    return values, None


def _dicom_window(dataset) -> tuple[float, float] | None:
    from pydicom.multival import MultiValue

    if "VOILUTSequence" in dataset or dataset.get("WindowWidth") is None:
        return None
    first = [v[0] if isinstance(v, MultiValue) else v for v in (dataset.WindowCenter, dataset.WindowWidth)]
    return float(first[0]), float(first[1])


def _dicom_spacing(dataset) -> tuple[float, float]:
    """PixelSpacing (calibrated), else the detector's divided by the magnification where that is given."""
    if dataset.get("PixelSpacing"):
        row, column = map(float, dataset.PixelSpacing)
    elif dataset.get("ImagerPixelSpacing"):
        magnification = float(dataset.get("EstimatedRadiographicMagnificationFactor") or 1)
        row, column = (float(value) / magnification for value in dataset.ImagerPixelSpacing)
    else:
        return math.nan, math.nan
    return (row, column) if row > 0 and column > 0 else (math.nan, math.nan)


def _read_nifti(path: Path) -> RawImage:
    import nibabel

    _check_pair(path)
    image: Any = _unpacked_nifti(path) if path.name.lower().endswith(".gz") else nibabel.load(path)
    shape = image.shape
    if len(shape) < 2 or any(extent != 1 for extent in shape[2:]):
        raise DataError(f"{path}: shape {shape}, expected one 2-D image: (X, Y) or (X, Y, 1).")
    _refuse_huge(path, shape[1], shape[0])
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

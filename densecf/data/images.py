"""Read one grey image, or one mask, from PNG, JPEG, TIFF, DICOM or NIfTI: raw values, rows first.

The content decides the format, not the name. Everything that is wrong with a file is a `DataError`
that names it.
"""

import io
import math
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from densecf.data.dicom import read_dicom
from densecf.data.nifti import read_nifti
from densecf.data.raw_image import RawImage, refuse_huge, small_type
from densecf.errors import DataError

SMALLEST = 16  # pixels a side
_PNG = b"\x89PNG\r\n\x1a\n"
_PIL_FORMATS = ("PNG", "JPEG", "TIFF")
_TIFF_PHOTOMETRIC = 262


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
            raw = read_dicom(path, source)
        elif path.name.lower().endswith((".nii", ".nii.gz", ".hdr", ".img")):
            if content is not None:
                raise DataError(f"{path}: NIfTI files cannot be read from an archive; unpack it.")
            raw = read_nifti(path)
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
        refuse_huge(path, image.height, image.width)
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
        return small_type(pixels)
    if pixels.shape[2] == 2:
        return np.ascontiguousarray(pixels[..., 0])
    red, green, blue = (pixels[..., i] for i in range(3))
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return np.ascontiguousarray(red)
    red, green, blue = (channel.astype(np.float32) for channel in (red, green, blue))
    return np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue  # ITU-R BT.601, as PIL

"""The files that published datasets are made of: CSV as their owners write it, 16-bit PNG, JPEG, DICOM."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless, generate_uid

Row = Mapping[str, object]


def write_table(path: Path, rows: Sequence[Row], columns: Sequence[str] | None = None) -> Path:
    """A CSV file with the given columns (by default those of the first row) in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(columns or rows[0])
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def scene(seed: int, height: int = 48, width: int = 40, white: int = 4000) -> np.ndarray:
    """(height, width) uint16: a dark ground, a bright block whose place depends on the seed, and noise."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, white // 10, (height, width))
    top, left = rng.integers(4, height // 2), rng.integers(4, width // 2)
    image[top : top + height // 3, left : left + width // 3] += white * 4 // 5
    return image.astype(np.uint16)


def save_png16(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint16)).save(path)
    return path


def save_png8(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def save_jpeg(path: Path, pixels: np.ndarray) -> Path:
    """8 bit, as CheXpert's small release."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels / pixels.max() * 255).astype(np.uint8)).save(path, quality=95)
    return path


def save_dicom(
    path: Path,
    pixels: np.ndarray,
    *,
    bits: int = 12,
    inverted: bool = False,
    slope: float = 1.0,
    intercept: float = 0.0,
    syntax: str = "raw",
    **tags: object,
) -> Path:
    """One frame; ``inverted`` stores white as low values and says MONOCHROME1.

    Args:
        path: where to.
        pixels: (H, W) unsigned, as they are to be seen after rescaling is undone.
        bits: BitsStored; 8 bits are stored in bytes, all others in two.
        inverted: photometric interpretation MONOCHROME1 instead of MONOCHROME2.
        slope, intercept: RescaleSlope and RescaleIntercept.
        syntax: "raw", "rle", "jpeg" (baseline, lossy, 8 bits) or "jpeg2000" (lossless).
        tags: further elements by keyword.
    """
    white = 2**bits - 1
    stored = (white - pixels if inverted else pixels).astype(np.uint8 if bits == 8 else np.uint16)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"  # Digital mammography, for presentation
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.Rows, file.Columns = stored.shape
    file.SamplesPerPixel, file.PixelRepresentation = 1, 0
    file.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    file.BitsAllocated = 8 if bits == 8 else 16
    file.BitsStored, file.HighBit = bits, bits - 1
    file.RescaleSlope, file.RescaleIntercept = slope, intercept
    for name, value in tags.items():
        setattr(file, name, value)
    file.PixelData = stored.tobytes()
    file["PixelData"].VR = "OB" if bits == 8 else "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    if syntax == "rle":
        file.compress(RLELossless)
    elif syntax != "raw":
        how = (
            {"format": "JPEG2000", "irreversible": False} if syntax == "jpeg2000" else {"format": "JPEG", "quality": 95}
        )
        frame = io.BytesIO()
        Image.fromarray(stored).save(frame, **how)
        file.PixelData = encapsulate([frame.getvalue()])
        meta.TransferSyntaxUID = JPEG2000Lossless if syntax == "jpeg2000" else JPEGBaseline8Bit
    pydicom.dcmwrite(path, file, enforce_file_format=True)
    return path

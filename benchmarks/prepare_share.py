"""Throughput of `densecf data prepare` as a share of bare decoding: ``python -m benchmarks.prepare_share``.

Bare decoding opens every file with the same decoder (PIL, pydicom), in the same number of processes of the same
kind, and throws the stored pixels away: work that no way of preparing can avoid. Files are made up at the sizes and
depths of published datasets. The two alternate; figures are medians over rounds. Below: memory of a worker.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from densecf.data.parallel import available_cpus, map_rows
from densecf.data.prepare import prepare
from densecf.data.readers.table import TableSource

BAR, SIZE = 0.8, 224
DIFFERENT = 4  # pictures of each kind; the rest are links to them, which costs a decoder just as much


def radiograph(height: int, width: int, seed: int) -> np.ndarray:
    """(height, width) floats in [0, 1]: a soft thorax with ribs and quantum noise, in a dark border."""
    generator = np.random.default_rng(seed)
    row, column = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    body = np.clip(1.3 - row**2 * 0.3 - column**2 * 1.2, 0, 1)
    lungs = sum(np.exp(-(((column - x) / 0.28) ** 2) - (row / 0.6) ** 2) for x in (-0.42, 0.42))
    ribs = 0.04 * np.sin(40 * row + 6 * column**2) * lungs
    picture = body * (0.85 - 0.55 * lungs) + ribs
    picture += generator.normal(0, 0.008, picture.shape)
    picture[: height // 40] = picture[:, : width // 50] = 0
    return np.clip(picture, 0, 1)


def save_png16(path: Path, picture: np.ndarray) -> None:
    Image.fromarray(np.rint(picture * 4095).astype(np.uint16)).save(path, format="PNG")


def save_png8(path: Path, picture: np.ndarray) -> None:
    Image.fromarray(np.rint(picture * 255).astype(np.uint8)).save(path, format="PNG")


def save_jpeg(path: Path, picture: np.ndarray) -> None:
    Image.fromarray(np.rint(picture * 255).astype(np.uint8)).save(path, format="JPEG", quality=90)


def save_dicom(path: Path, picture: np.ndarray) -> None:
    """MONOCHROME1, 12 of 16 bits, with a window; stored as it is."""
    _dicom(np.rint((1 - picture) * 4095).astype(np.uint16)).save_as(path, enforce_file_format=True)


def save_dicom_jpeg2000(path: Path, picture: np.ndarray) -> None:
    """The same, losslessly compressed."""
    from io import BytesIO

    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEG2000Lossless

    stored, coded = np.rint((1 - picture) * 4095).astype(np.uint16), BytesIO()
    Image.fromarray(stored).save(coded, format="JPEG2000", no_jp2=True)
    dataset = _dicom(stored)
    dataset.PixelData = encapsulate([coded.getvalue()])
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.save_as(path, enforce_file_format=True)


def _dicom(stored: np.ndarray):
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

    dataset = Dataset()
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = generate_uid()
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.PixelData = stored.tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


@dataclass(frozen=True)
class Kind:
    """One sort of file: how it is written, its pixels, and how many make a run of some seconds."""

    save: Callable[[Path, np.ndarray], None]
    suffix: str
    height: int
    width: int
    images: int


KINDS = {
    "PNG 16 bit, 2500 x 2000": Kind(save_png16, ".png", 2500, 2000, 96),
    "PNG 8 bit, 1024 x 1024": Kind(save_png8, ".png", 1024, 1024, 480),
    "JPEG 8 bit, 2500 x 2000": Kind(save_jpeg, ".jpg", 2500, 2000, 128),
    "DICOM MONOCHROME1, JPEG 2000, 3000 x 2400": Kind(save_dicom_jpeg2000, ".dcm", 3000, 2400, 64),
    "DICOM MONOCHROME1, plain, 3000 x 2400": Kind(save_dicom, ".dcm", 3000, 2400, 128),
}


def make_table(folder: Path, kind: Kind) -> Path:
    """Write the files and the table that lists them."""
    folder.mkdir()
    for number in range(DIFFERENT):
        kind.save(folder / f"{number:04d}{kind.suffix}", radiograph(kind.height, kind.width, number))
    for number in range(DIFFERENT, kind.images):
        os.link(folder / f"{number % DIFFERENT:04d}{kind.suffix}", folder / f"{number:04d}{kind.suffix}")
    names = [f"{number:04d}{kind.suffix}" for number in range(kind.images)]
    table = folder / "table.csv"
    table.write_text("image,patient_id,split\n" + "".join(f"{name},{name},train\n" for name in names))
    return table


@dataclass(frozen=True)
class Decode:
    """Callable row -> the process's largest memory in MiB, after decoding that file."""

    paths: list[Path]

    def __call__(self, row: int) -> float:
        path = self.paths[row]
        if path.suffix == ".dcm":
            import pydicom

            pixels = pydicom.dcmread(path).pixel_array
        else:
            with Image.open(path) as image:
                pixels = np.asarray(image)
        assert pixels.ndim == 2
        return largest_memory()


@dataclass(frozen=True)
class Load:
    """Callable row -> the process's largest memory in MiB, after preparing that row."""

    source: TableSource

    def __call__(self, row: int) -> float:
        self.source.load(row, SIZE)
        return largest_memory()


def largest_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(folder: Path, kind: Kind, workers: int, rounds: int) -> tuple[float, float, float]:
    """Median seconds of bare decoding and of `prepare`, and the median share of the rounds."""
    table = make_table(folder / "files", kind)
    source = TableSource(table)
    decode = Decode([table.parent / image for image in source.records["image"]])
    bare, whole = [], []
    for round_ in range(rounds):
        contestants = [
            (bare, lambda: list(map_rows(decode, range(kind.images), workers))),
            (whole, lambda: prepare(source, folder / "out", size=SIZE, workers=workers, progress=False)),
        ]
        for times, run in contestants if round_ % 2 else contestants[::-1]:
            shutil.rmtree(folder / "out", ignore_errors=True)
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    shares = [a / b for a, b in zip(bare, whole, strict=True)]
    return statistics.median(bare), statistics.median(whole), statistics.median(shares)


def memory(folder: Path) -> tuple[float, float]:
    """MiB of a worker above one that decodes: of bare decoding, and of preparing (the largest files, 64 of them)."""
    source = TableSource(folder / "files" / "table.csv")
    decode = Decode([folder / "files" / image for image in source.records["image"]])
    rows = range(min(64, len(source.records)))
    return max(map_rows(decode, rows, 2)), max(map_rows(Load(source), rows, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=available_cpus())
    parser.add_argument("--only", default="", help="kinds of files whose name holds this")
    options = parser.parse_args()
    print(f"{options.workers} processes, prepared at {SIZE} px, medians of {options.rounds} rounds\n")
    print(f"{'':<44} {'bare':>10} {'prepare':>10} {'share':>7} {'memory of a worker':>24}")
    shares = {}
    for name, kind in KINDS.items():
        if options.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            bare, whole, shares[name] = measure(Path(folder), kind, options.workers, options.rounds)
            decoding, preparing = memory(Path(folder))
        rates = f"{kind.images / bare:>7.1f}/s {kind.images / whole:>9.1f}/s {shares[name]:>8.2f}"
        print(f"{name:<44} {rates} {decoding:>10.0f} / {preparing:.0f} MiB", flush=True)
    print(
        f"\nbar: share at least {BAR}; met by {sum(share >= BAR for share in shares.values())} of {len(shares)} kinds"
    )


if __name__ == "__main__":
    main()

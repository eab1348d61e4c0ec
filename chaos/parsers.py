"""Everything that reads a file which a user may hand us: valid examples, how it is read, and a slow second look."""

from __future__ import annotations

import io
import json
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from chaos.fuzz import Parser, json_words

_CSV_WORDS = (
    "image",
    "patient_id",
    "split",
    "train",
    "test",
    "manual",
    "sex",
    "M",
    "F",
    "age",
    "a.png",
    "b.png",
    "../c.png",
    "/etc/passwd",
    ",",
    ",",
    ",",
    "\n",
    "\n",
    "\r\n",
    '"',
    '""',
    ";",
    "\t",
    "1",
    "0",
    "left_lung_mask",
    "\ufeff",
    "é",
    " ",
)
_YAML_WORDS = (
    "a",
    "epochs",
    "optim",
    "lr",
    "views",
    "model",
    "encoder",
    "resnet18",
    ": ",
    ": ",
    "\n",
    "\n",
    "\n  ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "&a ",
    "*a",
    "!!int ",
    "!!python/object:os.system ",
    "2001-99-99",
    "|",
    ">",
    "#",
    "---\n",
    "? ",
    "<<: ",
    "1",
    "-1",
    ".nan",
    ".inf",
    "true",
    "'",
    '"',
    "%YAML 9.9\n",
    "method",
    "vader",
    "scale",
    "0.5",
)


def all_parsers() -> tuple[Parser, ...]:
    """Every parser; building the examples takes a few seconds."""
    return (*_tables(), *_published(), *_texts(), *_images(), *_weights(), *_folders(), *_results())


def byte_parsers() -> tuple[Parser, ...]:
    """Those that need no network and no dataset."""
    return (*_tables(), *_images())


# Tables and run lengths


def _tables() -> list[Parser]:
    from densecf.data.csv_stream import delimiter_of, parse_row, stream_rows
    from densecf.data.csv_table import read_csv_table
    from densecf.data.query import select
    from densecf.data.run_lengths import decode
    from densecf.errors import DataError

    plain = b'image,patient_id,note\na.png,1,"x, ""y"""\nb.png,2,\n\nc.png,3,z\n'
    seeds = (plain, plain.replace(b",", b";"), plain.decode().encode("utf-16"), b"\xef\xbb\xbf" + plain, _gz(plain))

    def streamed(path: Path) -> list[list[str]]:
        with open(path, "rb") as file:
            rows = list(stream_rows(file, str(path)))
        if not rows:
            raise DataError(f"{path}: empty")
        try:
            return [parse_row(row.data, delimiter_of(rows[0])) for row in rows]
        except DataError as error:  # its caller knows the file
            raise DataError(f"{path}: {error}") from error

    def runs(path: Path) -> tuple[str, np.ndarray]:
        text = path.read_bytes().decode("utf-8", "replace")
        try:
            return text, decode(text, 20, 24)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    def chosen(path: Path) -> Any:
        text = path.read_bytes().decode("utf-8", "replace")
        try:
            return text, select(_some_records(), text)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    return [
        Parser("table (CSV)", "table.csv", seeds, read_csv_table, _check_table, _CSV_WORDS),
        Parser("table, row by row", "table.csv", seeds[:2], streamed, _check_streamed, _CSV_WORDS),
        Parser("records of a table", "table.csv", _cohort_seeds(), _read_cohort, _check_cohort, _CSV_WORDS),
        Parser(
            "CheXmask file", "mask.csv", _chexmask_seeds(), _read_chexmask, _check_chexmask, (*_CSV_WORDS, "7 3 17 4")
        ),
        Parser(
            "run lengths",
            "runs",
            (b"7 3 17 4", b"1 480", b"", b"1 1 3 1 5 1 7 1"),
            runs,
            _check_runs,
            (*"0123456789", " ", " ", "-", "1 ", "481", "480 1", "+", "\n", "\t", "٣"),
        ),
        Parser(
            "conditions",
            "where",
            (b"sex=M,age>=30", b'scanner="A, b"', b"age<50"),
            chosen,
            _check_chosen,
            ("sex", "age", "scanner", "=", "!=", ">=", "<", ",", '"', "A", "M", "F", " ", "30", "image"),
        ),
    ]


def _gz(content: bytes) -> bytes:
    import gzip

    return gzip.compress(content, mtime=0)


def _check_table(path: Path, table: Any) -> str:
    got = [list(row) for row in table.frame.itertuples(index=False)]
    expected = _slow_rows(path)[1:]
    return "" if got == expected else f"read {got[:3]}, expected {expected[:3]}"


def _check_streamed(path: Path, rows: list[list[str]]) -> str:
    text = path.read_bytes().decode("utf-8").removeprefix("\ufeff")
    lines = text.split("\n")
    header = next(head for i in range(len(lines)) if (head := "\n".join(lines[: i + 1])).count('"') % 2 == 0)
    delimiter = max(",;\t", key=header.count)
    slow = [[cell.strip() for cell in row] for row in slow_csv(text, delimiter)]
    if "\ufeff" in text or not text.split("\n")[0].strip():
        return ""  # a mark in the middle, or a header after empty lines: the other parser's matter
    slow = [row for row in slow if any(row)]
    return "" if [row for row in rows if any(row)] == slow else f"read {rows[:3]}, expected {slow[:3]}"


def slow_csv(text: str, delimiter: str) -> list[list[str]]:
    """A CSV reader of one character at a time: quotes count at the beginning of a cell, two of them are one."""
    rows: list[list[str]] = []
    row: list[str] = []
    cell, quoted, place = "", False, 0
    fresh = True  # at the beginning of a cell
    while place < len(text):
        sign = text[place]
        if quoted:
            if sign == '"' and text[place + 1 : place + 2] == '"':
                cell, place = cell + '"', place + 1
            elif sign == '"':
                quoted = False
            else:
                cell += sign
        elif sign == '"' and fresh:
            quoted, fresh = True, False
        elif sign == delimiter:
            row, cell, fresh = [*row, cell], "", True
        elif sign in "\r\n":
            rows.append([*row, cell])
            row, cell, fresh = [], "", True
            place += text[place : place + 2] == "\r\n"
        else:
            cell, fresh = cell + sign, False
        place += 1
    return [*rows, [*row, cell]] if row or cell or not fresh else rows


def _check_runs(path: Path, found: tuple[str, np.ndarray]) -> str:
    text, mask = found
    numbers = [int(token) for token in text.split()]
    slow = [0] * (20 * 24)
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        for place in range(start, start + length):
            slow[place - 1] += 1
    if max(slow) > 1 or any(number < 1 for number in numbers):
        return "overlapping or impossible runs were accepted"
    return "" if mask.ravel().astype(int).tolist() == slow else "another mask than the slow one"


@cache
def _some_records() -> Any:
    import pandas as pd

    return pd.DataFrame(
        {
            "image": ["a", "b", "c"],
            "age": [20.0, 40.0, float("nan")],
            "sex": ["M", "F", ""],
            "scanner": ["A, b", "A", ""],
        }
    )


def _check_chosen(path: Path, found: Any) -> str:
    text, chosen = found
    if "," not in text and '"' not in text and text.count("=") == 1 and not set("<>!") & set(text):
        name, _, value = (part.strip() for part in text.partition("="))
        if name == "sex" and chosen.tolist() != [each == value for each in ("M", "F", "")]:
            return f"chose {chosen.tolist()}"
    return "" if chosen.dtype == bool and len(chosen) == 3 else "no booleans"


@cache
def _cohort() -> Path:
    from tests.data.making import cohort

    folder = Path(tempfile.mkdtemp(prefix="densecf-cohort-"))
    cohort(folder, 6)
    return folder


def _cohort_seeds() -> tuple[bytes, ...]:
    plain = (_cohort() / "table.csv").read_bytes()
    return plain, plain.replace(b"images/", b"./images/"), plain.replace(b"\n", b"\r\n")


def _read_cohort(path: Path) -> Any:
    from densecf.data.readers.table import TableSource

    return TableSource(path, root=_cohort())


def _check_cohort(path: Path, source: Any) -> str:
    root = _cohort().resolve()
    for place in source._images:
        if not place.resolve().is_relative_to(root):
            return f"{place} lies outside {root}"
    records = source.records
    if records["image"].duplicated().any() or (records.groupby("patient_id")["split"].nunique() > 1).any():
        return "an image twice, or a patient in two splits"
    return ""


def _chexmask_seeds() -> tuple[bytes, ...]:
    from tests.data.chexmask_rows import cells, save_rows

    with tempfile.TemporaryDirectory() as folder:
        rows = [cells(f"{name}.png", 64, 48) for name in "ab"]
        return (save_rows(Path(folder) / "a.csv", *rows).read_bytes(),)


def _read_chexmask(path: Path) -> Any:
    from densecf.data.raw_image import RawImage
    from densecf.data.readers.chexmask import ChexmaskFile

    masks = ChexmaskFile(path)
    image = RawImage(np.tile(np.arange(48, dtype=np.uint8), (64, 1)))
    return [masks.labels(name, image) for name in ("a.png", "b.png")]


def _check_chexmask(path: Path, found: list) -> str:
    fine = all(each is None or (each.shape == (64, 48) and set(np.unique(each)) <= {0, 1, 2}) for each in found)
    return "" if fine else "labels of another shape or class"


# Published datasets


def _published() -> list[Parser]:
    from densecf.data.readers import DATASETS
    from densecf.data.readers.published import read_dataset
    from tests.data.published.all import CASES

    parsers = []
    for case in CASES:
        if case.name == "embed-ood":
            continue  # the same tables and reader as embed
        folder = Path(tempfile.mkdtemp(prefix=f"densecf-{case.name}-"))
        case.build(folder, 6, images=False)
        table = folder / case.table
        dataset = DATASETS[case.name]
        mapping = dataset.mapping()

        def read(
            path: Path, folder: Path = folder, case: Any = case, dataset: Any = dataset, mapping: Any = mapping
        ) -> Any:
            # The spoilt table takes its own name and place: readers find the others beside it.
            target = folder / case.table
            target.write_bytes(path.read_bytes())
            return read_dataset(dataset, [folder / name for name in case.tables], mapping=mapping)

        content = table.read_bytes()
        words = tuple(dict.fromkeys(content.decode("utf-8", "replace").replace(",", "\n").split("\n")))[:60]
        name = f"table of {case.name}"
        parsers.append(Parser(name, table.name, (content,), read, _check_reading, (*words, ",", ",", ",", "\n", "\n")))
    rsna = json.dumps([{"subset_img_id": "a", "img_id": "b.png"}, {"subset_img_id": "c", "img_id": "d.png"}]).encode()
    from densecf.data.readers.rsna import _read_nih_names

    parsers.append(
        Parser("names of rsna (JSON)", "names.json", (rsna,), _read_nih_names, words=json_words(json.loads(rsna)))
    )
    return parsers


def _check_reading(path: Path, reading: Any) -> str:
    records = reading.records
    if records["image"].duplicated().any():
        return "an image twice"
    if "split" in records and (records.groupby("patient_id")["split"].nunique() > 1).any():
        return "a patient in two splits"
    return ""


# Configs and other texts


def _texts() -> list[Parser]:
    import yaml

    from densecf.benchmark.matrix import read_matrix
    from densecf.config import CounterfactualConfig, FinetuneConfig, PretrainConfig
    from densecf.config_values import load_yaml, to_dict
    from densecf.data.mapping import MAPPINGS, load_mapping
    from densecf.data.readers.manual_masks import _coding_of
    from densecf.data.readers.published import _without
    from densecf.data.splits import Folds

    parsers = []
    for kind in (PretrainConfig, FinetuneConfig, CounterfactualConfig):
        seeds = tuple(
            yaml.safe_dump(values).encode() for values in (to_dict(kind()), {"epochs": 3, "optim": {"lr": 0.1}})
        )

        def check(path: Path, config: Any, kind: type = kind) -> str:
            given = yaml.safe_load(path.read_bytes())
            return "" if config.epochs == int(given.get("epochs", kind().epochs)) else "another number of epochs"

        def read(path: Path, kind: type = kind) -> Any:
            return load_yaml(kind, path)

        parsers.append(Parser(f"config ({kind.__name__})", "config.yaml", seeds, read, check, _YAML_WORDS))
    matrices = tuple(path.read_bytes() for path in sorted(Path("configs/benchmark").glob("*.yaml")))
    folds = {
        "format": 1,
        "num_folds": 2,
        "stratify": "",
        "seed": 0,
        "images": [{"image": f"{i}.png", "patient_id": str(i // 2), "fold": i // 2 % 2} for i in range(6)],
    }
    mappings = tuple(path.read_bytes() for path in sorted(MAPPINGS.glob("*.yaml")))
    reading = _reading()

    def listed(path: Path) -> Any:
        return _without(reading, path)

    return [
        *parsers,
        Parser("comparison (YAML)", "matrix.yaml", matrices, read_matrix, words=_YAML_WORDS),
        Parser(
            "mapping (YAML)",
            "mapping.yaml",
            mappings,
            load_mapping,
            words=(*_YAML_WORDS, "columns", "from", "image", "patient_id"),
        ),
        Parser(
            "coding of masks (YAML)",
            "masks.yaml",
            (b"channels: {left_lung: 2, right_lung: 1}\n", b"values: {left_lung: 1}\n"),
            lambda path: _coding_of(path.parent),
            words=(*_YAML_WORDS, "channels", "values", "files", "left_lung"),
        ),
        Parser(
            "folds (JSON)", "folds.json", (json.dumps(folds).encode(),), Folds.load, _check_folds, json_words(folds)
        ),
        Parser(
            "list of images",
            "list.csv",
            (b"image\n0.png\n3.png\n", b"1.png\n2.png\n"),
            listed,
            _check_listed,
            ("image", "\n", "\n", "0.png", "1.png", "5.png", ",", '"', "ImageID", ";"),
        ),
        Parser("view codes", "views", (b"SDRCE", b"RCE", b"C"), _read_views, _check_views, tuple("SDRCEsdx ")),
    ]


def _read_views(path: Path) -> str:
    from densecf.benchmark.views_code import check_code
    from densecf.errors import ConfigError

    text = path.read_bytes().decode("utf-8", "replace")
    try:
        check_code(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return text


def _check_views(path: Path, code: str) -> str:
    places = ["SDRCE".find(letter) for letter in code]
    return "" if places == sorted(set(places)) and -1 not in places else f"{code!r} was accepted"


def _check_folds(path: Path, folds: Any) -> str:
    entries = json.loads(path.read_text())["images"]
    if len({str(entry["image"]) for entry in entries}) != len(entries):
        return "an image twice"
    of_patient: dict[str, set[int]] = {}
    for entry in entries:
        of_patient.setdefault(str(entry["patient_id"]), set()).add(folds.fold_of[str(entry["image"])])
    return "a patient in two folds" if any(len(found) > 1 for found in of_patient.values()) else ""


def _reading() -> Any:
    import pandas as pd

    from densecf.data.csv_table import CsvTable
    from densecf.data.mapped import Mapped
    from densecf.data.readers.published import Reading

    records = pd.DataFrame({"image": [f"{i}.png" for i in range(6)], "patient_id": [str(i // 2) for i in range(6)]})
    return Reading(records, Mapped(records, CsvTable(records, list(range(2, 8))), []), None, "patient", 0, [])  # type: ignore[arg-type]


def _check_listed(path: Path, reading: Any) -> str:
    text = path.read_text(encoding="utf-8-sig")
    kept = set(reading.records["image"])
    gone = {line.strip() for line in text.splitlines()} & {f"{i}.png" for i in range(6)} & kept
    return f"{sorted(gone)} are listed and still there" if gone and '"' not in text else ""


# Images


def _images() -> list[Parser]:
    from densecf.data.images import read_image, read_mask

    draw = np.random.default_rng(0)
    small = draw.integers(0, 255, (20, 24)).astype(np.uint8)
    wide = draw.integers(0, 65535, (20, 24)).astype(np.uint16)

    def packed(array: np.ndarray, kind: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, kind, **options)
        return buffer.getvalue()

    png = (packed(small, "PNG"), packed(wide, "PNG"), packed(np.stack([small] * 3, -1), "PNG"))
    jpeg = (packed(small, "JPEG"), packed(small, "JPEG", progressive=True))
    tiff = (
        packed(small, "TIFF"),
        packed(wide, "TIFF", compression="tiff_lzw"),
        packed(small.astype(np.float32), "TIFF"),
        packed(small, "TIFF", compression="tiff_deflate"),
    )
    return [
        Parser("PNG", "image.png", png, read_image, _check_png),
        Parser("JPEG", "image.jpg", jpeg, read_image, _check_image),
        Parser("TIFF", "image.tif", tiff, read_image, _check_image),
        Parser("DICOM", "image.dcm", _dicoms(wide), read_image, _check_image),
        Parser("NIfTI", "image.nii", _niftis(small, ""), read_image, _check_image),
        Parser("NIfTI, gzipped", "image.nii.gz", _niftis(small, ".gz"), read_image, _check_gzipped),
        Parser("mask (PNG)", "mask.png", png, read_mask, lambda path, mask: "" if np.isfinite(mask).all() else "NaN"),
        Parser("archive (ZIP)", "images.zip", _zips(png[0]), _read_zip, _check_zip),
    ]


def _check_image(path: Path, raw: Any) -> str:
    height, width = raw.shape
    pixels = raw.pixels
    if min(height, width) < 16 or height * width > Image.MAX_IMAGE_PIXELS:
        return f"a size of {height} x {width}"
    return "" if np.isfinite(pixels).all() and pixels.min() < pixels.max() else "NaN or constant"


def _check_png(path: Path, raw: Any) -> str:
    """A PNG reader of its own: chunks, checksums, inflate, filters."""
    content, place, data, header = path.read_bytes(), 8, b"", None
    if content[:4] != b"\x89PNG":
        return _check_image(path, raw)
    while True:
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        chunk = content[place + 8 : place + 8 + length]
        if content[place + 8 + length : place + 12 + length] != struct.pack(">I", zlib.crc32(kind + chunk)):
            return f"the checksum of {kind!r} does not fit"
        header = chunk if kind == b"IHDR" else header
        data += chunk if kind == b"IDAT" else b""
        place += 12 + length
        if kind == b"IEND":
            break
    assert header is not None
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if interlaced or depth < 8 or colour not in (0, 2):
        return _check_image(path, raw)
    step = depth // 8 * (3 if colour == 2 else 1)
    lines, stride = zlib.decompress(data), width * step
    above, rows = bytearray(stride), []
    for row in range(height):
        start = row * (stride + 1)
        line = bytearray(lines[start + 1 : start + 1 + stride])
        for i in range(len(line)):
            left, up = line[i - step] if i >= step else 0, above[i]
            corner = above[i - step] if i >= step else 0
            line[i] = (line[i] + (0, left, up, (left + up) // 2, _paeth(left, up, corner))[lines[start]]) & 255
        rows.append(np.frombuffer(bytes(line), ">u2" if depth == 16 else np.uint8))
        above = line
    pixels = np.stack(rows).astype(np.float64)
    if colour == 2:
        pixels = pixels.reshape(height, width, 3)
        if (pixels != pixels[..., :1]).any():
            return ""
        pixels = pixels[..., 0]
        pixels = np.floor(pixels / 256) if depth == 16 else pixels  # PIL keeps 8 bits of deep colours
    return "" if raw.shape == pixels.shape and np.array_equal(raw.pixels, pixels) else "other pixels"


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))


def _check_gzipped(path: Path, raw: Any) -> str:
    zlib.decompress(path.read_bytes(), 31)  # raises when the checksum does not fit
    return _check_image(path, raw)


def _dicoms(wide: np.ndarray) -> tuple[bytes, ...]:
    from tests.data.published.files import save_dicom

    with tempfile.TemporaryDirectory() as folder:
        save_dicom(Path(folder) / "a.dcm", wide)
        plain = (Path(folder) / "a.dcm").read_bytes()
    return (plain,)


def _niftis(small: np.ndarray, ending: str) -> tuple[bytes, ...]:
    import nibabel

    found = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, dtype in ((nibabel.Nifti1Image, np.int16), (nibabel.Nifti2Image, np.float32)):
            path = Path(folder) / f"a.nii{ending}"
            nibabel.save(kind(small.astype(dtype), np.eye(4)), path)
            found.append(path.read_bytes())
    return tuple(found)


def _zips(content: bytes) -> tuple[bytes, ...]:
    found = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            archive.writestr("a/b.png", content)
            archive.writestr("c.png", content)
        found.append(buffer.getvalue())
    return tuple(found)


def _read_zip(path: Path) -> dict[str, bytes]:
    from densecf.data.readers.archives import list_archive

    return {name: member.read() for name, member in list_archive(path).items()}


def _check_zip(path: Path, members: dict[str, bytes]) -> str:
    for name in members:
        if name.startswith("/") or ".." in name.split("/"):
            return f"{name} leads out of the archive"
    try:
        with zipfile.ZipFile(path) as archive:
            other = {entry.filename: archive.read(entry) for entry in archive.infolist() if not entry.is_dir()}
    except Exception:
        return ""  # Python's reader is stricter about headers that nobody needs
    return "" if other == members else "other contents than Python's"


# Weights, checkpoints, datasets, runs


def _weights() -> list[Parser]:
    import torch

    from densecf.models.heads import projection_head
    from densecf.models.unet import build_unet
    from densecf.models.weights import load_run, read_weights, save_head, save_weights
    from densecf.training.loop import _steps_done
    from densecf.visualization.colour_space import ColourSpace

    channels = (8, 8, 8, 8, 8)
    facts = {
        "method": "m",
        "encoder": "mobilenet_v2",
        "decoder_channels": list(channels),
        "classes": 3,
        "size": 32,
        "profile": "",
    }
    folder = Path(tempfile.mkdtemp(prefix="densecf-weights-"))
    save_head(projection_head(8, 8, 4), folder / "head.safetensors", {"hidden": 8, "dim": 4})
    head = (folder / "head.safetensors").read_bytes()
    save_weights(build_unet("mobilenet_v2", channels), folder / "weights.safetensors", facts)
    whole = (folder / "weights.safetensors").read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + length])

    def described(path: Path) -> Any:
        """A whole network, of which only the description is spoilt."""
        text = path.read_bytes().decode("utf-8", "replace")
        changed = json.dumps({**header, "__metadata__": {"densecf": text}}).encode()
        file = folder / "description.safetensors"
        with open(file, "wb") as out:
            out.write(struct.pack("<Q", len(changed)) + changed + whole[8 + length :])
        return load_run(file)

    told = json.dumps({"format": "densecf-1", **facts})
    checkpoint = _checkpoints(folder)
    module = torch.nn.Linear(2, 1)
    space = ColourSpace(
        mean=np.zeros(4, np.float32),
        scale=np.ones(4, np.float32),
        landmarks=np.eye(4, dtype=np.float32),
        discs=np.zeros((4, 2), np.float32),
        settings={"weights": "x"},
    )
    space.save(folder / "space.safetensors")
    return [
        Parser("weights (safetensors)", "head.safetensors", (head,), read_weights, _check_weights),
        Parser(
            "description of weights",
            "description",
            (told.encode(),),
            described,
            _check_described,
            json_words(json.loads(told)),
        ),
        Parser("checkpoint", "checkpoint.ckpt", checkpoint, lambda path: _steps_done(path, module), _check_checkpoint),  # type: ignore[arg-type]
        Parser("colour space", "space.safetensors", ((folder / "space.safetensors").read_bytes(),), ColourSpace.load),
    ]


def _check_weights(path: Path, found: Any) -> str:
    tensors, _ = found
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    for name, tensor in tensors.items():
        begin, end = header[name]["data_offsets"]
        if (
            bytes(tensor.contiguous().flatten().view(dtype=__import__("torch").uint8).numpy())
            != content[8 + length + begin : 8 + length + end]
        ):
            return f"{name}: other numbers than in the file"
    return ""


def _check_described(path: Path, run: Any) -> str:
    told = json.loads(path.read_bytes().decode("utf-8", "replace"))
    shape = run.model.segmentation_head[0].weight.shape
    return (
        ""
        if (told["encoder"], int(told["classes"])) == ("mobilenet_v2", shape[0])
        else "another network than described"
    )


TRAP = Path(tempfile.gettempdir()) / "densecf-chaos-executed"
"""What a pickle with a payload would make, if anybody unpickled it."""


class _Payload:
    def __reduce__(self) -> Any:
        return (Path.touch, (TRAP,))


def _checkpoints(folder: Path) -> tuple[bytes, ...]:
    import pickle

    import torch

    content = {
        "state_dict": torch.nn.Linear(2, 1).state_dict(),
        "optimizer_states": [],
        "lr_schedulers": [],
        "loops": {},
        "global_step": 3,
        "epoch": 0,
    }
    torch.save(content, folder / "a.ckpt")
    torch.save({**content, "loops": _Payload()}, folder / "b.ckpt")
    return (folder / "a.ckpt").read_bytes(), (folder / "b.ckpt").read_bytes(), pickle.dumps(_Payload())


def _check_checkpoint(path: Path, steps: int) -> str:
    if TRAP.exists():
        return "a payload was executed"
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    return f"the checksum of {damaged} does not fit" if damaged else ""


def _folders() -> list[Parser]:
    from densecf.data.prepare import prepare
    from densecf.data.prepared import PreparedDataset
    from densecf.data.readers.phantom import PhantomSource
    from densecf.runs import is_finished, read_config, read_provenance

    folder = Path(tempfile.mkdtemp(prefix="densecf-dataset-")) / "data"
    prepare(PhantomSource(num_pretraining=4), folder, size=32, progress=False, workers=1)

    def with_file(name: str) -> Callable[[Path], Any]:
        def read(path: Path) -> Any:
            for other in folder.iterdir():
                target = path.parent / other.name
                if other.name != name and not target.exists():  # no links: they would lead out of the dataset
                    (shutil.copytree if other.is_dir() else shutil.copy)(other, target)
            return PreparedDataset.open(path.parent)

        return read

    meta, records = (folder / "meta.json").read_bytes(), (folder / "records.csv").read_bytes()
    array = (folder / "affines.npy").read_bytes()
    return [
        Parser(
            "dataset: meta.json",
            "meta.json",
            (meta,),
            with_file("meta.json"),
            _check_dataset,
            json_words(json.loads(meta)),
        ),
        Parser("dataset: records.csv", "records.csv", (records,), with_file("records.csv"), _check_dataset, _CSV_WORDS),
        Parser("dataset: affines.npy", "affines.npy", (array,), with_file("affines.npy"), _check_dataset),
        Parser(
            "run: provenance.json",
            "provenance.json",
            (b'{"command": "pretrain", "finished": "x"}',),
            lambda path: (read_provenance(path.parent), is_finished(path.parent)),
            words=json_words({"command": "pretrain", "finished": "x"}),
        ),
        Parser(
            "run: config.yaml",
            "config.yaml",
            (b"data: phantom\nmethod: vader\n",),
            lambda path: read_config(path.parent),
            words=_YAML_WORDS,
        ),
    ]


def _check_dataset(path: Path, data: Any) -> str:
    n, size = len(data), data.size
    if data.images.shape != (n, size, size) or data.affines.shape != (n, 3, 3) or len(data.records) != n:
        return "arrays that do not fit the records"
    root = data.path.resolve()
    inside = all((root / name).resolve().is_relative_to(root) for name in data.meta["files"])
    return "" if inside else "files elsewhere"


# Results of a run


def _results() -> list[Parser]:
    from densecf.evaluation.result_files import read_cases, read_curves, read_summary

    seen = b'image,patient_id\na.png,1\n"b, c.png",NA\nd.png,017\n'
    cases = (
        b"case,patient_id,fold,pleural_effusion,dsc,hd95,asd,n_missed,hd95_mm,asd_mm,lung_dsc\n"
        b"a.png,1,0,1.0,91.25,3.5,0.75,0,,,91.25\nNA,017,1,,0.0,45.254833995939045,45.254833995939045,1,1e-05,,\n"
    )
    curves = b"fold,epoch,subset,dsc,hd95,asd\n0,10,all,91.25,3.5,0.75\n0,10,pe,,,\n1,10,nf,80.1,4.0,1e-05\n"
    summary = {
        "dsc": {"mean": 91.25, "std": 0.5},
        "dsc_pe": {"mean": None, "std": None},
        "n_missed": {"mean": 0.5, "std": 0.5, "total": 1},
    }
    of_cases = (*cases.decode().replace("\n", ",").split(","), ",", ",", ",", "\n", "\n")
    of_curves = (*curves.decode().replace("\n", ",").split(","), ",", ",", ",", "\n", "\n")
    told = json.dumps(summary).encode()
    return [
        Parser("run: records.csv", "records.csv", (seen,), _read_seen, _check_seen, _CSV_WORDS),
        Parser("run: cases.csv", "cases.csv", (cases,), read_cases, _check_figures, of_cases),
        Parser("run: curves.csv", "curves.csv", (curves,), read_curves, _check_figures, of_curves),
        Parser("run: summary.json", "summary.json", (told,), read_summary, _check_summary, json_words(summary)),
    ]


def _read_seen(path: Path) -> Any:
    from densecf.data.seen import seen_records

    return seen_records(path.parent)


def _check_seen(path: Path, records: Any) -> str:
    """Whoever is named by the file is known by that name."""
    rows = _slow_rows(path)
    found = [list(row) for row in records.itertuples(index=False)]
    return "" if found == rows[1:] and rows[0] == ["image", "patient_id"] else f"read {found[:3]}, expected {rows[:4]}"


def _check_figures(path: Path, table: Any) -> str:
    """Cell by cell: a name is what stands there, a number the nearest one, and nothing is NaN."""
    header, *rows = _slow_rows(path)
    if len(rows) != len(table):
        return f"{len(table)} rows of {len(rows)}"
    for name in table.columns:
        place = header.index(name)
        for row, value in zip(rows, table[name], strict=True):
            if isinstance(value, str):
                fits = value == row[place]
            else:
                fits = value != value if not row[place] else float(Fraction(row[place])) == value
            if not fits:
                return f"{name}: read {value!r} from {row[place]!r}"
    return ""


def _slow_rows(path: Path) -> list[list[str]]:
    """The header and the rows of a table, by `slow_csv`."""
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = zlib.decompress(content, 31)
    text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    first = next(line for line in text.splitlines() if line.strip())
    rows = [[cell.strip() for cell in row] for row in slow_csv(text, max(",;\t", key=first.count))]
    rows = [row for row in rows if any(row)]
    width = max(i for i, name in enumerate(rows[0]) if name) + 1
    return [row[:width] for row in rows]


def _check_summary(path: Path, summary: Any) -> str:
    """The tables are made of it."""
    from densecf.evaluation.tables import summaries_markdown

    text = summaries_markdown({"run": summary}, "Runs")
    return "NaN or infinite" if "nan" in text.lower() or "inf" in text.lower() else ""

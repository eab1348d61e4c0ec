"""A folder of counterfactual images, made by any other program, becomes a source of a prepared dataset.

The authors' code stores one PNG for each record and intervention: ``{stem}_sc.png``, ``{stem}_pe.png``,
``{stem}_sc_pe.png``. It then divides every PNG by its own maximum when it reads it, so that a counterfactual gets
another gain than its real image. Here grey levels are taken as they are, black 0 and white the file's full range,
which is the scale on which a generator wrote them; ``gain="own"`` gives each image its own window, as the dataset's
profile does with real ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from densecf.data.counterfactual_arrays import write_counterfactuals
from densecf.data.images import read_image
from densecf.data.intervention_names import split_terms
from densecf.data.layout import counterfactual_file
from densecf.data.prepared import PreparedDataset
from densecf.data.problems import Problems
from densecf.data.profiles import Profile, get_profile
from densecf.data.raw_image import RawImage
from densecf.data.readers.paths import TableRoot, digest_of_files
from densecf.data.resampling import resample
from densecf.data.tones import NoPositiveValue
from densecf.errors import ConfigError, DataError

GAINS = ("real", "own")
_ENDINGS = (".nii.gz", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom", ".nii")
_TERM = re.compile(r"[^=+]+=[^=]+")  # values may hold a plus
_BATCH = 16
_LOOKED_AT = 64  # records that are compared with their real images


def parse_names(texts: Sequence[str]) -> dict[str, str]:
    """``sc_pe=scanner=other+pleural_effusion=other``: what stands in the file names -> the intervention.

    Raises:
        ConfigError: lists everything that cannot be read, and what is given twice.
    """
    found: dict[str, str] = {}
    wrong = []
    for text in texts:
        name, _, intervention = text.partition("=")
        if not name or not all(_TERM.fullmatch(term) for term in split_terms(intervention)):
            wrong.append(f"{text!r} cannot be read")
        elif name in found or intervention in found.values():
            wrong.append(f"{text!r} repeats a name or an intervention")
        found[name] = intervention
    if wrong or not texts:
        raise ConfigError(
            f"--names: {'; '.join(wrong) or 'nothing is given'}. Write what stands in the file names, =, and the "
            "intervention, e.g. sc=scanner=other sc_pe=scanner=other+pleural_effusion=other."
        )
    return found


def image_stem(image: str) -> str:
    """The file name of a record without folder and image ending: "a/b.1.png" -> "b.1", "c.nii.gz" -> "c"."""
    name = Path(image).name
    ending = next((ending for ending in _ENDINGS if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def import_counterfactuals(
    dataset: PreparedDataset,
    folder: str | Path,
    names: Mapping[str, str],
    *,
    pattern: str = "{stem}_{name}.png",
    source: str = "imported",
    gain: str = "real",
    overwrite: bool = False,
    progress: bool = True,
) -> PreparedDataset:
    """Store the images of a folder as counterfactuals; every record needs one for each intervention.

    Images are brought to the dataset's size by the geometry of its profile, so they show either what the original
    files show, or what the prepared images do. A killed import goes on when it is called again.

    Args:
        dataset: the dataset to add to.
        folder: where the images are; nothing outside it is read.
        names: what stands in the file names -> intervention, see `parse_names`.
        pattern: file name in the folder: {stem} is the record's image without its ending, {name} from ``names``.
        source: name that they are stored under.
        gain: "real" takes grey levels as they are, black to the file's full range; "own" gives each image the
            intensity window of the dataset's profile.
        overwrite: replace counterfactuals of these names.
        progress: show a progress bar.

    Returns:
        The dataset, opened anew.

    Raises:
        ConfigError: pattern, names or gain cannot be used.
        DataError: files are missing (all of them are reported), outside the folder, or cannot be read.
    """
    _check(names, pattern, source, gain)
    folder, images = Path(folder), dataset.records["image"].tolist()
    files = _file_names(images, names, pattern)
    root = TableRoot(folder, option="--from")
    paths, states = root.resolve_all(files, list(files.columns), images, str(folder), must_exist=True)
    profile = get_profile(dataset.meta["profile"] or "robust")
    reader = _Reader(dataset, [paths[name] for name in names.values()], profile, gain, progress)
    _compare(dataset, reader, tuple(names.values()))
    provenance = {
        "made_by": "imported images",
        "folder": str(root.root),
        "pattern": pattern,
        "gain": gain,
        "profile": [profile.name, profile.version],
    }
    plan = {"files_sha256": digest_of_files(states), "names": dict(names)}
    return write_counterfactuals(
        dataset, source, tuple(names.values()), reader.blocks, provenance, plan=plan, overwrite=overwrite
    )


def _check(names: Mapping[str, str], pattern: str, source: str, gain: str) -> None:
    unknown = sorted(set(re.findall(r"\{[^{}]*\}", pattern)) - {"{stem}", "{name}"})
    if unknown or "{stem}" not in pattern or ("{name}" not in pattern and len(names) > 1):
        raise ConfigError(
            f"--pattern {pattern!r}: expected a file name with {{stem}} (the record's image without its ending) and "
            "{name} (see --names)" + (f", and not {', '.join(unknown)}" if unknown else "") + "."
        )
    if gain not in GAINS:
        raise ConfigError(f"--gain {gain}: expected one of {', '.join(GAINS)}.")
    for name in names.values():
        counterfactual_file(source, name)


def _file_names(images: Sequence[str], names: Mapping[str, str], pattern: str) -> pd.DataFrame:
    """The files relative to the folder: a row for each record, a column for each intervention."""
    stems = [image_stem(image) for image in images]
    first: dict[str, str] = {}
    problems = Problems()
    for stem, image in zip(stems, images, strict=True):
        if first.setdefault(stem, image) != image:
            problems.add(image, f"has the same file name as {first[stem]}")
    problems.raise_if_any(
        "Records that the pattern cannot tell apart", "Give their images different file names, and prepare them again."
    )
    return pd.DataFrame(
        {
            intervention: [pattern.replace("{stem}", stem).replace("{name}", name) for stem in stems]
            for name, intervention in names.items()
        }
    )


class _Reader:
    """Images of a folder as the blocks that `write_counterfactuals` stores."""

    def __init__(
        self, dataset: PreparedDataset, paths: Sequence[Sequence[Path]], profile: Profile, gain: str, progress: bool
    ):
        self.paths, self.size, self.rows = paths, dataset.size, len(dataset)
        self.profile, self.gain, self.progress = profile, gain, progress

    def blocks(self, first: int) -> Iterator[np.ndarray]:
        bar = tqdm(total=self.rows, initial=first, desc="import", unit="record", disable=not self.progress)
        with bar:
            for start in range(first, self.rows, _BATCH):
                rows = range(start, min(start + _BATCH, self.rows))
                yield np.stack([[self.image(number, row) for row in rows] for number in range(len(self.paths))])
                bar.update(len(rows))

    def image(self, number: int, row: int) -> np.ndarray:
        """The image of an intervention and a record, (S, S) float32 in [0, 1]."""
        path = self.paths[number][row]
        raw = read_image(path)
        try:
            if self.gain == "own":
                return self.profile.image(raw, self.size)[0]
            height, width = raw.shape
            affine = self.profile.affine(height, width, self.size)
            return np.clip(resample(as_stored(raw), affine, self.size), 0, 1)
        except NoPositiveValue as error:
            raise DataError(f"{path}: {error}") from None
        except ValueError as error:
            raise DataError(f"{path}: {error}, so its grey levels have no scale; use --gain own.") from None


def as_stored(raw: RawImage) -> np.ndarray:
    """Grey levels of a file as they are: its black 0, its white 1; (H, W) float32.

    Raises:
        ValueError: neither 8- nor 16-bit pixels, nor floats in [0, 1].
    """
    white = raw.white
    if not np.isfinite(white):
        if raw.pixels.min() < 0 or raw.pixels.max() > 1:
            raise ValueError("neither an 8- or 16-bit image nor one of values from 0 to 1")
        white = 1
    image = raw.pixels / np.float32(white)
    return 1 - image if raw.inverted else image


def _compare(dataset: PreparedDataset, reader: _Reader, names: Sequence[str]) -> None:
    """Say how the images lie to their real ones: another gain, a shifted or a foreign image shows before training."""
    rows = np.unique(np.linspace(0, len(dataset) - 1, min(_LOOKED_AT, len(dataset))).round().astype(int))
    doubtful = []
    for number, name in enumerate(names):
        levels, alike = [], []
        for row in rows:
            real, image = dataset.image(row), reader.image(number, row)
            levels.append(float(image.mean()) / max(float(real.mean()), 1e-6))
            deviations = max(float(real.std() * image.std()), 1e-12)
            alike.append(float(((real - real.mean()) * (image - image.mean())).mean()) / deviations)
        level, correlation = float(np.median(levels)), float(np.median(alike))
        print(f"{name}: grey level {level:.2f} times that of the real images, correlation with them {correlation:.2f}")
        if not 2 / 3 < level < 3 / 2 or correlation < 0.5:
            doubtful.append(name)
    if doubtful:
        print(
            f"Note: {', '.join(doubtful)}: hardly like the real images. If it is the grey level: were they made from "
            "images of another window (--gain own gives each its own)? If it is the correlation: were they cropped "
            "otherwise, or are they of other records?"
        )

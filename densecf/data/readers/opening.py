"""From a dataset's records to a source that can be prepared: files found, masks joined, drawn masks set apart."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from densecf.data.manual_split import assign_split
from densecf.data.mapping import Masks, template_columns
from densecf.data.problems import Problems
from densecf.data.query import select
from densecf.data.readers.image_source import ImageSource, join_masks
from densecf.data.readers.mask_files import FileMasks, RunLengthMasks
from densecf.data.readers.mask_source import MaskSource
from densecf.data.readers.paths import FileState, TableRoot
from densecf.data.readers.published import Reading
from densecf.data.records import is_missing, shared_patients
from densecf.errors import DataError
from densecf.files import sha256_of_file


@dataclass(frozen=True)
class Opened:
    """A source, and what was left out or odd on the way, for the user."""

    source: ImageSource
    report: list[str]


def open_source(
    reading: Reading,
    tables: Sequence[Path],
    images: Path,
    *,
    profile: str = "robust",
    masks: Sequence[MaskSource] = (),
    min_quality: float = 0.0,
    manual: str = "",
    max_bad: float = 0.0,
) -> Opened:
    """Find the files of all records and join their masks.

    Records whose mask comes from one of ``masks`` that is drawn by hand become the split "manual". Other images of
    their patients are left out, unless the split is the published one: then they stay, and are counted.

    Args:
        reading: the records.
        tables: their files, for the fingerprint.
        images: the folder of the images.
        profile: "robust", "breast" or "authors".
        masks: sources beyond those of the mapping, drawn by hand before silver.
        min_quality: silver masks below this are not used.
        manual: where the mapping says nothing of a split: the condition for the manual split.
        max_bad: the share of image files that may be missing.

    Raises:
        DataError: files or masks that cannot be used.
    """
    where = ", ".join(str(path) for path in tables)
    root = TableRoot(images, "--images")
    report = list(reading.report)
    own, own_states = _mapped_masks(reading, root, where)
    records, mask_of, found = join_masks(reading.records, [*masks, *own], min_quality)
    reading = replace(reading, records=records)
    report += found
    if "split" in records:
        if manual:
            raise DataError(f"{where}: the mapping gives a split, so the condition {manual!r} has no effect.")
        reading, mask_of, words = _set_manual_apart(reading, masks, mask_of)
        report += words
    else:
        chosen = select(records, manual) if manual else None
        reading = replace(reading, records=records.assign(split=assign_split(records, chosen)))
    candidates = [reading.mapped.fill(template) for template in reading.mapping.files]
    places, states = root.find_all(candidates, reading.places, where, max_bad)
    missing = sum(state.size < 0 for state in states)
    if missing:
        report.append(f"{missing:,} of {len(states):,} image files are missing")
    facts = {
        "reader": reading.mapping.name,
        "tables_sha256": [sha256_of_file(path) for path in tables if path.is_file()],
        "mapping": reading.mapping.model_dump(mode="json", exclude_defaults=True),
        "split": reading.split,
    }
    source = ImageSource(
        reading.records,
        places,
        [*states, *own_states],
        [*masks, *own],
        mask_of,
        profile,
        facts,
        reading.shared_patients,
    )
    return Opened(source, report)


def _set_manual_apart(
    reading: Reading, masks: Sequence[MaskSource], mask_of: np.ndarray
) -> tuple[Reading, np.ndarray, list[str]]:
    """Give records with a mask drawn by hand the split "manual"."""
    by_hand = [index for index, source in enumerate(masks) if source.kind == "manual"]
    drawn = np.isin(mask_of, by_hand)
    if not drawn.any():
        return reading, mask_of, []
    records = reading.records
    split = pd.Series(np.where(drawn, "manual", records["split"]), dtype="str")
    patients = records["patient_id"]
    others = patients.isin(set(patients[drawn])).to_numpy() & ~drawn
    words = [f"{int(drawn.sum()):,} images with masks drawn by hand are the manual split"]
    reading = replace(reading, records=records.assign(split=split))
    if not others.any():
        return reading, mask_of, words
    if reading.split == "published":
        shared = shared_patients(reading.records)
        words.append(f"{len(shared):,} patients are in more than one part now: the published split keeps their images")
        return replace(reading, shared_patients=len(shared)), mask_of, words
    words.append(f"{int(others.sum()):,} other images of their patients are left out")
    return reading.take(~others), mask_of[~others], words


def _mapped_masks(reading: Reading, root: TableRoot, where: str) -> tuple[list[MaskSource], list[FileState]]:
    """The masks that the mapping itself speaks of."""
    masks = reading.mapping.masks
    if masks is None:
        return [], []
    if masks.rle:
        return [_run_lengths(reading, masks, where)], []
    templates = [masks.labels] if masks.labels else list(masks.files.values())
    names = [f"mask {template}" for template in templates]  # what messages call them
    empty = set().union(*(_rows_with_gaps(reading, template) for template in templates))
    frame = pd.DataFrame(
        {
            name: ["" if row in empty else text for row, text in enumerate(reading.mapped.fill(template))]
            for name, template in zip(names, templates, strict=True)
        }
    )
    paths, states = root.resolve_all(frame, names, reading.places, where, not masks.optional)
    exists = np.array([state.size >= 0 for state in states]).reshape(-1, len(templates)) if states else np.zeros((0, 1))
    rows = [row for row in range(len(frame)) if row not in empty]
    problems = Problems()
    files = {}
    for row, present in zip(rows, exists, strict=True):
        if present.all():
            files[reading.records["image"].iloc[row]] = [paths[name][row] for name in names]
        elif present.any():
            absent = [frame[name].iloc[row] for name, there in zip(names, present, strict=True) if not there]
            problems.add(reading.places[row], f"{', '.join(absent)} is missing while others are there")
    problems.raise_if_any(f"{where}: masks that cannot be used")
    quality = _stated_quality(reading)
    values = {value: masks.class_names.index(name) for value, name in masks.values.items()}
    return [FileMasks(masks.class_names, files, bool(masks.labels), states, masks.kind, values, quality)], states


def _rows_with_gaps(reading: Reading, template: str) -> set[int]:
    """Rows in which a column that the template names is empty: they have no mask."""
    records, table = reading.mapped.records, reading.mapped.table.frame
    cells = [(records if name in records else table)[name] for name in template_columns(template)]
    return {int(row) for column in cells for row in np.flatnonzero(column.map(is_missing))}


def _stated_quality(reading: Reading) -> dict[str, float]:
    """The quality that the mapping gives each mask, where it does."""
    records = reading.records
    if "mask_quality" not in records:
        return {}
    known = records[records["mask_quality"].notna()]
    return dict(zip(known["image"], known["mask_quality"], strict=True))


def _run_lengths(reading: Reading, masks: Masks, where: str) -> RunLengthMasks:
    frame, images = reading.mapped.table.frame, reading.records["image"].tolist()
    texts = [frame[column].tolist() for column in masks.rle.values()]
    given = [any(not is_missing(cells[row]) for cells in texts) for row in range(len(images))]
    runs = {
        image: ["" if is_missing(cells[row]) else cells[row] for cells in texts]
        for row, image in enumerate(images)
        if given[row]
    }
    sizes: dict[str, tuple[int, int]] = {}
    problems = Problems()
    if masks.height:
        for row, (height, width) in enumerate(zip(frame[masks.height], frame[masks.width], strict=True)):
            try:
                if given[row] and not (is_missing(height) and is_missing(width)):
                    sizes[images[row]] = int(float(height)), int(float(width))
            except (ValueError, OverflowError):
                size = f"{masks.height} is {height!r} and {masks.width} is {width!r}"
                problems.add(reading.places[row], f"{size}, expected pixels, or both empty")
    problems.raise_if_any(f"{where}: rows that cannot be used")
    quality = _stated_quality(reading)
    return RunLengthMasks(masks.class_names, runs, sizes, masks.order == "columns", masks.kind, quality)

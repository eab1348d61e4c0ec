"""``densecf data prepare``: any source becomes a prepared dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from densecf.commands.options import PreparePhantomOptions, PreparePublishedOptions, PrepareTableOptions
from densecf.data.prepare import prepare
from densecf.data.prepared import PreparedDataset
from densecf.data.records import describe
from densecf.errors import ConfigError
from densecf.files import atomic_path

if TYPE_CHECKING:
    from densecf.data.readers.image_source import ImageSource

EXAMPLES = "examples"


def prepare_table(options: PrepareTableOptions) -> PreparedDataset:
    """Prepares the images of a table, and says what the dataset holds."""
    from densecf.data.readers.table import TableSource

    check_size(options.size)
    if options.mapping is not None:
        return _prepare_mapped(options, options.mapping)
    source = TableSource(
        options.table,
        root=options.root,
        profile=options.profile,
        manual=options.manual,
        class_names=options.class_names or None,
        check_files=not options.skip_bad,
    )
    return _prepare_table(source, options)


def _prepare_mapped(options: PrepareTableOptions, path: Path) -> PreparedDataset:
    from densecf.data.mapping import load_mapping
    from densecf.data.readers.opening import open_source
    from densecf.data.readers.published import PublishedDataset, read_dataset

    if options.class_names:
        raise ConfigError(f"--class-names: the classes are those of {path}; leave this option out.")
    mapping = load_mapping(path)
    dataset = PublishedDataset(mapping.name, mapping.name, str(options.table))
    reading = read_dataset(dataset, options.table, mapping=mapping, split=options.split)
    opened = open_source(
        reading,
        [options.table],
        options.root or options.table.parent,
        profile=options.profile,
        manual=options.manual,
        max_bad=1.0 if options.skip_bad else 0.0,
    )
    for line in opened.report:
        print(line)
    return _prepare_table(opened.source, options)


def _prepare_table(source: ImageSource, options: PrepareTableOptions) -> PreparedDataset:
    data = prepare_source(source, options, skip_bad=options.skip_bad)
    for split in ("train", "manual"):
        if split not in set(data.records["split"]):
            print(f"Note: no record is in the split {split!r}; --manual, or a split column, decides")
    return data


def prepare_source(
    source: ImageSource,
    options: PrepareTableOptions | PreparePublishedOptions,
    *,
    skip_bad: bool,
    max_bad: float = 1.0,
) -> PreparedDataset:
    """Prepares a table's images as the options say, and prints what was left out and where the dataset is."""
    print(source.summary())
    data = prepare(
        source,
        options.out,
        size=options.size,
        workers=options.workers or None,
        overwrite=options.overwrite,
        skip_bad=skip_bad,
        max_bad=max_bad,
        progress=not options.quiet,
    )
    dropped = len(source.records) - len(data)
    if dropped:
        print(f"{dropped} images could not be used and were left out; they are listed in {data.path / 'skipped.csv'}")
    print(f"Dataset ({data.status}): {data.path}")
    return data


def prepare_phantom(options: PreparePhantomOptions) -> PreparedDataset:
    """Prepares procedural radiographs, and says what the dataset holds."""
    from densecf.commands.datasets import PHANTOM_FOLDER
    from densecf.data.readers.phantom import OpacitySource, PhantomSource

    check_size(options.size)
    if options.task == "opacity":
        source: PhantomSource = OpacitySource(options.images or 2500, seed=options.seed)
    else:
        source = PhantomSource(options.images or 1000, seed=options.seed)
    out = options.out or PHANTOM_FOLDER.with_name("-".join(filter(None, (PHANTOM_FOLDER.name, options.task))))
    print(describe(source.records))
    if options.task:
        print(source.records.groupby(["split", "scanner"], sort=False)[options.task].agg(["size", "mean"]).round(3))
    data = prepare(
        source,
        out,
        size=options.size,
        workers=options.workers or None,
        overwrite=options.overwrite,
        progress=not options.quiet,
    )
    print(f"Examples: {', '.join(map(str, save_examples(data)))}")
    print(f"Dataset ({data.status}): {data.path}")
    return data


def check_size(size: int) -> None:
    """Raises ConfigError unless the U-Net can take images of this side."""
    if size < 32 or size % 32:
        raise ConfigError(
            f"--size {size}: the U-Net halves images five times; use a multiple of 32, "
            f"such as {max(32, round(size / 32) * 32)}"
        )


def save_examples(data: PreparedDataset, count: int = 2) -> list[Path]:
    """A few images of the manual (else the test) split as PNG files, for trying commands that take image files."""
    split = "manual" if "manual" in set(data.records["split"]) else "test"
    records = data.records[data.records["split"] == split]
    rows = [group.index[0] for _, group in records.groupby("pleural_effusion")][:count]
    folder = data.path / EXAMPLES
    paths = []
    for row in rows:
        kind = "effusion" if data.records.iloc[row]["pleural_effusion"] == 1 else "no_finding"
        paths.append(folder / f"{kind}.png")
        with atomic_path(paths[-1]) as temporary:
            Image.fromarray(np.asarray(data.images[row])).save(temporary)
    return paths

"""``densecf data prepare padchest`` and the other published datasets."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from densecf.commands.options import PreparePublishedOptions
from densecf.commands.prepare import check_size, prepare_source
from densecf.data.prepared import PreparedDataset
from densecf.errors import ConfigError
from densecf.files import explained_os_errors

if TYPE_CHECKING:
    import pandas as pd

    from densecf.data.readers.image_source import ImageSource
    from densecf.data.readers.mask_source import MaskSource
    from densecf.data.readers.published import Reading


def prepare_published(name: str, options: PreparePublishedOptions) -> PreparedDataset:
    """Prepares a dataset of `densecf.data.readers.DATASETS`, and says what was left out and what it holds."""
    from densecf.data.readers import get_dataset
    from densecf.data.readers.published import read_dataset

    check_size(options.size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # shared patients: in the report too
        reading = read_dataset(
            get_dataset(name),
            options.table,
            split=options.split,
            exclude=options.exclude,
            related_effusion=options.related_effusion,
        )
    with _scratch_folder(options) as scratch:
        source, report = _open(reading, options, scratch)
        for line in report:
            print(line)
        return prepare_source(source, options, skip_bad=True, max_bad=options.max_bad)


@contextmanager
def _scratch_folder(options: PreparePublishedOptions) -> Iterator[Path]:
    """Where the wanted rows of a gzipped CheXmask file are unpacked: beside the dataset, for they may be large."""
    with ExitStack() as stack:
        with explained_os_errors(options.out):
            options.out.parent.mkdir(parents=True, exist_ok=True)
            scratch = tempfile.TemporaryDirectory(prefix=".masks-", dir=options.out.parent)
            folder = stack.enter_context(scratch)
        yield Path(folder)


def _open(reading: Reading, options: PreparePublishedOptions, scratch: Path) -> tuple[ImageSource, list[str]]:
    if options.manual_copies:
        from densecf.data.readers.manual_masks import manual_source

        if len(options.manual_masks) != 1:
            raise ConfigError("--manual-copies needs --manual-masks with one folder.")
        return manual_source(options.manual_masks[0], reading.records, options.profile), reading.report
    if options.images is None:
        raise ConfigError("--images is needed: the folder of the images as downloaded.")
    from densecf.data.readers.opening import open_source

    opened = open_source(
        reading,
        options.table,
        options.images,
        profile=options.profile,
        masks=_mask_sources(options, reading.records, scratch),
        min_quality=options.min_quality,
        max_bad=options.max_bad,
    )
    return opened.source, opened.report


def _mask_sources(options: PreparePublishedOptions, records: pd.DataFrame, scratch: Path) -> list[MaskSource]:
    """Drawn by hand before silver: the first that has a mask gives it."""
    sources: list[MaskSource] = []
    if options.manual_masks:
        from densecf.data.readers.manual_masks import ManualMasks

        sources += [ManualMasks(folder) for folder in options.manual_masks]
    if options.chexmask is not None:
        from densecf.data.readers.chexmask import ChexmaskFile

        sources.append(
            ChexmaskFile(
                options.chexmask,
                heart=options.heart,
                wanted=records["image"].tolist(),
                resized=options.resized,
                unpack_to=scratch,
                progress=not options.quiet,
            )
        )
    return sources


prepare_padchest = partial(prepare_published, "padchest")
prepare_chexpert = partial(prepare_published, "chexpert")
prepare_rsna = partial(prepare_published, "rsna")
prepare_embed = partial(prepare_published, "embed")
prepare_embed_ood = partial(prepare_published, "embed-ood")
prepare_vindr_mammo = partial(prepare_published, "vindr-mammo")

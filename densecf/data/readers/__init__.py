"""Readers: from the tables that datasets come with to a `densecf.data.sources.Source`."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from densecf.data.readers.chexpert import CHEXPERT
from densecf.data.readers.embed import EMBED, EMBED_OOD
from densecf.data.readers.padchest import PADCHEST
from densecf.data.readers.published import PublishedDataset, read_dataset
from densecf.data.readers.rsna import RSNA
from densecf.data.readers.vindr_mammo import VINDR_MAMMO
from densecf.errors import ConfigError

DATASETS: dict[str, PublishedDataset] = {
    row.name: row for row in (PADCHEST, CHEXPERT, RSNA, EMBED, EMBED_OOD, VINDR_MAMMO)
}


def get_dataset(name: str) -> PublishedDataset:
    """The dataset of that name.

    Raises:
        ConfigError: there is none; the message lists those there are.
    """
    if name not in DATASETS:
        raise ConfigError(f"There is no dataset {name!r}; choose one of {', '.join(DATASETS)}.")
    return DATASETS[name]


def read_records(
    name: str,
    *,
    table: str | Path | Sequence[str | Path],
    split: str = "patient",
    exclude: str | Path | None = None,
    related_effusion: str = "no",
) -> pd.DataFrame:
    """The records of a published dataset, with ``split`` in train, val, test; no image is touched.

    ``attrs["shared_patients"]`` says how many patients have records in several parts of the split.

    Args:
        name: padchest, chexpert, ...
        table: the dataset's own table (several files where it has several), also gzipped.
        split: "patient", or "published": the papers' own, whose leaks are counted in a warning.
        exclude, related_effusion: see `densecf.data.readers.published.read_dataset`.

    Raises:
        DataError: anything wrong with the table; all rows are reported at once.
        ConfigError: no such dataset, split or choice.
    """
    reading = read_dataset(get_dataset(name), table, split=split, exclude=exclude, related_effusion=related_effusion)
    reading.records.attrs["shared_patients"] = reading.shared_patients
    return reading.records

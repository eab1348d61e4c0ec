"""Embeddings beside their records: one row an image, or one row a sampled pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import segmentation_models_pytorch as smp
from torch import nn

from densecf.data.prepared import PreparedDataset
from densecf.errors import ConfigError
from densecf.files import atomic_path
from densecf.models.embed import embed_images

SUFFIXES = (".parquet", ".csv")
PREFIX = "f"
"""Embeddings are the columns f0, f1, ..."""


def image_table(data: PreparedDataset, rows: Sequence[int], features: np.ndarray) -> pd.DataFrame:
    """The records of ``rows`` with the features (n, D) of their images."""
    return _beside(data.records.iloc[list(rows)].reset_index(drop=True), features)


def pixel_table(
    model: smp.Unet,
    head: nn.Module | None,
    data: PreparedDataset,
    rows: Sequence[int],
    points: int,
    seed: int = 0,
) -> Iterator[pd.DataFrame]:
    """For each image a table of ``points`` pixels, drawn without replacement.

    The columns are those of the record, ``row`` and ``column`` (pixels of the prepared image), ``class`` ("" where the
    record has no mask), and the embedding. The draw of an image depends on the seed and its row alone.

    Args:
        model, head: in eval mode; without a head the decoder's features.
        data: prepared dataset.
        rows: of it.
        points: pixels an image; all of them where there are fewer.
        seed: of the draw.
    """
    for row in rows:
        embedding = next(embed_images(model, head, [data.image(row)])).numpy()
        chosen = np.sort(np.random.default_rng([seed, row]).permutation(data.size**2)[:points])
        at_row, at_column = np.divmod(chosen, data.size)
        mask = data.mask(row)
        names = [""] * len(at_row) if mask is None else [_class(data, code) for code in mask[at_row, at_column]]
        records = data.records.iloc[[row] * len(at_row)].reset_index(drop=True)
        placed = records.assign(row=at_row, column=at_column, **{"class": names})
        yield _beside(placed, embedding[:, at_row, at_column].T)


def _class(data: PreparedDataset, code: int) -> str:
    return data.class_names[code] if code < len(data.class_names) else ""


def _beside(records: pd.DataFrame, features: np.ndarray) -> pd.DataFrame:
    names = [f"{PREFIX}{number}" for number in range(features.shape[1])]
    return pd.concat([records, pd.DataFrame(features.astype(np.float32), columns=names)], axis=1)


def check_suffix(path: Path) -> None:
    """Raises ConfigError for a file that is neither Parquet nor CSV."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--out {path}: expected a file ending in {' or '.join(SUFFIXES)}")


def write_table(table: pd.DataFrame, path: Path, facts: dict[str, Any]) -> None:
    """Writes Parquet (with ``facts`` in its metadata; pandas gives them back as ``attrs``) or CSV, whole or not at all.

    Raises:
        ConfigError: another suffix.
        DensecfError: the disk is full, or the place cannot be written.
    """
    check_suffix(path)
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".csv":
            table.to_csv(temporary, index=False)
        else:
            table.attrs.update(facts)
            table.to_parquet(temporary, index=False)

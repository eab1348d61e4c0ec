"""``densecf embed``: embeddings of images or pixels beside their records, as a table for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from densecf.commands.datasets import choose_rows, open_dataset
from densecf.commands.networks import Network, dataset_of, open_networks
from densecf.commands.options import EmbedOptions
from densecf.data.prepared import PreparedDataset
from densecf.errors import ConfigError


def run_embed(options: EmbedOptions) -> Path:
    """Writes the table, and returns its path."""
    from densecf.evaluation.embedding_table import check_suffix, write_table

    check_suffix(options.out)
    if options.out.exists() and not options.overwrite:
        raise ConfigError(f"--out {options.out}: exists; replace it with --overwrite, or choose another name")
    [network] = open_networks([options.run], options.encoder)
    data = open_dataset(dataset_of([network], options.data, "--data"), progress=not options.quiet)
    network = network.sized(data.size)
    network.check_size(data)
    rows = choose_rows(data, where=options.where, split="") if options.where else list(range(len(data)))
    facts: dict[str, Any] = {
        "run": str(network.weights or network.name),
        "method": network.method,
        "dataset": str(data.path.resolve()),
        "dataset_checksum": data.checksum,
        "level": options.level,
    }
    if options.level == "image":
        table = embed_whole(network, data, rows, options)
    else:
        table, facts["features"] = embed_points(network, data, rows, options)
    write_table(table, options.out, facts)
    kind = facts.get("features", "image")
    print(f"{len(table):,} rows with the {kind} features of {len(rows):,} records: {options.out}")
    return options.out


def embed_whole(network: Network, data: PreparedDataset, rows: list[int], options: EmbedOptions) -> pd.DataFrame:
    """One row an image."""
    from densecf.evaluation.embedding_table import image_table
    from densecf.evaluation.image_features import stored_features

    features = stored_features(
        network.features(), network.encoder, data, rows, title=network.name, progress=not options.quiet
    )
    return image_table(data, rows, features)


def embed_points(
    network: Network, data: PreparedDataset, rows: list[int], options: EmbedOptions
) -> tuple[pd.DataFrame, str]:
    """One row a pixel, and which embedding it is.

    Raises:
        ConfigError: random weights.
        CheckpointError: an image-level run.
    """
    from tqdm.auto import tqdm

    from densecf.evaluation.embedding_table import pixel_table
    from densecf.models.device import best_device
    from densecf.models.weights import load_run

    if network.weights is None:
        raise ConfigError("--level pixel needs a pixel-level pretraining run; name one with --run")
    run = load_run(network.weights).to(best_device())
    head = run.head if options.features == "projection" else None
    tables = pixel_table(run.model, head, data, rows, options.points, options.seed)
    bar = tqdm(tables, desc=network.name, total=len(rows), unit="img", disable=options.quiet)
    return pd.concat(bar, ignore_index=True), "projection" if head is not None else "decoder"

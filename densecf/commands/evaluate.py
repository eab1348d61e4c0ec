"""``densecf evaluate``: how well a pretrained embedding separates the classes, before any fine-tuning."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from densecf import runs
from densecf.commands.datasets import choose_rows, open_dataset, with_masks
from densecf.commands.finetune import data_of, refuse_leak
from densecf.commands.options import EvaluateOptions
from densecf.config_values import to_dict
from densecf.files import write_json_atomic, write_text_atomic


def run_evaluate(options: EvaluateOptions) -> Path:
    """Writes ``embeddings.json`` and ``embeddings.md``, and returns the folder.

    Raises:
        LeakError: a patient to measure on was pretrained on.
    """
    from densecf.evaluation.embeddings import embeddings_table
    from densecf.evaluation.network import evaluate_network
    from densecf.models.device import best_device
    from densecf.models.weights import load_run

    started, weights = time.monotonic(), runs.find_weights(options.run)
    run = load_run(weights).to(best_device())
    data = open_dataset(options.data if options.data != "auto" else data_of(weights))
    rows = with_masks(data, choose_rows(data, where=options.where, split="manual"))
    refuse_leak(weights, data.records.iloc[rows])
    if options.images and options.images < len(rows):
        rows = sorted(np.random.default_rng(options.seed).permutation(rows)[: options.images].tolist())
    print(f"Measuring {weights.parent} on {len(rows)} images of {data.path}")
    found = evaluate_network(run.model, run.head, data, rows, seed=options.seed)
    table = embeddings_table({weights.parent.name: found})
    out = runs.start_run(
        "evaluate",
        weights.parent.name,
        to_dict(options),
        out=options.out,
        overwrite=options.overwrite,
        provenance={"dataset": str(data.path), "dataset_checksum": data.checksum, "pretrained": str(weights)},
    )
    with runs.working_in(out):
        write_json_atomic(out / "embeddings.json", found)
        write_text_atomic(out / "embeddings.md", table)
        runs.finish_run(out, "evaluate", latest=not options.keep_latest, seconds=round(time.monotonic() - started))
    print(table)
    print(f"Run: {out}")
    return out

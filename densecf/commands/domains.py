"""``densecf domains``: how separable the scanners are in the embedding of each run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from densecf import runs
from densecf.commands.datasets import choose_rows, open_dataset
from densecf.commands.networks import NONE, as_text, dataset_of, open_networks, run_name
from densecf.commands.options import DomainsOptions
from densecf.config_values import to_dict
from densecf.data.prepared import PreparedDataset
from densecf.data.problems import listing
from densecf.errors import DataError
from densecf.files import atomic_path, write_json_atomic, write_text_atomic

SUMMARY, REPORT, PICTURE, POINTS = "domains.json", "domains.md", "domains.png", "points.csv"
NAMES = {"tsne": "t-SNE", "umap": "UMAP"}


def run_domains(options: DomainsOptions) -> Path:
    """Writes tables, picture and projected points into a run folder, and returns it."""
    import pandas as pd

    from densecf.evaluation.domains import project, separability, separability_markdown
    from densecf.evaluation.image_features import stored_features
    from densecf.visualization.domain_figure import Panel, save_domains

    networks = open_networks(options.run, options.encoder)
    data = open_dataset(dataset_of(networks, options.dataset), progress=not options.quiet)
    networks = [network.sized(data.size) for network in networks]
    for network in networks:
        network.check_size(data)
    rows, domains, notes = rows_with_domain(data, options)
    patients = data.records["patient_id"].to_numpy(dtype=object)[rows]
    shown = np.sort(np.random.default_rng(options.seed).permutation(len(rows))[: options.points])
    out = runs.start_run(
        "domains",
        run_name(options.column, [network.name for network in networks]),
        to_dict(options),
        out=options.out,
        overwrite=options.overwrite,
        provenance={
            "dataset": str(data.path.resolve()),
            "dataset_checksum": data.checksum,
            "pretrained": {network.name: str(network.weights or NONE) for network in networks},
        },
    )
    with runs.working_in(out):
        print(f"Separating {len(set(domains))} values of {options.column} in {len(rows):,} images of {data.path}")
        found, panels, tables = {}, [], []
        for network in networks:
            features = stored_features(
                network.features(), network.encoder, data, rows, title=network.name, progress=not options.quiet
            )
            found[network.name] = separability(features, domains, patients, seed=options.seed)
            points = project(features[shown], options.projection, seed=options.seed)
            score = found[network.name]
            note = f"balanced accuracy {100 * score.balanced_accuracy:.1f} % (chance {100 * score.chance:.1f} %)"
            panels.append(Panel(network.name, note, points))
            records = data.records.iloc[np.asarray(rows)[shown]]
            tables.append(records[["image", "patient_id", options.column]].assign(run=network.name, x=points[:, 0],
                                                                                 y=points[:, 1]))  # fmt: skip
        title = f"Separability of {options.column}"
        report = separability_markdown(found, title, [*notes, LEGEND])
        facts = {
            "column": options.column,
            "dataset": str(data.path),
            "projection": options.projection,
            "notes": notes,
            "runs": {name: asdict(value) for name, value in found.items()},
        }
        write_json_atomic(out / SUMMARY, facts)
        write_text_atomic(out / REPORT, report)
        with atomic_path(out / POINTS) as temporary:
            pd.concat(tables, ignore_index=True).to_csv(temporary, index=False)
        heading = f"{NAMES[options.projection]} of image features, coloured by {options.column}"
        save_domains(out / PICTURE, panels, domains[shown], title=heading)
        runs.finish_run(out, "domains")
    print(report)
    print(f"Picture: {out / PICTURE}")
    print(f"Run: {out}")
    return out


LEGEND = (
    "Logistic regression on 16 principal components of the image features, 5 folds by patient: how well the value is "
    "told of an unseen patient's image. Lower is better for an embedding that should not know it; the columns behind "
    "are the shares of each value's images that are recognised."
)


def rows_with_domain(data: PreparedDataset, options: DomainsOptions) -> tuple[list[int], np.ndarray, list[str]]:
    """Rows whose domain is known, their domains (n,), and what was left out.

    Without ``--where``: the test split, or all records where there is none.

    Raises:
        DataError: no such column, or fewer than two values with enough patients.
    """
    from densecf.evaluation.domains import FOLDS

    records = data.records
    if options.column not in records:
        columns = listing(list(map(str, records.columns)), 60)
        raise DataError(f"{data.path}: there is no column {options.column!r}; the columns are {columns}")
    has_test = "split" in records and (records["split"] == "test").any()
    rows = np.asarray(
        choose_rows(data, where=options.where, split="test") if options.where or has_test else range(len(records))
    )
    domains = np.array(as_text(records[options.column].to_numpy(dtype=object)[rows]), dtype=object)
    patients = records["patient_id"].to_numpy(dtype=object)[rows]
    counts = {name: len(set(patients[domains == name])) for name in sorted(set(domains) - {""})}
    few = [f"{name} ({count} patients)" for name, count in counts.items() if count < FOLDS]
    kept = np.isin(domains.astype(str), [name for name, count in counts.items() if count >= FOLDS])
    if sum(count >= FOLDS for count in counts.values()) < 2:
        found = listing([f"{name} ({count} patients)" for name, count in counts.items()]) or "none"
        raise DataError(
            f"{data.path}: {options.column} needs two values, each of {FOLDS} patients at least; among the "
            f"{len(rows):,} chosen images it has {found}"
        )
    notes = [f"Too few patients, left out: {listing(few)}."] if few else []
    if unknown := int((domains == "").sum()):
        notes.append(f"{unknown:,} images with unknown {options.column} are left out.")
    return rows[kept].tolist(), domains[kept], notes

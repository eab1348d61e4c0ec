"""What tables cannot show: CHRO-maps, segmentations and counterfactuals of the same few cases for all methods."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from densecf.benchmark.matrix import Matrix
from densecf.benchmark.report.page import DataFile, Picture
from densecf.benchmark.results import CellResult, rows_of
from densecf.counterfactuals.interventions import parse_interventions
from densecf.counterfactuals.parents import fit_parents, value_text
from densecf.counterfactuals.soundness import absolute_error
from densecf.data.layout import TRUTH
from densecf.data.prepared import PreparedDataset
from densecf.data.splits import FOLDS, Folds
from densecf.errors import DensecfError
from densecf.methods import METHODS
from densecf.training.domains import intervened_parents
from densecf.visualization.chromap import MapEntry
from densecf.visualization.chromap_grid import AlignedMaps, aligned_chromaps, chromap_grid
from densecf.visualization.counterfactual_figure import Case, counterfactual_figure
from densecf.visualization.overlays import Loader, finding, overlay_grid, pick_cases

FIT_PIXELS = 3000
SIDE = 256  # embeddings of larger images are thinned out to this
STRIPS = 2  # records whose counterfactuals are shown
DOTS_PER_INCH = (110, 90, 70)
MOST_BYTES = 1_500_000


def shown_rows(data: PreparedDataset, results: Sequence[CellResult], count: int) -> list[int]:
    """The first rows that were tested on, half of them with effusion where that is known and there are as many."""
    tested = set(results[0].cases["case"])
    rows = [row for row, name in enumerate(data.records["image"]) if name in tested]
    if "pleural_effusion" not in data.records:
        return rows[:count]
    effusion = data.records["pleural_effusion"]
    with_it = [row for row in rows if effusion.iloc[row] == 1][: (count + 1) // 2]
    without = [row for row in rows if effusion.iloc[row] == 0][: count - len(with_it)]
    others = [row for row in rows if row not in with_it and row not in without]
    return sorted([*with_it, *without, *others[: count - len(with_it) - len(without)]])


def chromap_pictures(
    matrix: Matrix, results: Sequence[CellResult], data: PreparedDataset, rows: Sequence[int]
) -> list[Picture]:
    """CHRO-maps of some rows for each pixel-level pretraining: main rows and variants, the first seed of each."""
    from densecf.models.device import best_device
    from densecf.models.embed import embed_images
    from densecf.models.weights import load_run

    folders = _networks(_first_cells(matrix, results, "main"))
    variants: dict[str, Path] = {}
    for name, folder in _networks(_first_cells(matrix, results, "variant")).items():
        if folder not in (*folders.values(), *variants.values()):  # variants may differ in their fine-tuning alone
            variants[name] = folder
    folders |= variants
    if not folders or not rows:
        return []
    images, names = [data.image(row) for row in rows], data.records["image"].iloc[list(rows)].tolist()
    step = -(-data.size // SIDE)
    grid = np.diag([step, step, 1.0])

    def load(name: str) -> list[MapEntry]:
        run = load_run(folders[name]).to(best_device())
        pixels = [features[:, ::step, ::step].numpy() for features in embed_images(run.model, run.head, images)]
        return [MapEntry(*entry, affine=grid) for entry in zip(names, images, pixels, strict=True)]

    variants_first = [*variants, *(name for name in folders if name not in variants)]  # a main row is the reference
    aligned = aligned_chromaps(variants_first, load, num_fit=FIT_PIXELS)
    found = {name: aligned[name] for name in folders}
    reference = next((name for name, one in found.items() if one.is_reference), "none of them")
    return [
        _picture(
            "chromaps",
            chromap_grid(found, [_label(data, row) for row in rows]),
            "CHRO-maps: pixels of like colour have like embeddings. Each network's plane of colours was turned, by a "
            f"rotation or reflection and nothing else, as near as it goes to that of {reference}, so that the same "
            "anatomy has the same colour in all of them as far as the networks agree. The last row shows each "
            "network's fitted pixels (dots) on its disc of colours. Nothing here was chosen by its looks: the cases "
            "are the first ones of the test set, the seed is the first.",
            f"A grid of {len(rows)} radiographs and their pixel embeddings as colours, for {', '.join(found)}.",
            chromap_table(found, data, rows, step),
        )
    ]


def chromap_table(
    found: dict[str, AlignedMaps], data: PreparedDataset, rows: Sequence[int], step: int = 1
) -> pd.DataFrame:
    """Where each class lies on each network's disc, case by case, and how well the discs could be brought together.

    Returns:
        Columns: method, case, class, pixels, x, y (mean place on the unit disc), spread (root mean square distance
        from it), distance_to_reference (mean over the fitted pixels of all cases), distance_of_random_pixels.
    """
    table = []
    for name, aligned in found.items():
        for row, discs in zip(rows, aligned.maps.discs, strict=True):
            mask = data.mask(row)
            labels = np.zeros(discs.shape[:2], int) if mask is None else mask[::step, ::step]
            for label in np.unique(labels):
                places = discs[labels == label].astype(np.float64)
                mean = places.mean(axis=0)
                table.append(
                    {
                        "method": name,
                        "case": data.records["image"].iloc[row],
                        "class": _class_name(data, int(label)) if mask is not None else "",
                        "pixels": len(places),
                        "x": mean[0],
                        "y": mean[1],
                        "spread": np.sqrt(((places - mean) ** 2).sum(axis=1).mean()),
                        "distance_to_reference": aligned.distance,
                        "distance_of_random_pixels": aligned.chance,
                    }
                )
    return pd.DataFrame(table)


def overlay_pictures(matrix: Matrix, results: Sequence[CellResult], data: PreparedDataset) -> list[Picture]:
    """The best, median and worst case, judged by the mean DSC of all main rows, under each of them."""
    from densecf.training.finetune import has_predictions

    shown = _first_cells(matrix, results, "main")
    shown = {name: result for name, result in shown.items() if has_predictions(result.folders["finetune"])}
    if not shown:
        return []
    cases = pd.concat([result.cases for result in shown.values()])
    first = cases.groupby("case")[["pleural_effusion"]].first()
    mean = first.join(cases.groupby("case")["dsc"].mean()).reset_index()
    if mean["dsc"].isna().all():
        return []
    picked = pick_cases(mean)
    methods = {name: (result.cases, _loader(result.folders["finetune"], data)) for name, result in shown.items()}
    chosen = {row["case"]: place for place, row in picked.items()}
    table = pd.concat(
        [result.cases[result.cases["case"].isin(chosen)].assign(method=name) for name, result in shown.items()]
    )
    table.insert(0, "shown_as", table["case"].map(chosen))
    table.insert(0, "method", table.pop("method"))
    return [
        _picture(
            "overlays",
            overlay_grid(picked, methods),
            "True and predicted outlines of held-out cases, the same for all methods: the best, the median and the "
            "worst one by their DSC averaged over all methods. Each panel names its own DSC.",
            f"A grid of {len(picked)} radiographs with true and predicted lung outlines, for {', '.join(methods)}.",
            table,
        )
    ]


def counterfactual_pictures(data: PreparedDataset, source: str, rows: Sequence[int]) -> list[Picture]:
    """For each row the image, its stored counterfactuals, what they changed, and the truth where it is known."""
    names = data.counterfactuals.get(source, ())
    if not names:
        return []
    return [_strip(data, source, names, row, number) for number, row in enumerate(rows, start=1)]


def _strip(data: PreparedDataset, source: str, names: Sequence[str], row: int, number: int) -> Picture:
    image, record = data.image(row), data.records["image"].iloc[row]
    known = data.counterfactuals.get(TRUTH, ()) if source != TRUTH else ()
    cases, table = [], []
    for name in names:
        made = data.counterfactual(source, name, row)
        truth = data.counterfactual(TRUTH, name, row) if name in known else None
        cases.append(Case(f"do({name})", what_changes(data, name, row), made, truth))
        table.append(
            {
                "case": record,
                "source": source,
                "intervention": name,
                "mean_absolute_difference": _error(made, image),
                "error_to_truth": np.nan if truth is None else _error(made, truth),
                "error_of_doing_nothing": np.nan if truth is None else _error(image, truth),
            }
        )
    return _picture(
        f"counterfactuals{number}",
        counterfactual_figure(image, cases, heading=_label(data, row).replace("\n", " · ")),
        f"Counterfactuals of {record} from the source that the pretraining used ({source}): the image, each "
        "counterfactual and what it changed" + (", and the true counterfactual." if known else "."),
        f"A radiograph, {len(cases)} counterfactuals of it ({', '.join(names)}) and their differences to it.",
        pd.DataFrame(table),
    )


def what_changes(data: PreparedDataset, name: str, row: int) -> str:
    """An intervention on a record in words, such as "Aurora DR → Borealis CR"; empty where its parents are unknown."""
    parents = sorted(intervened_parents(name), key=name.index)
    try:
        known, _ = fit_parents(data.records, parents, missing="category")
        (intervention,) = parse_interventions([name], known)
        before = data.records.iloc[[row]]
        after = intervention.apply(before, known)
    except (DensecfError, ValueError):  # imported counterfactuals may be called anything
        return ""
    return ", ".join(f"{value_text(before[p].iloc[0])} → {value_text(after[p].iloc[0])}" for p in parents)


def _first_cells(matrix: Matrix, results: Sequence[CellResult], part: str) -> dict[str, CellResult]:
    """The first seed's cell of each row under the first protocol, variants under "fair"."""
    rows = rows_of(results, part, "fair" if part == "variant" else matrix.protocols[0])
    names = [row.name for row in rows]
    # Rows of one name differ in their views.
    return {row.name if names.count(row.name) == 1 else f"{row.name} {row.views}": row.cells[0] for row in rows}


def _networks(cells: dict[str, CellResult]) -> dict[str, Path]:
    """The run folders of pixel-level pretrainings whose weights are still there."""
    from densecf.models.weights import WEIGHTS

    return {
        name: result.folders["pretrain"]
        for name, result in cells.items()
        if result.cell.pretrain is not None
        and not METHODS[result.cell.method].image_level
        and (result.folders["pretrain"] / WEIGHTS).is_file()
    }


def _loader(run: Path, data: PreparedDataset) -> Loader:
    from densecf.training.finetune import CaseLoader

    folds = Folds.load(run / FOLDS)
    return CaseLoader(data, data.records[data.records["image"].isin(folds.fold_of)], folds, run)


def _picture(name: str, figure: Figure, caption: str, alt: str, table: pd.DataFrame) -> Picture:
    return Picture(png(figure), caption, alt, DataFile(f"{name}.csv", table.to_csv(index=False, float_format="%.4f")))


def png(figure: Figure) -> bytes:
    """The figure as fine as a page can use, or coarser where it would weigh more than `MOST_BYTES`."""
    for dots in DOTS_PER_INCH:
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=dots, facecolor="white")
        if content.tell() <= MOST_BYTES:
            break
    return content.getvalue()


def _label(data: PreparedDataset, row: int) -> str:
    record = data.records.iloc[row]
    return f"{record['image']}\n{record.get('scanner', '')}{finding(record)}"


def _class_name(data: PreparedDataset, label: int) -> str:
    return data.class_names[label] if label < len(data.class_names) else "unknown"


def _error(image: np.ndarray, other: np.ndarray) -> float:
    return float(absolute_error(image[None], other[None])[0])

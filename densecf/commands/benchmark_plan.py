"""What a comparison has to do: its cells, checked before the first one starts, and what they share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from densecf import runs
from densecf.benchmark.cell_checks import cell_mistakes, unheard_options
from densecf.benchmark.cells import Cell, make_cells
from densecf.benchmark.matrix import Matrix, read_matrix
from densecf.benchmark.matrix_checks import in_terms_of_the_file
from densecf.benchmark.stages import Inputs, Stage, stages_of
from densecf.benchmark.worker import is_done
from densecf.commands.datasets import PHANTOM_FOLDER, choose_rows, open_dataset, with_masks
from densecf.commands.finetune import external_rows, make_or_load_folds
from densecf.commands.models import with_counterfactuals
from densecf.commands.options import BenchmarkOptions, PreparePhantomOptions
from densecf.config import PHANTOM, FinetuneConfig, PretrainConfig
from densecf.data.layout import counterfactual_file
from densecf.data.prepared import PreparedDataset
from densecf.data.splits import FOLDS, Folds, check_no_leak
from densecf.errors import ConfigError, DensecfError
from densecf.files import explained_os_errors, sha256_of_file
from densecf.methods import METHODS

PHANTOM_IMAGES, PHANTOM_MASKS = 1000, 70
"""Of the embedded phantom, for estimates before it is made."""


@dataclass(frozen=True)
class Outlook:
    """What there is to do.

    Attributes:
        matrix: the comparison.
        cells: all cells; their stages and the number of images each is pretrained on beside them.
        stages: one list a cell.
        images: one number a cell; 0 for random weights.
        masks: records to fine-tune on.
        size: side of the images.
        dataset: where it is, for messages.
    """

    matrix: Matrix
    cells: list[Cell]
    stages: list[list[Stage]]
    images: list[int]
    masks: int
    size: int
    dataset: str


@dataclass(frozen=True)
class Plan(Outlook):
    """All that cells need to run.

    Attributes:
        data: the prepared dataset.
        source: where counterfactuals come from; "none" when no cell uses any.
        folds: the folds file.
        out: folder of the report.
    """

    data: PreparedDataset
    source: str
    folds: Path
    out: Path


def make_plan(options: BenchmarkOptions) -> Plan:
    """Reads the matrix, makes what all cells share (dataset, counterfactuals, folds), and checks every cell.

    Raises:
        DensecfError: naming the matrix and the row that cannot be run.
    """
    matrix, cells = read_cells(options.matrix)
    out = folder_of(options)
    data = open_dataset(matrix.data, progress=not options.quiet)
    for config in counterfactual_configs(cells):
        data = with_counterfactuals(config, data, progress=not options.quiet)
    with naming(options.matrix):
        source = choose_source(matrix, cells, data)
        cells = make_cells(matrix, source)
        records = manual_records(cells[0].finetune, data)
        images = check_against_data(cells, data, records)
        with explained_os_errors(out):
            out.mkdir(parents=True, exist_ok=True)
        folds = share_folds(cells, records, out / FOLDS)
        stages = stages_in(options.store, cells, data, folds)
    size, where = data.size, str(data.path)
    return Plan(matrix, cells, stages, images, len(records), size, where, data, source, folds, out)


def look_ahead(options: BenchmarkOptions) -> tuple[Outlook, list[str]]:
    """The plan as far as it is known while nothing is made or written, and notes on what will be made first.

    Raises:
        DensecfError: as `make_plan`.
    """
    from densecf.counterfactuals.generator import KIND

    matrix, cells = read_cells(options.matrix)
    auto = [config for config in counterfactual_configs(cells) if config.counterfactuals in ("auto", KIND)]
    if matrix.data == PHANTOM and not PHANTOM_FOLDER.exists():
        notes = [f"The phantom dataset is made first, in {PHANTOM_FOLDER}"]
        notes += ["Then its counterfactuals, by the HVAE that comes with densecf"] if auto else []
        stages = [stages_of(cell, _nothing_yet(cells), options.store) for cell in cells]
        images = [PHANTOM_IMAGES if cell.pretrain else 0 for cell in cells]
        size = PreparePhantomOptions().size
        return Outlook(matrix, cells, stages, images, PHANTOM_MASKS, size, str(PHANTOM_FOLDER)), notes
    data, notes = open_dataset(matrix.data, progress=False), []
    with naming(options.matrix), tempfile.TemporaryDirectory() as spare:
        if matrix.data == PHANTOM and auto and KIND not in data.counterfactuals:
            notes.append(f"The counterfactuals of {data.path} are made first, by the HVAE that comes with densecf")
            cells = make_cells(matrix, KIND)
        else:
            cells = make_cells(matrix, choose_source(matrix, cells, data))
        records = manual_records(cells[0].finetune, data)
        images = check_against_data(cells, data, records, stored=not notes)
        file = folder_of(options) / FOLDS
        folds = share_folds(cells, records, file if file.is_file() else Path(spare) / FOLDS)
        stages = stages_in(options.store, cells, data, folds)
    return Outlook(matrix, cells, stages, images, len(records), data.size, str(data.path)), notes


def read_cells(path: Path) -> tuple[Matrix, list[Cell]]:
    """The matrix and its cells, every option checked that can be without the dataset.

    Raises:
        ConfigError: naming the file, the row and the option.
    """
    matrix = read_matrix(path)
    with naming(path):
        cells = make_cells(matrix, matrix.counterfactuals)
        found = [*unheard_options(matrix, cells), *cell_mistakes(cells)]
    if found:
        raise ConfigError("\n".join(f"{path}: {mistake}" for mistake in found))
    return matrix, cells


def folder_of(options: BenchmarkOptions) -> Path:
    """Where the report goes."""
    return (options.out or runs.ROOT / "benchmark" / options.matrix.stem).resolve()


@contextmanager
def naming(place: object) -> Iterator[None]:
    """Puts a file or a row in front of the messages of errors that do not name it yet, and says them in its terms."""
    try:
        yield
    except DensecfError as error:
        message = in_terms_of_the_file(str(error))
        raise type(error)(message if str(place) in message else f"{place}: {message}") from None


def counterfactual_configs(cells: Sequence[Cell]) -> list[PretrainConfig]:
    """The pretrainings that use counterfactuals."""
    return [cell.pretrain for cell in cells if cell.pretrain and cell.pretrain.counterfactuals != "none"]


def choose_source(matrix: Matrix, cells: Sequence[Cell], data: PreparedDataset) -> str:
    """Where the matrix's counterfactuals come from; "none" where no cell uses any.

    Raises:
        DataError: the dataset does not hold what a row needs.
    """
    from densecf.training.datasets import choose_counterfactuals

    for cell in cells:
        config = cell.pretrain
        if config and config.counterfactuals == matrix.counterfactuals != "none":
            with naming(cell.title):
                method = METHODS[config.method]
                return choose_counterfactuals(data, config.counterfactuals, method, config.intervene)[0]
    return "none"


def manual_records(config: FinetuneConfig, data: PreparedDataset) -> pd.DataFrame:
    """The records that all rows are fine-tuned and tested on."""
    return data.records.iloc[with_masks(data, choose_rows(data, where=config.where, split="manual"))]


def check_against_data(
    cells: Sequence[Cell], data: PreparedDataset, records: pd.DataFrame, *, stored: bool = True
) -> list[int]:
    """How many images each cell is pretrained on.

    Args:
        cells: all cells.
        data: the dataset.
        records: those to fine-tune on.
        stored: the counterfactuals are there; else they are made before the first cell.

    Raises:
        DensecfError: naming the row: no records or masks, patients of the fine-tuning set, missing counterfactuals.
    """
    from densecf.training.datasets import choose_counterfactuals

    counts = []
    for cell in cells:
        with naming(f"{cell.title}: finetune"):
            external = external_rows(cell.finetune, data, records)
        tested = set(records["patient_id"]) | set(data.records.iloc[external]["patient_id"])
        config, rows = cell.pretrain, []
        if config is not None:
            with naming(cell.title):
                method = METHODS[config.method]
                rows = choose_rows(data, where=config.where, split="train", exclude=config.exclude)
                rows = with_masks(data, rows) if method.needs_masks else rows
                check_no_leak(set(data.records.iloc[rows]["patient_id"]), tested)
                if stored:
                    choose_counterfactuals(data, config.counterfactuals, method, config.intervene)
        counts.append(len(rows))
    return counts


def share_folds(cells: Sequence[Cell], records: pd.DataFrame, path: Path) -> Path:
    """The folds file of all cells, made unless it is there, and checked for each.

    Raises:
        DensecfError: folds that do not fit the records, or the options of a row.
    """
    config = cells[0].finetune
    if not path.is_file():
        make_or_load_folds(config, records).save(path)
    folds = Folds.load(path, records)
    asked = Folds.load(config.folds_file).fold_of if config.folds_file else folds.fold_of
    if folds.num_folds != config.folds or folds.fold_of != asked:
        raise ConfigError(
            f"finetune: {path} holds {folds.num_folds} folds made earlier, and the matrix asks for others "
            f"({config.folds_file or config.folds}); choose another --out"
        )
    for cell in cells:
        with naming(cell.title):
            make_or_load_folds(replace(cell.finetune, folds_file=str(path)), records)
    return path


def stages_in(store: Path, cells: Sequence[Cell], data: PreparedDataset, folds: Path) -> list[list[Stage]]:
    """The run folders of each cell."""
    stored = {
        source: {name: data.meta["files"][counterfactual_file(source, name)]["sha256"] for name in names}
        for source, names in data.counterfactuals.items()
    }
    inputs = Inputs(data.checksum, sha256_of_file(folds), stored, first_weights(cells))
    return [stages_of(cell, inputs, store.resolve()) for cell in cells]


def first_weights(cells: Sequence[Cell]) -> dict[str, str]:
    """The checksum of each weights file that a pretraining starts from, by what the option says."""
    found: dict[str, str] = {}
    for cell in cells:
        start = cell.pretrain.init_from if cell.pretrain else ""
        if start and start not in found:
            with naming(cell.title):
                found[start] = sha256_of_file(runs.find_weights(start))
    return found


def fetch_weights(plan: Outlook, chosen: Sequence[int]) -> None:
    """Downloads the ImageNet weights that open cells start from, so that a machine without a network says so now.

    Raises:
        ConfigError: they could not be had.
    """
    from densecf.models.backbone import build_image_encoder
    from densecf.models.unet import build_unet

    asked: dict[tuple[str, bool], Cell] = {}
    for place in chosen:
        cell, first = plan.cells[place], plan.stages[place][0]
        config = cell.pretrain or cell.finetune
        if config.model.encoder_weights != "none" and not is_done(first):
            whole = cell.pretrain is not None and METHODS[cell.pretrain.method].image_level
            asked.setdefault((config.model.encoder, whole), cell)
    for (encoder, whole), cell in asked.items():
        try:
            if whole:
                build_image_encoder(encoder, plan.size, pretrained=True)
            else:
                build_unet(encoder, encoder_weights="imagenet")
        except ConfigError as error:
            hint = "; authors_without: [model.encoder_weights] goes without" if cell.protocol == "authors" else ""
            raise ConfigError(f"{cell.title}: {error}{hint}") from None


def expected_seconds(plan: Outlook, threads: int) -> list[list[float]]:
    """What each stage of each cell will take on one device, by a few timed steps and by what finished stages took.

    Args:
        plan: cells and stages.
        threads: of each process, on a CPU.
    """
    from densecf.benchmark.estimate import correction, remembered, stage_seconds, time_training

    clock = remembered(lambda model, image_level, size: time_training(model, image_level, size, threads))
    seconds = [
        [stage_seconds(cell, stage, images=images, masks=plan.masks, size=plan.size, clock=clock) for stage in stages]
        for cell, stages, images in zip(plan.cells, plan.stages, plan.images, strict=True)
    ]
    pairs = [pair for mine, times in zip(plan.stages, seconds, strict=True) for pair in zip(mine, times, strict=True)]
    factor = correction(pairs)
    return [[factor * stage for stage in times] for times in seconds]


def open_seconds(plan: Outlook, expected: Sequence[Sequence[float]], chosen: Sequence[int]) -> dict[int, float]:
    """For each chosen cell, the time of its open stages; a stage that cells share counts for the first one."""
    counted: set[Path] = set()
    found = {}
    for place in chosen:
        pairs = zip(plan.stages[place], expected[place], strict=True)
        mine = [(stage, time) for stage, time in pairs if stage.folder not in counted and not is_done(stage)]
        counted |= {stage.folder for stage, _ in mine}
        found[place] = sum(time for _, time in mine)
    return found


def _nothing_yet(cells: Sequence[Cell]) -> Inputs:
    return Inputs("not made yet", "not made yet", weights=first_weights(cells))

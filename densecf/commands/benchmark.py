"""``densecf benchmark``: a matrix of cells, run where devices allow, and the report of what came out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from densecf import runs
from densecf.benchmark.cells import Cell, Inputs, Stage, make_cells, stages_of
from densecf.benchmark.matrix import Matrix, read_matrix
from densecf.commands.options import BenchmarkOptions
from densecf.config import PHANTOM
from densecf.data.prepared import PreparedDataset
from densecf.errors import ConfigError, DensecfError
from densecf.files import sha256_of_file
from densecf.methods import METHODS

FOLDS = "folds.json"
LOGS = "logs"
FOLLOW = "DENSECF_FOLLOWS_STDIN"
"""Set for a process that runs one cell, and ends when its standard input does."""


@dataclass(frozen=True)
class Plan:
    """What there is to do.

    Attributes:
        matrix: the comparison.
        data: its prepared dataset.
        source: where counterfactuals come from; "none" when no cell uses any.
        folds: the folds file.
        cells: all cells; their stages beside them.
        stages: one list a cell.
        out: folder of the report.
    """

    matrix: Matrix
    data: PreparedDataset
    source: str
    folds: Path
    cells: list[Cell]
    stages: list[list[Stage]]
    out: Path


def run_benchmark(options: BenchmarkOptions) -> Path:
    """Runs what is not done yet, makes the report and returns its folder.

    Raises:
        DensecfError: cells failed; the report of the others is made first.
    """
    plan = make_plan(options)
    chosen = choose(plan, options.only)
    if options.dry_run:
        print(dry_run(plan, chosen, options))
        return plan.out
    if os.environ.get(FOLLOW) or "SLURM_ARRAY_TASK_ID" in os.environ:
        run_here(plan, chosen)
        return plan.out
    if options.launcher == "slurm":
        hand_over(plan, chosen, options)
        return plan.out
    failed = {} if options.report_only else run_all(plan, chosen, options)
    if options.only and not options.report_only:
        print(f"Done: {len(chosen) - len(failed)} of {len(chosen)} cells; the report: --report-only")
    else:
        make_report(plan, failed)
    if failed:
        raise DensecfError(
            f"{len(failed)} of {len(chosen)} cells failed: {', '.join(failed)}; what they printed is in "
            f"{plan.out / LOGS}. The same command tries them again"
        )
    return plan.out


def make_plan(options: BenchmarkOptions) -> Plan:
    """Reads the matrix, and makes what all cells share: dataset, counterfactuals, folds.

    Raises:
        DensecfError: the matrix, the dataset or the folds cannot be used.
    """
    from densecf.commands.datasets import choose_rows, open_dataset, with_masks
    from densecf.commands.finetune import make_or_load_folds
    from densecf.commands.models import with_counterfactuals
    from densecf.data.layout import counterfactual_file
    from densecf.data.splits import Folds
    from densecf.training.datasets import choose_counterfactuals

    matrix = read_matrix(options.matrix)
    progress = not options.quiet and not os.environ.get(FOLLOW)
    out = (options.out or runs.ROOT / "benchmark" / options.matrix.stem).resolve()
    cells = make_cells(matrix, matrix.counterfactuals)
    data, source = open_dataset(matrix.data, progress=progress), "none"
    using = [cell.pretrain for cell in cells if cell.pretrain and cell.pretrain.counterfactuals != "none"]
    for config in using:
        if matrix.data == PHANTOM:
            data = with_counterfactuals(config, data, progress=progress)
        source, _ = choose_counterfactuals(data, config.counterfactuals, METHODS[config.method], config.intervene)
    if using:
        cells = make_cells(matrix, source)
    finetune = cells[0].finetune
    rows = with_masks(data, choose_rows(data, where=finetune.where, split="manual"))
    records = data.records.iloc[rows]
    folds = out / FOLDS
    if folds.is_file():
        Folds.load(folds, records)
    else:
        out.mkdir(parents=True, exist_ok=True)
        make_or_load_folds(finetune, records).save(folds)
    inputs = Inputs(
        data.checksum,
        sha256_of_file(folds),
        {
            source: {name: data.meta["files"][counterfactual_file(source, name)]["sha256"] for name in names}
            for source, names in data.counterfactuals.items()
        },
    )
    stages = [stages_of(cell, inputs, options.store.resolve()) for cell in cells]
    return Plan(matrix, data, source, folds, cells, stages, out)


def choose(plan: Plan, only: Sequence[str]) -> list[int]:
    """Places of the cells that are wanted, by number or by words of their titles; all without any.

    Raises:
        ConfigError: nothing is called so; lists what there is.
    """
    if not only:
        return list(range(len(plan.cells)))
    found: list[int] = []
    for wish in only:
        words = wish.lower().split()
        hits = (
            [int(wish)]
            if wish.isdigit() and int(wish) < len(plan.cells)
            else [n for n, cell in enumerate(plan.cells) if all(word in cell.title.lower() for word in words)]
        )
        if not hits:
            titles = "\n".join(f"  {n:3d}  {cell.title}" for n, cell in enumerate(plan.cells))
            raise ConfigError(f"--only {wish}: no such cell; there are\n{titles}")
        found += [hit for hit in hits if hit not in found]
    return found


def run_here(plan: Plan, chosen: Sequence[int]) -> None:
    """Runs cells one after another in this process."""
    from densecf.benchmark.worker import run_cell, stop_with_parent

    if os.environ.get(FOLLOW):
        stop_with_parent()
    for place in chosen:
        run_cell(plan.cells[place], plan.stages[place], plan.folds, workers=_loader_processes())


def run_all(plan: Plan, chosen: Sequence[int], options: BenchmarkOptions) -> dict[str, str]:
    """Runs the cells that are not done, each in a process; returns what the failed ones printed last, by title."""
    from tqdm import tqdm

    from densecf.benchmark.runner import Job, make_slots, python_command, run_jobs
    from densecf.benchmark.worker import is_done

    open_cells = [place for place in chosen if not all(map(is_done, plan.stages[place]))]
    print(f"{len(chosen)} cells, {len(chosen) - len(open_cells)} of them done: {plan.out}")
    if not open_cells:
        return {}
    expected = expected_seconds(plan)
    slots = make_slots(options.jobs)
    jobs = [
        Job(
            plan.cells[place].title,
            python_command(
                *("benchmark", str(options.matrix), "--out", str(plan.out), "--store", str(options.store)),
                *("--only", str(place), "--quiet"),
            ),
            plan.out / LOGS / f"{place:03d}.log",
        )
        for place in open_cells
    ]
    seconds = {plan.cells[place].title: expected[place] for place in open_cells}
    bar = tqdm(
        total=round(sum(seconds.values()) / 60, 1),
        unit="min",
        desc=f"{len(open_cells)} cells, {len(slots)} at a time",
        disable=options.quiet,
        bar_format="{desc}: {percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} min of work [{elapsed}<{remaining}]",
    )

    def finished(job: Job, code: int) -> None:
        bar.update(seconds[job.title] / 60)
        bar.write(f"{'failed' if code else 'done'}: {job.title}")

    with bar:
        return run_jobs(jobs, slots, finished, environment={FOLLOW: "1"})


def hand_over(plan: Plan, chosen: Sequence[int], options: BenchmarkOptions) -> None:
    """Submits the cells that are not done, and the report, to Slurm."""
    from densecf.benchmark.runner import python_command
    from densecf.benchmark.slurm import array_script, report_script, submit
    from densecf.benchmark.worker import is_done

    open_cells = [place for place in chosen if not all(map(is_done, plan.stages[place]))]
    if not open_cells:
        print("All cells are done; the report: --report-only")
        return
    logs = plan.out / LOGS
    logs.mkdir(parents=True, exist_ok=True)
    command = python_command(
        *("benchmark", str(options.matrix.resolve()), "--out", str(plan.out), "--store", str(options.store.resolve())),
        "--quiet",
    )
    cells, report = submit(
        plan.out,
        array_script(command, open_cells, logs, options.sbatch),
        report_script([*command, "--report-only"], logs, options.sbatch),
    )
    print(f"{len(open_cells)} cells are job {cells}, the report is job {report} after it: {plan.out}")


def expected_seconds(plan: Plan) -> list[float]:
    """For each cell, the time that its open stages will take on one device."""
    from densecf.benchmark.estimate import correction, remembered, stage_seconds, time_training
    from densecf.benchmark.worker import is_done
    from densecf.commands.datasets import choose_rows

    clock = remembered(time_training)
    images = len(choose_rows(plan.data, where=plan.matrix.pretrain.get("where", ""), split="train"))
    masks = len(_fold_images(plan.folds))
    table = [
        [
            (stage, stage_seconds(cell, stage, images=images, masks=masks, size=plan.data.size, clock=clock))
            for stage in stages
        ]
        for cell, stages in zip(plan.cells, plan.stages, strict=True)
    ]
    factor = correction([pair for row in table for pair in row])
    counted: set[Path] = set()
    totals = []
    for row in table:  # cells may share a stage
        mine = [(stage, seconds) for stage, seconds in row if stage.folder not in counted and not is_done(stage)]
        counted |= {stage.folder for stage, _ in mine}
        totals.append(factor * sum(seconds for _, seconds in mine))
    return totals


def dry_run(plan: Plan, chosen: Sequence[int], options: BenchmarkOptions) -> str:
    """The cells, what is done of them, and the time that the rest will take."""
    from densecf.benchmark.estimate import clock_text
    from densecf.benchmark.runner import make_slots
    from densecf.benchmark.worker import is_done

    expected, slots = expected_seconds(plan), len(make_slots(options.jobs))
    lines = [f"{len(chosen)} cells of {plan.matrix.title}, on {plan.data.path}"]
    for place in chosen:
        cell = plan.cells[place]
        done = [stage.command for stage in plan.stages[place] if is_done(stage)]
        state = "done" if len(done) == len(plan.stages[place]) else clock_text(expected[place])
        parts = ", ".join(cell.parts)
        lines.append(f"  {place:3d}  {cell.title:<44} {parts:<16} {state:<12} {', '.join(done)}".rstrip())
    total = sum(expected[place] for place in chosen)
    if total:
        lines.append(f"About {clock_text(total)} of work, {clock_text(total / slots)} with {slots} cells at a time")
    return "\n".join(lines)


def make_report(plan: Plan, failed: dict[str, str]) -> None:
    """Tables, figures and pages of the cells that are done."""
    print(f"Report: {plan.out}")


def _fold_images(folds: Path) -> list[str]:
    from densecf.data.splits import Folds

    return list(Folds.load(folds).fold_of)


def _loader_processes() -> int | None:
    """None where a cell has a GPU; else none beside the training: the cores are shared out among cells."""
    import torch

    return None if torch.cuda.is_available() else 0

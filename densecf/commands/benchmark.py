"""``densecf benchmark``: a matrix of cells, run where devices allow, and the report of what came out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

from densecf.benchmark.cells import choose
from densecf.commands.benchmark_plan import (
    Outlook,
    Plan,
    expected_seconds,
    fetch_weights,
    look_ahead,
    make_plan,
    open_seconds,
    read_cells,
)
from densecf.commands.options import BenchmarkOptions
from densecf.errors import ConfigError, DensecfError
from densecf.files import explained_os_errors, sha256_of_file, write_bytes_atomic

if TYPE_CHECKING:
    from densecf.benchmark.runner import Job

LOGS = "logs"
CELL = "DENSECF_CELL"
"""Set for processes that run cells and make no report: "follow" ends when its standard input does, "alone" does not."""
_BAR = "{desc}: {percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} min of work [{elapsed}<{remaining}]{postfix}"
_SECONDS_BETWEEN_LINES = 60.0  # of progress, where it is not drawn over itself


def run_benchmark(options: BenchmarkOptions) -> Path:
    """Runs what is not done yet, makes the report and returns its folder.

    Raises:
        DensecfError: something in the matrix cannot be run; or cells failed, and the report of the others is made.
    """
    refuse_contradictions(options)
    if options.dry_run:
        return dry_run(options)
    choose(read_cells(options.matrix)[1], options.only)  # a slip must be told before anything is made
    plan = make_plan(options)
    chosen = choose(plan.cells, options.only)
    if os.environ.get(CELL):
        run_here(plan, chosen)
        return plan.out
    if options.report_only:
        make_report(plan, {})
        return plan.out
    open_cells = still_open(plan, chosen)
    fetch_weights(plan, open_cells)
    if open_cells and options.launcher == "slurm":
        hand_over(plan, open_cells, options)
        return plan.out
    if not options.quiet:
        print(f"{len(chosen)} cells, {len(chosen) - len(open_cells)} of them done: {plan.out}")
    failed = run_all(plan, open_cells, options) if open_cells else {}
    for title, lines in failed.items():
        print(f"-- {title}: {indent(lines, '   ').lstrip()}", file=sys.stderr)
    done = len(chosen) - len(failed)
    if options.only:
        print(f"Done: {done} of {len(chosen)} cells; the report: --report-only")
    elif done:
        make_report(plan, failed)
    if failed:
        raise DensecfError(
            f"{len(failed)} of {len(chosen)} cells failed: {', '.join(failed)}; what they printed is in "
            f"{plan.out / LOGS}. The same command tries them again"
        )
    return plan.out


def refuse_contradictions(options: BenchmarkOptions) -> None:
    """Raises ConfigError for options of which one would be ignored."""
    slurm = options.launcher == "slurm"
    clashes = [
        said
        for clash, said in (
            (options.dry_run and options.report_only, "--dry-run and --report-only"),
            (options.only and options.report_only, "--only and --report-only"),
            (slurm and (options.dry_run or options.report_only), "--launcher slurm and a call that runs nothing"),
            (slurm and options.jobs != "auto", "--launcher slurm and --jobs (Slurm decides)"),
            (options.report_only and options.jobs != "auto", "--report-only and --jobs"),
            (options.sbatch and not slurm, "--sbatch without --launcher slurm"),
        )
        if clash
    ]
    if clashes:
        raise ConfigError(f"these do not go together: {'; '.join(clashes)}")


def still_open(plan: Outlook, chosen: Sequence[int]) -> list[int]:
    """The places of those cells that are not done."""
    from densecf.benchmark.worker import is_done

    return [place for place in chosen if not all(map(is_done, plan.stages[place]))]


def run_here(plan: Plan, chosen: Sequence[int]) -> None:
    """Runs cells one after another in this process."""
    from densecf.benchmark.worker import run_cell, stop_with_parent, train_alone

    train_alone()
    if os.environ[CELL] == "follow":
        stop_with_parent()
    for place in chosen:
        run_cell(plan.cells[place], plan.stages[place], plan.folds, workers=_loader_processes())


def run_all(plan: Plan, places: Sequence[int], options: BenchmarkOptions) -> dict[str, str]:
    """Runs cells, each in a process; returns what the failed ones printed last, by title."""
    from tqdm import tqdm

    from densecf.benchmark.runner import Job, make_slots, run_jobs

    slots = make_slots(options.jobs)
    command = cell_command(plan, options)
    jobs = {
        place: Job(plan.cells[place].title, (*command, str(place)), plan.out / LOGS / f"{place:03d}.log")
        for place in places
    }
    at = {job.title: place for place, job in jobs.items()}
    progress = Progress(plan, places, slots[0].threads)
    drawn = sys.stderr.isatty()
    bar = tqdm(
        total=sum(progress.seconds.values()) / 60,
        disable=options.quiet,
        bar_format=_BAR,
        dynamic_ncols=True,
    )
    ended: set[int] = set()

    def show(running: Sequence[Job]) -> None:
        if bar.disable or bar.format_dict["elapsed"] - shown[0] < (1.0 if drawn else _SECONDS_BETWEEN_LINES):
            return
        shown[0] = bar.format_dict["elapsed"]
        now = {at[job.title]: progress.of(at[job.title]) for job in running}
        bar.n = (sum(progress.seconds[place] for place in ended) + sum(done for done, _ in now.values())) / 60
        bar.set_description_str(f"{len(ended)} of {len(jobs)} cells", refresh=False)
        bar.set_postfix_str("; ".join(f"{plan.cells[place].title}: {text}" for place, (_, text) in now.items()))

    def finished(job: Job, code: int) -> None:
        ended.add(at[job.title])
        if not options.quiet:
            bar.write(f"{'failed' if code else 'done'}: {job.title}")

    shown = [-_SECONDS_BETWEEN_LINES]
    with bar:
        return run_jobs(list(jobs.values()), slots, finished, show, environment={CELL: "follow"})


class Progress:
    """How far cells are, in seconds of expected work.

    Args:
        plan: all cells.
        places: those that are to be run.
        threads: of each process.
    """

    def __init__(self, plan: Outlook, places: Sequence[int], threads: int):
        from densecf.benchmark.worker import is_done

        self.plan, self.expected = plan, expected_seconds(plan, threads)
        self.seconds = open_seconds(plan, self.expected, places)
        self._open = {place: [not is_done(stage) for stage in plan.stages[place]] for place in places}

    def of(self, place: int) -> tuple[float, str]:
        """Seconds of work that a cell has behind it, and where it is: "finetune 41%"."""
        from densecf.benchmark.progress import share_done

        plan, done, text = self.plan, 0.0, "starts"
        for stage, seconds, todo in zip(plan.stages[place], self.expected[place], self._open[place], strict=True):
            share = share_done(plan.cells[place], stage, images=plan.images[place], masks=plan.masks)
            done += share * seconds * todo
            if share < 1 and stage.folder.is_dir():
                text = f"{stage.command} {share:.0%}"
        return min(done, self.seconds[place]), text


def hand_over(plan: Plan, places: Sequence[int], options: BenchmarkOptions) -> None:
    """Submits cells, and the report after them, to Slurm."""
    from densecf.benchmark.slurm import array_script, report_script, submit

    logs = plan.out / LOGS
    with explained_os_errors(logs):
        logs.mkdir(parents=True, exist_ok=True)
    command = cell_command(plan, options)
    cells, report = submit(
        plan.out,
        array_script(command, places, logs, options.sbatch, {CELL: "alone"}),
        "" if options.only else report_script([*command[:-1], "--report-only"], logs, options.sbatch),
    )
    after = f", the report is job {report} after it" if report else ""
    print(f"{len(places)} cells are job {cells}{after}: {plan.out}")


def cell_command(plan: Plan, options: BenchmarkOptions) -> tuple[str, ...]:
    """What runs a cell, less its number. It reads a copy of the matrix: an edited one numbers otherwise."""
    from densecf.benchmark.runner import python_command

    copy = plan.out / LOGS / f"matrix-{sha256_of_file(options.matrix)[:8]}.yaml"
    write_bytes_atomic(copy, options.matrix.read_bytes())
    folders = ("--out", str(plan.out), "--store", str(options.store.resolve()))
    return python_command("benchmark", str(copy), *folders, "--quiet", "--only")


def dry_run(options: BenchmarkOptions) -> Path:
    """Prints the cells, what is done of them, and the time that the rest will take; returns the report's folder."""
    from densecf.benchmark.estimate import clock_text
    from densecf.benchmark.runner import make_slots
    from densecf.benchmark.worker import is_done
    from densecf.commands.benchmark_plan import folder_of

    plan, notes = look_ahead(options)
    chosen, slots = choose(plan.cells, options.only), make_slots(options.jobs)
    seconds = open_seconds(plan, expected_seconds(plan, slots[0].threads), chosen)
    print(f"{len(chosen)} cells of {plan.matrix.title}, on {plan.dataset}")
    for note in notes:
        print(note)
    for place in chosen:
        cell = plan.cells[place]
        done = [stage.command for stage in plan.stages[place] if is_done(stage)]
        whole = len(done) == len(plan.stages[place])
        state = "done" if whole else clock_text(seconds[place]) if seconds[place] else "shared"
        parts, rest = ", ".join(cell.parts), "" if whole or not done else f"{', '.join(done)} done"
        print(f"  {place:3d}  {cell.title:<44} {parts:<16} {state:<12} {rest}".rstrip())
    total = sum(seconds.values())
    if total:
        print(f"About {clock_text(total)} of work, {clock_text(total / len(slots))} with {len(slots)} cells at a time")
    return folder_of(options)


def make_report(plan: Plan, failed: dict[str, str]) -> None:
    """Tables, figures and the page of the cells that are done."""
    from densecf.benchmark.report.make import dataset_text, picture_sections
    from densecf.benchmark.report.make import make_report as write_report
    from densecf.benchmark.results import read_results

    results = read_results(plan.cells, plan.stages)
    known = {result.cell.title for result in results} | set(failed)
    page = write_report(
        plan.matrix,
        results,
        failed,
        {
            cell.title: last_words(plan.out / LOGS, place, cell.title)
            for place, cell in enumerate(plan.cells)
            if cell.title not in known
        },
        plan.out,
        pictures=picture_sections(plan.matrix, results, plan.data, plan.source),
        dataset=dataset_text(plan.data, plan.source),
    )
    print(f"Report: {page} ({page.stat().st_size / 1e6:.1f} MB), of {len(results)} of {len(plan.cells)} cells")


def last_words(logs: Path, place: int, title: str) -> str:
    """What a cell that is not done printed last; "" where it was never started."""
    from densecf.benchmark.runner import last_lines

    found = [*logs.glob(f"{place:03d}.log"), *logs.glob(f"slurm-*-{place}.out")]
    for log in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        if f"== {title}: ".encode() in log.read_bytes():  # an edited matrix may have numbered otherwise
            return last_lines(log)
    return ""


def _loader_processes() -> int | None:
    """None where a cell has a GPU; else none beside the training: the cores are shared out among cells."""
    import torch

    return None if torch.cuda.is_available() else 0

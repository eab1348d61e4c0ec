"""``densecf counterfactuals evaluate``: how sound counterfactuals are, on patients no model has learnt from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from densecf import runs
from densecf.commands.datasets import choose_rows, open_dataset
from densecf.commands.finetune import data_of
from densecf.commands.models import embedded_model, find_model
from densecf.commands.options import CounterfactualEvaluateOptions
from densecf.config import PHANTOM
from densecf.config_values import to_dict
from densecf.counterfactuals.generation import default_interventions, unknown_parents
from densecf.counterfactuals.holdout import held_out
from densecf.counterfactuals.interventions import Intervention, parse_interventions
from densecf.counterfactuals.parents import CONTINUOUS, Parent, Parents, fit_parents, value_text
from densecf.data.intervention_names import settings_of
from densecf.data.prepared import PreparedDataset
from densecf.data.seen import SEEN, seen_records
from densecf.errors import ConfigError, DataError
from densecf.files import write_json_atomic, write_text_atomic

if TYPE_CHECKING:
    from densecf.counterfactuals.examination import Judges
    from densecf.counterfactuals.suppliers import Supplier

COMMAND = "soundness"
TABLE, FIGURES, PICTURE = "soundness.md", "soundness.json", "cases.png"
JUDGES = runs.ROOT / COMMAND / ".predictors"
SHOWN_PATIENTS, SHOWN_INTERVENTIONS = 6, 4


@dataclass(frozen=True)
class Subject:
    """What is measured: a generator or a store, its name, its parents, what is done, and who it must not know."""

    name: str
    supplier: Supplier
    parents: Parents
    interventions: tuple[Intervention, ...]
    kept_back: np.ndarray  # (n,) bool, rows of the dataset whose patients it has not learnt from


def run_evaluate_counterfactuals(options: CounterfactualEvaluateOptions) -> Path:
    """Writes ``soundness.json``, ``soundness.md`` and ``cases.png``, and returns the folder."""
    from densecf.counterfactuals.examination import examine
    from densecf.counterfactuals.soundness_report import soundness, soundness_markdown

    progress = not options.quiet
    data, subjects, facts = _subjects(options)
    rows = held_out_rows(data, subjects, options)
    training = np.flatnonzero(~np.all([subject.kept_back for subject in subjects], axis=0))
    out = runs.start_run(
        COMMAND,
        "-".join(subject.name for subject in subjects),
        to_dict(options),
        out=options.out,
        overwrite=options.overwrite,
        provenance={"dataset": str(data.path.resolve()), "dataset_checksum": data.checksum, **facts},
    )
    with runs.working_in(out):
        patients = data.records["patient_id"].iloc[rows].nunique()
        print(f"Measuring {', '.join(s.name for s in subjects)} on {len(rows)} held-out images of {data.path}")
        judges = _judges(data, training, rows, subjects, options)
        results: dict[str, dict[str, Any]] = {}
        for subject in subjects:
            found = examine(
                subject.supplier,
                data,
                rows,
                subject.interventions,
                judges,
                seed=options.seed,
                title=subject.name,
                progress=progress,
            )
            reasons = _reasons(judges, options)
            results[subject.name] = soundness(found, judges.predictor.parents, reasons=reasons)
            picture = PICTURE if len(subjects) == 1 else f"cases-{subject.name}.png"
            _save_picture(out / picture, subject, data, rows, judges)
        note = f"{data.path}: {len(rows)} held-out images of {patients} patients, {data.size} px."
        table = soundness_markdown(results, "Soundness of counterfactuals", note=note)
        write_json_atomic(out / FIGURES, results if len(subjects) > 1 else results[subjects[0].name])
        write_text_atomic(out / TABLE, table)
        runs.finish_run(out, COMMAND, images=len(rows), patients=patients)
    print(table)
    print(f"Run: {out}")
    return out


def held_out_rows(
    data: PreparedDataset, subjects: Sequence[Subject], options: CounterfactualEvaluateOptions
) -> np.ndarray:
    """Rows that no subject has learnt from, with all parents known; as many as asked for.

    Raises:
        DataError: none is left; says how many there were at each step.
    """
    chosen = np.all([subject.kept_back for subject in subjects], axis=0)
    num_held_out = int(chosen.sum())
    if options.where:
        chosen &= np.isin(np.arange(len(data)), choose_rows(data, where=options.where, split=""))
    num_wanted = int(chosen.sum())
    for subject in subjects:
        needed = subject.parents
        for name, unknown in unknown_parents(data.records, needed).items():
            if (lost := int((unknown & chosen).sum())) > 0:
                print(f"{lost} held-out images are left out: their {name} is not known to {subject.name}")
            chosen &= ~unknown
    rows = np.flatnonzero(chosen)
    if not len(rows):
        raise DataError(
            f"{data.path}: no image to measure on: {num_held_out} are held out"
            + (f", {num_wanted} of them with --where {options.where}" if options.where else "")
            + ", none of these with all parents known. Train with a larger --holdout, or ask for others."
        )
    if options.images and options.images < len(rows):
        rows = np.sort(np.random.default_rng(options.seed).permutation(rows)[: options.images])
    return rows


def _subjects(
    options: CounterfactualEvaluateOptions,
) -> tuple[PreparedDataset, tuple[Subject, ...], dict[str, Any]]:
    """The dataset, what is measured on it, and the facts for the provenance."""
    if options.source:
        if options.run != CounterfactualEvaluateOptions.run:
            raise ConfigError("--source measures stored counterfactuals, --run models: give one of them")
        data = open_dataset(PHANTOM if options.data == "auto" else options.data, progress=not options.quiet)
        return data, (_stored(data, options),), {"source": options.source}
    from densecf.counterfactuals.generator import load_generator
    from densecf.counterfactuals.suppliers import FromGenerator

    where = options.data
    weights = list(dict.fromkeys(find_model(which, PHANTOM if where == "auto" else where) for which in options.run))
    if where == "auto":
        where = PHANTOM if weights[0] == embedded_model() else data_of(weights[0])
    data = open_dataset(where, progress=not options.quiet)
    names = [path.parent.name if runs.is_run(path.parent) else path.stem for path in weights]
    if len(set(names)) < len(names):
        names = [f"{name}-{number}" for number, name in enumerate(names, start=1)]
    subjects = []
    for name, path in zip(names, weights, strict=True):
        generator = load_generator(path, seed=options.seed)
        if generator.size != data.size:
            raise ConfigError(f"{path}: takes images of {generator.size} px, and those of {data.path} have {data.size}")
        parents = generator.scm.parents
        wanted = parse_interventions(asked(options) or default_do(parents), parents)
        supplier = FromGenerator(generator, options.seed)
        subjects.append(Subject(name, supplier, parents, wanted, kept_back(data, path)))
    return data, tuple(subjects), {"runs": [str(path) for path in weights]}


def asked(options: CounterfactualEvaluateOptions) -> tuple[str, ...]:
    """The interventions asked for, each once."""
    return tuple(dict.fromkeys(text for flag in options.do for text in flag))


def default_do(parents: Parents) -> tuple[str, ...]:
    """What is done unless asked otherwise: as generation does, and "other" of every further discrete parent."""
    usual = default_interventions(parents)
    others = [f"{parent.name}=other" for parent in parents.entries if parent.kind != CONTINUOUS]
    return tuple(dict.fromkeys([*usual, *others]))


def kept_back(data: PreparedDataset, weights: Path) -> np.ndarray:
    """Which rows a model's training kept back, less all patients that its run says it saw; (n,) bool."""
    run = weights.parent
    config = runs.read_config(run) if runs.is_run(run) else {}
    share, seed = float(config.get("holdout", 0.1)), int(config.get("seed", 0))
    held = np.array(held_out(data.records, share=share, seed=seed))
    if (run / SEEN).is_file():
        patients = set(seen_records(run)["patient_id"])
        held &= ~data.records["patient_id"].astype(str).isin(patients).to_numpy()
    else:
        print(f"Note: {weights.name} does not say which patients it learnt from; those held out by default are taken")
    return held


def _stored(data: PreparedDataset, options: CounterfactualEvaluateOptions) -> Subject:
    """The stored counterfactuals of a source as a subject.

    Raises:
        DataError: nothing of this source is stored, or not what is asked for.
        ConfigError: a stored name is no intervention on the dataset's columns.
    """
    from densecf.counterfactuals.suppliers import FromStore

    held = data.counterfactuals.get(options.source, ())
    names = asked(options) or held
    absent = [name for name in names if name not in held]
    if absent or not names:
        there = "; ".join(f"{source}: {', '.join(stored)}" for source, stored in data.counterfactuals.items())
        raise DataError(
            f"{data.path}: no counterfactual {options.source}/{absent[0] if absent else ''} is stored; there are: "
            f"{there or 'none'}. Make them with 'densecf counterfactuals generate' or 'import'."
        )
    columns = list(dict.fromkeys(parent for name in names for parent, value in settings_of(name) if value))
    entries: list[Parent] = []
    for column in columns:
        entries += fit_parents(data.records, [column])[0].entries
    parents = Parents(tuple(entries))
    interventions: list[Intervention] = []
    for name in names:
        parsed = parse_interventions([name], parents)
        if len(parsed) != 1:
            raise ConfigError(
                f"{data.path}: {options.source}/{name} can mean {', '.join(one.name for one in parsed)}; "
                "store it under one of these names"
            )
        interventions.append(Intervention(name, parsed[0].terms))
    supplier = FromStore(data, options.source, parents, names)
    return Subject(options.source, supplier, parents, tuple(interventions), np.array(held_out(data.records)))


def _judges(
    data: PreparedDataset,
    training: np.ndarray,
    rows: np.ndarray,
    subjects: Sequence[Subject],
    options: CounterfactualEvaluateOptions,
) -> Judges:
    from densecf.counterfactuals.examination import Judges
    from densecf.counterfactuals.judge_training import (
        judged_parents,
        masks_of,
        predictor_for,
        segmenter_for,
        without_patients_of,
    )
    from densecf.counterfactuals.truth import truth_of
    from densecf.models.device import best_device

    training = without_patients_of(data, training, rows)
    if not len(training):
        raise DataError(f"{data.path}: all images are held out; none is left to train the predictor on")
    known = {parent.name: parent for subject in subjects for parent in subject.parents.entries}
    parents, truth, device = judged_parents(data, training, known), truth_of(data), best_device()
    how: Mapping[str, Any] = {
        "seed": options.seed,
        "epochs": options.judge_epochs or None,
        "progress": not options.quiet,
    }
    predictor = predictor_for(data, training, parents, JUDGES, **how).to(device)
    segmenter, why = segmenter_for(data, training, truth, JUDGES, **how)
    mask_of, masked = masks_of(data, truth)
    return Judges(
        predictor,
        None if segmenter is None else segmenter.to(device),
        why,
        truth,
        lambda row: mask_of(row) if masked[row] else None,
    )


def _reasons(judges: Judges, options: CounterfactualEvaluateOptions) -> dict[str, str]:
    """Why a figure could not be measured, if it could not."""
    reasons: dict[str, str] = {}

    def say(why: str, *names: str) -> None:
        reasons.update(dict.fromkeys(names, why))

    if options.source:
        why = "stored counterfactuals come without a model to ask"
        say(why, "composition", "composition_after_10", "reconstruction_error", "reversibility")
    else:
        say("this generator has no reconstruction without pixel noise", "reconstruction_error")
    if judges.segmenter is None:
        say(judges.no_segmenter, "lung_dice", "segmenter_dice")
    else:
        say("none of the held-out images has a mask", "segmenter_dice")
    if judges.truth is None:
        why = "nobody knows the true counterfactual of a real image"
        say(why, "predictor_on_truth", "lung_dice_of_truth", "error_to_truth", "error_of_doing_nothing", "error_ratio")
    return reasons


def _save_picture(path: Path, subject: Subject, data: PreparedDataset, rows: np.ndarray, judges: Judges) -> None:
    """A few patients of different parents, with the first interventions."""
    from densecf.visualization.soundness_figure import Case, save_cases
    from densecf.visualization.words import shortened

    wanted = subject.interventions[:SHOWN_INTERVENTIONS]
    chosen = varied_rows(data.records, rows, [name for one in wanted for name, _ in one.terms], SHOWN_PATIENTS)
    records, images = data.records.iloc[chosen], np.stack([data.image(row) for row in chosen])
    changed = [subject.supplier.changed(records, one) for one in subject.interventions]
    made = subject.supplier.answer(chosen, images, records, changed).counterfactuals
    cases = []
    for i, row in enumerate(chosen):
        tables = [table.iloc[i] for table in changed[: len(wanted)]]
        own = ", ".join(value_text(records.iloc[i][name]) for name in subject.parents.names)
        cases.append(
            Case(
                f"{shortened(str(records.iloc[i]['image']), 24)}\n{own}",
                images[i],
                [made[k][i] for k in range(len(wanted))],
                [judges.truth.counterfactual(int(row), table) if judges.truth else None for table in tables],
                [
                    "\n".join(f"{name}: {value_text(table[name])}" for name, _ in one.terms)
                    for one, table in zip(wanted, tables, strict=True)
                ],
            )
        )
    save_cases(path, cases, [one.name for one in wanted], heading=f"{subject.name} · held-out patients")


def varied_rows(records: pd.DataFrame, rows: np.ndarray, names: Sequence[str], count: int) -> np.ndarray:
    """Rows that differ in these columns: one of every combination in turn, the commonest first; sorted."""
    texts = [tuple(value_text(records.iloc[row][name]) for name in dict.fromkeys(names)) for row in rows]
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, text in zip(rows, texts, strict=True):
        groups.setdefault(text, []).append(int(row))
    ordered = sorted(groups.values(), key=len, reverse=True)
    turns = [group[turn] for turn in range(len(rows)) for group in ordered if turn < len(group)]
    return np.sort(turns[:count])

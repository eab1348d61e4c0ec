"""``densecf counterfactuals generate``, ``import`` and ``show``: counterfactuals of a dataset, or of one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from densecf import runs
from densecf.commands.datasets import open_dataset, row_of
from densecf.commands.models import find_model
from densecf.commands.options import (
    CounterfactualGenerateOptions,
    CounterfactualImportOptions,
    CounterfactualShowOptions,
)
from densecf.config import PHANTOM
from densecf.config_values import to_dict
from densecf.counterfactuals.interventions import Intervention, parse_interventions
from densecf.counterfactuals.parents import CONTINUOUS, UNKNOWN, Parent, Parents, value_text
from densecf.data.layout import TRUTH
from densecf.data.prepared import PreparedDataset
from densecf.data.profiles import load_image
from densecf.errors import ConfigError
from densecf.files import write_json_atomic

if TYPE_CHECKING:
    from densecf.counterfactuals.generator import Generator

PICTURE, NUMBERS = "counterfactuals.png", "counterfactuals.json"


def run_generate(options: CounterfactualGenerateOptions) -> PreparedDataset:
    """Adds counterfactuals of every record to a prepared dataset."""
    from densecf.counterfactuals.generation import generate

    generator = _generator(options.run, options.data, options.sample, options.seed)
    data = open_dataset(options.data, progress=not options.quiet)
    data = generate(
        generator,
        data,
        interventions_for(generator, options.do),
        source=options.source,
        batch_size=options.batch_size,
        seed=options.seed,
        overwrite=options.overwrite,
        progress=not options.quiet,
    )
    print(f"Dataset: {data.path}")
    return data


def run_import(options: CounterfactualImportOptions) -> PreparedDataset:
    """Adds the images of a folder to a prepared dataset, as counterfactuals."""
    from densecf.counterfactuals.importing import import_counterfactuals, parse_names

    names = parse_names(options.names)
    data = open_dataset(options.data, progress=not options.quiet)
    data = import_counterfactuals(
        data,
        options.folder,
        names,
        pattern=options.pattern,
        source=options.source,
        gain=options.gain,
        overwrite=options.overwrite,
        progress=not options.quiet,
    )
    print(f"Counterfactuals {options.source}/{', '.join(names.values())}: {len(names) * len(data):,} images")
    print(f"Dataset: {data.path}")
    return data


def run_show(options: CounterfactualShowOptions) -> Path:
    """Writes a picture of one image's counterfactuals and what they changed, and returns the folder."""
    from densecf.counterfactuals.importing import image_stem
    from densecf.visualization.counterfactual_figure import Case, save_figure

    if options.image is not None and (options.record or options.data != PHANTOM):
        raise ConfigError("give an image file, or --data with --record: not both")
    generator = _generator(options.run, options.data, options.sample, options.seed)
    interventions = interventions_for(generator, options.do)
    subject = _from_file(options, generator) if options.image is not None else _from_dataset(options, generator)
    before = {name: value_text(subject.record[name].iloc[0]) for name in generator.scm.parents.names}
    cases, numbers = [], {}
    for intervention, (image, after) in zip(
        interventions, answer(generator, subject, interventions, options.seed), strict=True
    ):
        changed = {name: value for name, value in after.items() if value != before[name]}
        truth = subject.truth.get(intervention.name)
        numbers[intervention.name] = {"changed": changed, **distances(subject.image, image, truth)}
        note = ", ".join(f"{before[name]} → {value}" for name, value in changed.items()) or "has it already"
        cases.append(Case(f"do({intervention.name})", note, image, truth))
    out = runs.start_run(
        "show",
        image_stem(subject.name),
        to_dict(options),
        out=options.out,
        overwrite=options.overwrite,
        provenance={"model": generator.provenance(), **subject.provenance},
    )
    with runs.working_in(out):
        parents = ", ".join(f"{name} {value}" for name, value in before.items())
        save_figure(out / PICTURE, subject.image, cases, heading=f"{subject.name} · {parents}")
        write_json_atomic(out / NUMBERS, {"image": subject.name, "parents": before, "interventions": numbers})
        runs.finish_run(out, "show")
    for name, facts in numbers.items():
        told = (f"{key.replace('_', ' ')} {value:.4f}" for key, value in facts.items() if isinstance(value, float))
        print(f"do({name}): {', '.join(told)}")
    print(f"Picture: {out / PICTURE}")
    return out


def interventions_for(generator: Generator, asked: Sequence[Sequence[str]]) -> tuple[Intervention, ...]:
    """What ``--do`` asks for, or the default for the model's parents.

    Raises:
        ConfigError: it cannot be read or done; says what there is.
    """
    from densecf.counterfactuals.generation import default_interventions

    parents = generator.scm.parents
    texts = [text for group in asked for text in group]
    return parse_interventions(texts or default_interventions(parents), parents)


@dataclass(frozen=True)
class Subject:
    """The image whose counterfactuals are shown.

    Attributes:
        name: file or record.
        image: (S, S) float32 in [0, 1].
        record: one row with all the model's parents.
        truth: intervention -> the true counterfactual, where it is known.
        provenance: where it came from.
    """

    name: str
    image: np.ndarray
    record: pd.DataFrame
    truth: dict[str, np.ndarray]
    provenance: dict[str, Any]


def answer(
    generator: Generator, subject: Subject, interventions: Sequence[Intervention], seed: int
) -> list[tuple[np.ndarray, dict[str, str]]]:
    """The counterfactual image and the parents that go with it, for each intervention."""
    import torch

    scm, record = generator.scm, subject.record
    records = [scm.intervene(record, intervention, seed=seed) for intervention in interventions]
    own = torch.from_numpy(scm.encode(record))
    targets = torch.from_numpy(np.stack([scm.encode(changed) for changed in records]))
    with torch.no_grad():
        abducted = generator.abduct(torch.from_numpy(subject.image)[None, None], own)
        predicted = generator.predict(abducted, targets).float().cpu().numpy()[:, 0, 0]
    texts = [{name: value_text(changed[name].iloc[0]) for name in scm.parents.names} for changed in records]
    same = (targets == own).all(dim=-1)[:, 0].tolist()
    images = [subject.image if null else image for null, image in zip(same, predicted, strict=True)]
    return list(zip(images, texts, strict=True))


def one_record(image: str, given: dict[str, str], known: dict[str, Any], parents: Parents) -> pd.DataFrame:
    """A record with all parents of the model.

    Args:
        image: its name.
        given: parent -> value, as ``--parents`` gives them; these go before ``known``.
        known: what the dataset says of it.
        parents: of the model.

    Raises:
        ConfigError: lists every parent that is missing, unknown to the model, or has a value it does not know.
    """
    problems = [f"{name} is not a parent of this model" for name in given if name not in parents.names]
    cells: dict[str, Any] = {"image": image}
    for parent in parents.entries:
        try:
            stated = given.get(parent.name)
            cells[parent.name] = _cell(parent, value_text(known.get(parent.name)) if stated is None else stated)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        described = "; ".join(parent.describe() for parent in parents.entries)
        raise ConfigError(
            f"{image}: {'; '.join(problems)}. All parents of the model are needed, given as --parents "
            f"{parents.names[0]}={_example(parents.entries[0])}; they are: {described}"
        )
    return pd.DataFrame({name: [cell] for name, cell in cells.items()})


def _cell(parent: Parent, text: str) -> str | float:
    """A value as the model writes it, "m" -> "M", "1.0" -> "1"; ConfigError when it has none such."""
    if text == UNKNOWN:
        if UNKNOWN not in parent.values:
            raise ConfigError(f"{parent.name} is missing")
        return text
    if text.startswith("other") and text not in parent.values:
        raise ConfigError(f"{parent.name}={text}: say what it is")
    value = parse_interventions([f"{parent.name}={text}"], Parents((parent,)))[0].terms[0][1]
    return float(value) if parent.kind == CONTINUOUS else value


def _example(parent: Parent) -> str:
    return parent.values[0] if parent.values else value_text(round(parent.mean))


def _given(texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name or not value or name in found:
            raise ConfigError(f"--parents {text}: write parent=value, each parent once")
        found[name] = value
    return found


def _from_file(options: CounterfactualShowOptions, generator: Generator) -> Subject:
    assert options.image is not None
    record = one_record(options.image.name, _given(options.parents), {}, generator.scm.parents)
    profile = getattr(generator, "facts", {}).get("profile") or "robust"
    image, _ = load_image(options.image, generator.size, profile)
    return Subject(options.image.name, image, record, {}, {"image": str(options.image.resolve()), "profile": profile})


def _from_dataset(options: CounterfactualShowOptions, generator: Generator) -> Subject:
    """A record of a dataset (the first of the manual split when none is named), with its true counterfactuals."""
    data = open_dataset(options.data)
    if data.size != generator.size:
        raise ConfigError(f"{data.path}: images of {data.size} px, and the model makes {generator.size} px")
    row = row_of(data, options.record)
    image = str(data.records["image"].iloc[row])
    known = {str(name): cell for name, cell in data.records.iloc[row].items()}
    record = one_record(image, _given(options.parents), known, generator.scm.parents)
    truth = {}
    if not options.parents:  # other parents than the record's have another truth
        truth = {name: data.counterfactual(TRUTH, name, row) for name in data.counterfactuals.get(TRUTH, ())}
    where = {"dataset": str(data.path.resolve()), "dataset_checksum": data.checksum, "record": image}
    return Subject(image, data.image(row), record, truth, where)


def _generator(which: str, data: str, sample: bool, seed: int) -> Generator:
    from densecf.counterfactuals.generator import load_generator

    return load_generator(find_model(which, data), sample=sample, seed=seed)


def distances(real: np.ndarray, counterfactual: np.ndarray, truth: np.ndarray | None) -> dict[str, float]:
    """Mean absolute differences of images in [0, 1]; those to the truth where it is known."""

    def between(image: np.ndarray, other: np.ndarray) -> float:
        return float(np.abs(image - other).mean())

    found = {"mean_absolute_difference": between(counterfactual, real)}
    if truth is not None:
        found |= {"error_to_truth": between(counterfactual, truth), "error_of_doing_nothing": between(real, truth)}
    return found

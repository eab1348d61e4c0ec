"""Counterfactuals of a whole prepared dataset: one abduction a batch, and all interventions predicted from it at once.

generator = load_generator("runs/counterfactuals/hvae")
interventions = parse_interventions(["scanner=other", "sex=other"], generator.scm.parents)
dataset = generate(generator, dataset, interventions)
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from densecf.counterfactuals.interventions import Intervention
from densecf.counterfactuals.parents import CONTINUOUS, Parent, Parents, value_text
from densecf.data.counterfactual_arrays import write_counterfactuals
from densecf.data.layout import IMAGE_DTYPE, IMAGES, WHITE, read_meta
from densecf.data.prepared import PreparedDataset
from densecf.data.problems import listing
from densecf.data.row_files import RowFile
from densecf.errors import ConfigError, DataError
from densecf.files import to_jsonable

if TYPE_CHECKING:
    from densecf.counterfactuals.generator import Generator

_RECORDS = 512  # whose parents are changed at a time
PAPER = ("scanner=other", "pleural_effusion=other", "scanner=other+pleural_effusion=other")


def default_interventions(parents: Parents) -> tuple[str, ...]:
    """The paper's three where the model knows scanner and pleural_effusion, else "other" of each discrete parent.

    Raises:
        ConfigError: all parents are continuous.
    """
    discrete = [parent.name for parent in parents.entries if parent.kind != CONTINUOUS]
    if {"scanner", "pleural_effusion"} <= set(discrete):
        return PAPER
    if not discrete:
        raise ConfigError(f"Say what to do with --do, e.g. --do {parents.names[0]}=60: the model has no other parents.")
    return tuple(f"{name}=other" for name in discrete)


def generate(
    generator: Generator,
    dataset: PreparedDataset,
    interventions: Sequence[Intervention],
    *,
    source: str = "",
    batch_size: int = 16,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = True,
) -> PreparedDataset:
    """Store a counterfactual of every record for each intervention, and say how fast it went.

    A record that has the target value already, and one whose parents the model does not know, gets its own image. A
    killed run goes on when it is called again, with the same bytes in the end. Interventions that this very model has
    stored already are left as they are.

    Args:
        generator: see `densecf.counterfactuals.generator.Generator`.
        dataset: of the generator's size.
        interventions: from `densecf.counterfactuals.interventions.parse_interventions`.
        source: name that the counterfactuals are stored under; by default the generator's.
        batch_size: records a batch; each gives as many images as there are interventions.
        seed: of the noise of discrete descendants, where the model has causes among its parents.
        overwrite: make what is stored anew; with another model, replaces all of the source.
        progress: show a progress bar.

    Returns:
        The dataset, opened anew; ``status`` is "generated", "resumed" or "reused".

    Raises:
        ConfigError: nothing to do, an intervention twice, or another image size than the model's.
        DataError: no record has parents that the model knows, or other counterfactuals are stored under this name.
        DensecfError: the disk is full, or another process is at it.
    """
    source = source or generator.name
    _check(generator, dataset, interventions, batch_size)
    unknown = unknown_parents(dataset.records, generator.scm.parents)
    without = np.any(list(unknown.values()), axis=0)
    counts = {name: int(rows.sum()) for name, rows in unknown.items() if rows.any()}
    if without.all():
        raise DataError(
            f"{dataset.path}: no record has parents that the model knows; unknown are "
            f"{_counted(counts)}. The model's parents are: {_described(generator.scm.parents)}."
        )
    provenance: dict[str, Any] = to_jsonable(
        {**generator.provenance(), "records_kept_real": int(without.sum()), "unknown_parents": counts}
        | ({"seed_of_mechanisms": seed} if generator.scm.mechanisms else {})
    )
    todo = list(interventions)
    stored = read_meta(dataset.path)["counterfactuals"].get(source)
    if stored and stored["provenance"] == provenance and not overwrite:
        todo = [intervention for intervention in interventions if intervention.name not in stored["names"]]
        kept = [i.name for i in interventions if i not in todo]
        if kept:
            print(f"Stored already by this model: {source}/{', '.join(kept)}")
        if not todo:
            dataset = PreparedDataset.open(dataset.path)
            dataset.status = "reused"
            return dataset
    if without.any():
        print(
            f"Note: {without.sum():,} of {len(dataset):,} records have parents that the model does not know "
            f"({_counted(counts)}); their counterfactual is the real image itself"
        )
    questions = _ask(generator, dataset.records, without, todo, seed)
    rendering = _Rendering(generator, dataset, questions, batch_size, progress)
    dataset = write_counterfactuals(
        dataset,
        source,
        questions.names,
        rendering.blocks,
        provenance,
        plan={"batch_size": batch_size, "interventions": [list(map(list, i.terms)) for i in todo], "seed": seed},
        overwrite=overwrite,
    )
    seconds = time.perf_counter() - rendering.started
    asked = questions.asked[:, rendering.first :]
    same = asked.size - asked.sum() - without[rendering.first :].sum() * len(questions.names)
    if same:
        print(f"{same:,} images are the real ones, whose records have the value already")
    made = int(asked.sum())
    before = f"; {rendering.first:,} records were there from before" if rendering.first else ""
    print(
        f"Counterfactuals {source}/{', '.join(questions.names)}: {made:,} images in {seconds:.1f} s, "
        f"{made / seconds:,.1f} images a second{before}"
    )
    return dataset


def unknown_parents(records: pd.DataFrame, parents: Parents) -> dict[str, np.ndarray]:
    """For each parent, the records whose value the model cannot take: missing, or never seen in training; (n,) bool.

    Raises:
        DataError: a column is absent.
    """
    parents.encode(records.iloc[:0])  # an absent column is an error, which this raises
    return {
        parent.name: np.array([not _fits(cell, parent) for cell in records[parent.name]], bool)
        for parent in parents.entries
    }


def _fits(cell: Any, parent: Parent) -> bool:
    if parent.kind != CONTINUOUS:
        return value_text(cell) in parent.values
    try:
        return math.isfinite(float(cell))
    except (TypeError, ValueError):
        return False


def _check(
    generator: Generator, dataset: PreparedDataset, interventions: Sequence[Intervention], batch_size: int
) -> None:
    names = [intervention.name for intervention in interventions]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"Expected one or more interventions, each once: {', '.join(names) or 'none given'}.")
    if batch_size < 1:
        raise ConfigError(f"The batch size is {batch_size}, expected at least 1.")
    if generator.size != dataset.size:
        raise ConfigError(
            f"The model makes images of {generator.size} px and those of {dataset.path} have {dataset.size} px; "
            f"prepare the data with --size {generator.size}, or train a model on this dataset."
        )


@dataclass(frozen=True)
class _Questions:
    """What is asked of each record.

    Attributes:
        names: of the K interventions.
        own: (n, P) encoded parents; zeros where they are unknown.
        targets: (K, n, P) encoded parents after each intervention.
        asked: (K, n) bool, where the answer is not the real image itself.
    """

    names: tuple[str, ...]
    own: np.ndarray
    targets: np.ndarray
    asked: np.ndarray


def _ask(
    generator: Generator, records: pd.DataFrame, without: np.ndarray, interventions: Sequence[Intervention], seed: int
) -> _Questions:
    scm, known = generator.scm, np.flatnonzero(~without)
    shape = (len(records), scm.parents.width)
    own = np.zeros(shape, np.float32)
    targets = np.zeros((len(interventions), *shape), np.float32)
    for start in range(0, len(known), _RECORDS):  # tables take much more memory than their numbers
        rows = known[start : start + _RECORDS]
        some = records.iloc[rows]
        own[rows] = scm.encode(some)
        for number, intervention in enumerate(interventions):
            targets[number, rows] = scm.encode(scm.intervene(some, intervention, seed=seed))
    return _Questions(tuple(i.name for i in interventions), own, targets, (targets != own).any(axis=-1))


class _Rendering:
    """The blocks that `write_counterfactuals` stores.

    Attributes:
        first: the row it began with.
        started: when, by `time.perf_counter`.
    """

    def __init__(
        self, generator: Generator, dataset: PreparedDataset, questions: _Questions, batch_size: int, progress: bool
    ):
        self.generator, self.questions, self.batch_size, self.progress = generator, questions, batch_size, progress
        # Read, not mapped: pages of a map would count as memory, and grow with the dataset.
        self.images = RowFile(dataset.path / IMAGES, len(dataset), dataset.size, IMAGE_DTYPE)
        self.first, self.started = 0, time.perf_counter()

    def blocks(self, first: int) -> Iterator[np.ndarray]:
        """(K, rows, S, S) float32 for each batch from row ``first`` on, which is a multiple of the batch size."""
        self.first, self.started = first, time.perf_counter()
        count, total = len(self.questions.names), self.images.rows
        title = "resume" if first else "counterfactuals"
        with tqdm(
            total=total * count, initial=first * count, desc=title, unit="image", disable=not self.progress
        ) as bar:
            for start in range(first, total, self.batch_size):
                rows = slice(start, min(start + self.batch_size, total))
                yield self._block(rows)
                bar.update((rows.stop - start) * count)

    def _block(self, rows: slice) -> np.ndarray:
        stored = np.frombuffer(self.images.read(rows.start, rows.stop - rows.start), self.images.dtype)
        images = (stored.astype(np.float32) / np.float32(WHITE)).reshape(-1, *self.images.shape[1:])
        asked = self.questions.asked[:, rows]
        block = np.repeat(images[None], len(asked), axis=0)
        used = asked.any(axis=0)  # records of which nothing is asked cost nothing
        if used.any():
            own, targets = self.questions.own[rows][used], self.questions.targets[:, rows][:, used]
            with torch.no_grad():
                abducted = self.generator.abduct(torch.from_numpy(images[used])[:, None], torch.from_numpy(own))
                predicted = self.generator.predict(abducted, torch.from_numpy(targets)).float().cpu().numpy()
            answers = block[:, used]
            if predicted.shape != (*targets.shape[:2], 1, *images.shape[1:]):
                raise ValueError(f"the generator predicted {predicted.shape} for parents {targets.shape}")
            answers[asked[:, used]] = predicted[:, :, 0][asked[:, used]]
            block[:, used] = answers
        return block


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} in {count:,}" for name, count in counts.items())


def _described(parents: Parents) -> str:
    return listing([parent.describe() for parent in parents.entries])

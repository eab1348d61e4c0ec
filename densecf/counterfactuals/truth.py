"""The true counterfactuals of the phantom, and its true masks: what the estimated ones are measured against.

The place of a fluid that is not there cannot be seen in an image, so no method can reach the truth of an added
effusion. `PhantomTruth.best_guess` says how near one can come without knowing it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from densecf.counterfactuals.parents import value_text
from densecf.data import phantom
from densecf.data.layout import TRUTH
from densecf.data.parallel import available_cpus, map_rows
from densecf.data.prepared import PreparedDataset
from densecf.errors import DataError

GUESSES = 32
"""Renderings behind a best guess."""
FLUID_NOISE = (
    "effusion_side",
    "effusion_right",
    "effusion_left",
    "meniscus_right",
    "meniscus_left",
    "fluid_edge_right",
    "fluid_edge_left",
    "haze",
)
"""The exogenous noise that shows only where there is fluid."""


def truth_of(data: PreparedDataset) -> PhantomTruth | None:
    """The truth behind a dataset, or None where nobody knows it: it is no phantom, or one of another version."""
    made_of = (data.meta.get("fingerprint") or {}).get("source") or {}
    if made_of.get("source") != "phantom" or made_of.get("version") != phantom.VERSION:
        return None
    return PhantomTruth(data, int(made_of["seed"]))


@dataclass(frozen=True)
class PhantomTruth:
    """The phantom behind a prepared dataset.

    Attributes:
        data: the prepared phantom.
        seed: of its cohort.
    """

    data: PreparedDataset
    seed: int

    def counterfactual(self, row: int, changed: pd.Series) -> np.ndarray:
        """The true image of a row under other parents, (S, S) float32 in [0, 1].

        Args:
            row: of the dataset.
            changed: the record with the parents it should have.

        Raises:
            DataError: the phantom has no such parents.
        """
        factual = self._record(row)
        parents = self._parents(factual.parents, changed)
        for name in self.data.counterfactuals.get(TRUTH, ()):
            if phantom.intervene(factual.parents, name) == parents:
                return self.data.counterfactual(TRUTH, name, row)
        return phantom.render(parents, factual.noise, self.data.size)

    def mask(self, row: int) -> np.ndarray:
        """The true lungs of a row, hidden parts included, (S, S) uint8."""
        factual = self._record(row)
        return phantom.masks(factual.parents, factual.noise, self.data.size)

    def adds_fluid(self, row: int, changed: pd.Series) -> bool:
        """Whether the changed parents have an effusion that the row has not."""
        factual = self._record(row)
        return self._parents(factual.parents, changed).pleural_effusion > factual.parents.pleural_effusion

    def best_guess(self, row: int, changed: pd.Series, *, draws: int = GUESSES, seed: int = 0) -> np.ndarray:
        """The image of least expected absolute error to one who knows all of the patient but the fluid.

        That is the per-pixel median over renderings with other draws of `FLUID_NOISE`. (The fluid's own unevenness,
        3.5 % of the hidden air at most, shares its seed with the image's grain and stays as it is.)

        Args:
            row, changed: as for `counterfactual`.
            draws: renderings.
            seed: of the draws.

        Returns:
            (S, S) float32 in [0, 1].
        """
        factual = self._record(row)
        parents = self._parents(factual.parents, changed)
        rng = np.random.default_rng([seed, 16, row])
        images = []
        for _ in range(draws):
            fluid = dict(zip(FLUID_NOISE, np.clip(rng.standard_normal(len(FLUID_NOISE)), -2.5, 2.5), strict=True))
            visit = factual.noise.visit | {name: float(value) for name, value in fluid.items()}
            images.append(phantom.render(parents, replace(factual.noise, visit=visit), self.data.size))
        return np.median(images, axis=0)

    def best_guesses(
        self, rows: np.ndarray, changed: pd.DataFrame, *, seed: int = 0, progress: bool = False
    ) -> np.ndarray:
        """`best_guess` of many rows, on all cores: (n, S, S)."""
        guess = _Guess(self, np.asarray(rows), changed.reset_index(drop=True), seed)
        guesses = map_rows(guess, range(len(rows)), available_cpus())
        return np.stack(list(tqdm(guesses, "best guesses", len(rows), unit="img", disable=not progress)))

    def _record(self, row: int) -> phantom.Record:
        entry = self.data.records.iloc[row]
        return phantom.record(self.seed, entry["image"], entry["patient_id"])

    def _parents(self, factual: phantom.Parents, changed: pd.Series) -> phantom.Parents:
        names = [name for name in vars(factual) if name in changed]
        texts = {name: value_text(changed[name]) for name in names}
        try:
            typed = {
                name: float(text) if name == "age" else text if name in ("sex", "scanner") else int(text)
                for name, text in texts.items()
            }
            return replace(factual, **typed)  # type: ignore[arg-type]
        except ValueError as error:
            raise DataError(f"{self.data.path}: the phantom cannot be rendered so ({error})") from None


@dataclass(frozen=True)
class _Guess:
    truth: PhantomTruth
    rows: np.ndarray
    changed: pd.DataFrame
    seed: int

    def __call__(self, place: int) -> np.ndarray:
        return self.truth.best_guess(int(self.rows[place]), self.changed.iloc[place], seed=self.seed)

"""How one parent follows from others, learnt from the records, and what of it was chance in each of them.

A mechanism is child = f(causes, noise). `abduct` finds the noise that gave a record its child, `predict` runs f again
under other causes with the same noise:

- a binary or categorical child is the arg max of log-probabilities plus Gumbel noise, a multinomial logistic
  regression; the noise is drawn from its posterior given the observed value (Oberst & Sontag 2019, arXiv:1905.05824);
- a continuous child is mean + spread x noise, both depending on the causes, and is inverted
  (Pawlowski et al. 2020, arXiv:2006.06485; Ribeiro et al. 2023, arXiv:2306.15764).

Effects of several causes add up on the logit (or the mean, or the logarithm of the spread); that of a continuous cause
is a natural cubic spline: smooth, and a straight line beyond the values that were seen.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from densecf.counterfactuals.parents import CONTINUOUS, Parent, Parents, codes, numbers
from densecf.errors import CheckpointError

_KNOTS = (0.05, 0.35, 0.65, 0.95)  # quantiles (Harrell, Regression Modeling Strategies, 2.4.6)
_MARGIN = 1e-9  # by which the observed value wins: far above rounding, far below any chance that matters
_SMALLEST_SPREAD = 1e-3  # of a continuous child that follows from its causes exactly, in its standard deviations
_LARGEST_LOG_SPREAD = 10.0
_ROUNDS = 3  # mean given spread, spread given mean: settled after two


@dataclass(frozen=True)
class Causes:
    """Causes as regressors.

    Attributes:
        parents: the causes.
        knots: of the spline of each continuous one, in its standard deviations; empty for the others.
    """

    parents: Parents
    knots: tuple[tuple[float, ...], ...]

    @property
    def width(self) -> int:
        return sum(
            1 + max(len(knots) - 2, 0) if parent.kind == CONTINUOUS else len(parent.values) - 1
            for parent, knots in zip(self.parents.entries, self.knots, strict=True)
        )

    def features(self, records: pd.DataFrame) -> np.ndarray:
        """(n, width) float64: an indicator of each value but the first, or the spline's basis.

        Raises:
            DataError: a cause is unknown in a record.
        """
        parts = [np.zeros((len(records), 0))]
        for parent, knots in zip(self.parents.entries, self.knots, strict=True):
            if parent.kind == CONTINUOUS:
                parts.append(natural_spline((numbers(records, parent) - parent.mean) / parent.std, knots))
            else:
                parts.append(np.eye(len(parent.values))[codes(records, parent), 1:])
        return np.concatenate(parts, axis=1)


class Mechanism(Protocol):
    """What `scm` needs of a mechanism; further kinds can stand in."""

    @property
    def child(self) -> Parent: ...

    @property
    def causes(self) -> Causes: ...

    def abduct(self, records: pd.DataFrame, seed: int) -> np.ndarray:
        """The noise behind each record's child, (n, ...); a record's noise depends on its own row and the seed only."""

    def predict(self, noise: np.ndarray, records: pd.DataFrame) -> list[str]:
        """The child under the causes in ``records`` (its own column is not read), as text."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""


@dataclass(frozen=True)
class CategoricalMechanism:
    """A binary or categorical child; "unknown" is no outcome.

    Attributes:
        child, causes: the parents.
        weights: for each known value of the child, the intercept and a weight for each regressor.
    """

    child: Parent
    causes: Causes
    weights: tuple[tuple[float, ...], ...]

    def log_probabilities(self, records: pd.DataFrame) -> np.ndarray:
        """log P(child = v | causes), (n, values)."""
        from scipy.special import log_softmax

        weights = np.array(self.weights)
        return log_softmax(weights[:, 0] + self.causes.features(records) @ weights[:, 1:].T, axis=1)

    def abduct(self, records: pd.DataFrame, seed: int) -> np.ndarray:
        """Gumbel noise given the observed value, (n, values); seeded by the seed, the child and the image's name."""
        log_p = self.log_probabilities(records)
        observed = codes(records, self.child)[:, None]
        gumbel = -np.log(-np.log(_uniforms(records, self.child.name, seed, log_p.shape[1])))
        # The maximum is a standard Gumbel whoever wins, since the probabilities sum to 1; the others are cut off at it.
        top = np.take_along_axis(gumbel, observed, 1)
        perturbed = np.minimum(-np.logaddexp(-top, -(log_p + gumbel)), top - _MARGIN)
        np.put_along_axis(perturbed, observed, top, 1)
        return perturbed - log_p

    def predict(self, noise: np.ndarray, records: pd.DataFrame) -> list[str]:
        winners = (self.log_probabilities(records) + noise).argmax(1)
        return [self.child.values[winner] for winner in winners]

    def to_dict(self) -> dict[str, Any]:
        return _common(self) | {"weights": [list(row) for row in self.weights]}


@dataclass(frozen=True)
class AffineMechanism:
    """A continuous child.

    Attributes:
        child, causes: the parents.
        mean: intercept and a weight for each regressor, in standard deviations of the child.
        log_spread: the same for the logarithm of the spread.
    """

    child: Parent
    causes: Causes
    mean: tuple[float, ...]
    log_spread: tuple[float, ...]

    def moments(self, records: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Mean and spread of the child given its causes, (n,) each, in the child's unit."""
        features = self.causes.features(records)
        mean = self.mean[0] + features @ np.array(self.mean[1:])
        log_spread = self.log_spread[0] + features @ np.array(self.log_spread[1:])
        spread = np.exp(np.clip(log_spread, -_LARGEST_LOG_SPREAD, _LARGEST_LOG_SPREAD))
        return self.child.mean + self.child.std * mean, self.child.std * spread

    def abduct(self, records: pd.DataFrame, seed: int = 0) -> np.ndarray:
        """How many spreads the child lies above its mean, (n,): no chance is left, so the seed plays no part."""
        mean, spread = self.moments(records)
        return (numbers(records, self.child) - mean) / spread

    def predict(self, noise: np.ndarray, records: pd.DataFrame) -> list[str]:
        mean, spread = self.moments(records)
        return [repr(value) for value in (mean + spread * noise).tolist()]

    def to_dict(self) -> dict[str, Any]:
        return _common(self) | {"mean": list(self.mean), "log_spread": list(self.log_spread)}


def fit_mechanism(records: pd.DataFrame, child: Parent, causes: Parents) -> CategoricalMechanism | AffineMechanism:
    """Learn a mechanism.

    Args:
        records: with the causes known; records whose child is unknown are left out.
        child, causes: parents fitted to these records.

    Raises:
        DataError: a cause is unknown in a record.
    """
    if child.kind == CONTINUOUS:
        return _fit_affine(records, child, _fit_causes(records, causes))
    records = records[codes(records, child) < len(child.known_values)]
    return _fit_categorical(records, child, _fit_causes(records, causes))


def mechanism_from_dict(entry: Any, parents: Parents) -> CategoricalMechanism | AffineMechanism:
    """What ``to_dict`` of a mechanism described.

    Raises:
        CheckpointError: it cannot be read, or does not fit the parents.
    """
    try:
        child = parents[entry["child"]]
        causes = Causes(
            parents.only([cause["name"] for cause in entry["causes"]]),
            tuple(_floats(cause["knots"]) for cause in entry["causes"]),
        )
        found: CategoricalMechanism | AffineMechanism
        rows: tuple[tuple[float, ...], ...]
        if child.kind == CONTINUOUS:
            found = AffineMechanism(child, causes, _floats(entry["mean"]), _floats(entry["log_spread"]))
            rows, expected = (found.mean, found.log_spread), 2
        else:
            found = CategoricalMechanism(child, causes, tuple(_floats(row) for row in entry["weights"]))
            rows, expected = found.weights, len(child.known_values)
        shaped = len(rows) == expected and all(len(row) == 1 + causes.width and np.isfinite(row).all() for row in rows)
        if shaped and all((np.diff(knots) > 0).all() for knots in causes.knots):
            return found
        reason = "its weights do not fit its causes"
    except Exception as error:  # whatever is wrong with a file, it is wrong with the file
        reason = str(error)
    raise CheckpointError(f"A mechanism of the model cannot be read ({reason}). Train the model again.")


def natural_spline(values: np.ndarray, knots: Sequence[float]) -> np.ndarray:
    """Basis of the natural cubic splines, without the constant: the values themselves, then K - 2 columns.

    Args:
        values: (n,).
        knots: K ascending; with fewer than 3 only the straight line is left.

    Returns:
        (n, max(K - 1, 1)); linear below the first and above the last knot.
    """
    columns = [values]
    if len(knots) > 2:
        *inner, before, last = knots
        cubes = {knot: np.maximum(values - knot, 0) ** 3 for knot in knots}
        for knot in inner:
            bend = cubes[knot]
            bend = bend - cubes[before] * (last - knot) / (last - before)
            bend = bend + cubes[last] * (before - knot) / (last - before)
            columns.append(bend / (last - knots[0]) ** 2)
    return np.stack(columns, axis=1)


def _fit_causes(records: pd.DataFrame, causes: Parents) -> Causes:
    knots: list[tuple[float, ...]] = []
    for cause in causes.entries:
        if cause.kind == CONTINUOUS:
            values = (numbers(records, cause) - cause.mean) / cause.std
            knots.append(tuple(np.unique(np.quantile(values, _KNOTS)).tolist()))
        else:
            knots.append(())
    return Causes(causes, tuple(knots))


def _fit_categorical(records: pd.DataFrame, child: Parent, causes: Causes) -> CategoricalMechanism:
    from sklearn.linear_model import LogisticRegression

    features, count = causes.features(records), len(child.known_values)
    # One more record, an average one, is shared between the values: none of them is ever impossible.
    average = np.repeat(features.mean(0, keepdims=True), count, axis=0)
    targets = np.concatenate([codes(records, child), np.arange(count)])
    shares = np.concatenate([np.ones(len(records)), np.full(count, 1 / count)])
    fitted = LogisticRegression(max_iter=1000, tol=1e-6).fit(np.concatenate([features, average]), targets, shares)
    weights = np.concatenate([fitted.intercept_[:, None], fitted.coef_], axis=1)
    if count == 2:
        weights = np.concatenate([np.zeros_like(weights), weights])
    return CategoricalMechanism(child, causes, tuple(_floats(row) for row in weights.tolist()))


def _fit_affine(records: pd.DataFrame, child: Parent, causes: Causes) -> AffineMechanism:
    from sklearn.linear_model import GammaRegressor, Ridge

    features = causes.features(records)
    targets = (numbers(records, child) - child.mean) / child.std
    precision = np.ones(len(targets))
    for _ in range(_ROUNDS):
        # Hardly any shrinkage: it would leave residuals that look like spread. Enough for a value nobody has.
        mean = Ridge(alpha=1e-3).fit(features, targets, precision / precision.mean())
        squared = np.maximum((targets - mean.predict(features)) ** 2, _SMALLEST_SPREAD**2)
        # As a function of its variance, a Gaussian's likelihood is that of a gamma regression of squared residuals.
        variance = GammaRegressor(alpha=1 / len(targets), max_iter=1000, tol=1e-6)
        variance.fit(features, squared)
        precision = 1 / variance.predict(features)
    return AffineMechanism(
        child,
        causes,
        _floats([mean.intercept_, *mean.coef_]),
        _floats([variance.intercept_ / 2, *(variance.coef_ / 2)]),
    )


def _uniforms(records: pd.DataFrame, child: str, seed: int, count: int) -> np.ndarray:
    """(n, count) draws from (0, 1), a function of the seed, the child and the image's name alone."""
    digests = [hashlib.shake_256(f"{seed}\n{child}\n{image}".encode()).digest(8 * count) for image in records["image"]]
    whole = np.frombuffer(b"".join(digests), "<u8").reshape(len(records), count)
    return ((whole >> np.uint64(11)) + 0.5) * 2.0**-53


def _common(mechanism: Mechanism) -> dict[str, Any]:
    causes = mechanism.causes
    pairs = zip(causes.parents.names, causes.knots, strict=True)
    return {
        "child": mechanism.child.name,
        "causes": [{"name": name, "knots": list(knots)} for name, knots in pairs],
    }


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)

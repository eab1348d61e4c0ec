"""The structural causal model of the parents: independent roots, or a graph with learnt mechanisms.

model = fit_scm(records, parents, ["age->pleural_effusion"])
changed = model.intervene(records, intervention)      # the records as they would have been
"""

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
import pandas as pd

from densecf.counterfactuals.interventions import Intervention, with_texts
from densecf.counterfactuals.mechanisms import Mechanism, fit_mechanism, mechanism_from_dict
from densecf.counterfactuals.parents import Parents, value_text
from densecf.errors import CheckpointError, ConfigError


@dataclass(frozen=True)
class StructuralCausalModel:
    """The parents, and how some follow from others.

    Attributes:
        parents: all parents of the image.
        mechanisms: one for each parent that has causes, causes first; none: all are roots.
    """

    parents: Parents
    mechanisms: tuple[Mechanism, ...] = ()

    @property
    def edges(self) -> tuple[str, ...]:
        """The graph, "cause->child"."""
        return tuple(
            f"{cause}->{mechanism.child.name}"
            for mechanism in self.mechanisms
            for cause in mechanism.causes.parents.names
        )

    def intervene(self, records: pd.DataFrame, intervention: Intervention, *, seed: int = 0) -> pd.DataFrame:
        """The records as they would have been: abduction of the parents' noise, action, prediction of descendants.

        A descendant changes through its causes only, with the noise that gave it its value; one that is itself set
        ignores its causes, and one whose value is unknown stays so. Where the action changes nothing, nothing changes.

        Args:
            records: with all parents known (or "unknown" among their values).
            intervention: what to set.
            seed: of the noise of discrete descendants. A record's noise depends on the seed and its image's name
                only, so it is the same under every intervention, in every process and order.

        Returns:
            A changed copy.

        Raises:
            DataError: a record has a value the parents do not know.
        """
        changed = intervention.apply(records, self.parents)
        is_set = {name for name, _ in intervention.terms}
        for mechanism in self.mechanisms:
            name = mechanism.child.name
            if name in is_set:
                continue
            moved = (mechanism.causes.features(records) != mechanism.causes.features(changed)).any(1)
            texts = np.array([value_text(cell) for cell in records[name]], object)
            if mechanism.child.values:
                moved &= np.isin(texts, mechanism.child.known_values)
            if moved.any():
                noise = mechanism.abduct(records[moved], seed)
                texts[moved] = mechanism.predict(noise, changed[moved])
                changed[name] = with_texts(records[name], texts.tolist())
        return changed

    def encode(self, records: pd.DataFrame) -> np.ndarray:
        """The parents of n records as numbers, (n, P) float32; see `Parents.encode`."""
        return self.parents.encode(records)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `from_dict` gives the same model back, exactly."""
        return {
            "parents": self.parents.to_dict(),
            "mechanisms": [mechanism.to_dict() for mechanism in self.mechanisms],
        }

    @classmethod
    def from_dict(cls, entry: Any) -> "StructuralCausalModel":
        """What `to_dict` described.

        Raises:
            CheckpointError: it cannot be read.
        """
        if not isinstance(entry, dict) or not isinstance(entry.get("mechanisms"), list) or "parents" not in entry:
            raise CheckpointError("The causal model cannot be read: it needs parents and mechanisms. Train it again.")
        parents = Parents.from_dict(entry["parents"])
        found = {m.child.name: m for m in (mechanism_from_dict(each, parents) for each in entry["mechanisms"])}
        try:
            order = _causes_first({child: list(m.causes.parents.names) for child, m in found.items()})
        except ConfigError as error:
            raise CheckpointError(f"The causal model cannot be used: {error}") from error
        return cls(parents, tuple(found[child] for child in order))


def fit_scm(records: pd.DataFrame, parents: Parents, edges: Sequence[str] = ()) -> StructuralCausalModel:
    """Learn the mechanisms of a graph; without edges the parents are independent roots.

    Args:
        records: those the parents were fitted to.
        parents: see `fit_parents`.
        edges: "cause->child", such as "age->pleural_effusion".

    Raises:
        ConfigError: an edge cannot be read, names no parent, or closes a cycle.
    """
    causes: dict[str, list[str]] = {}
    for edge in edges:
        names = [part.strip() for part in edge.split("->")]
        if len(names) != 2 or not all(names):
            raise ConfigError(f"The edge {edge!r} cannot be read; write cause->child, such as age->pleural_effusion.")
        cause, child = (parents[name].name for name in names)
        if cause not in causes.setdefault(child, []):
            causes[child].append(cause)
    order = _causes_first(causes)
    return StructuralCausalModel(
        parents, tuple(fit_mechanism(records, parents[child], parents.only(causes[child])) for child in order)
    )


def _causes_first(causes: dict[str, list[str]]) -> list[str]:
    """The children, each after those of its causes that are children too."""
    try:
        return [name for name in TopologicalSorter(causes).static_order() if name in causes]
    except CycleError as error:
        circle = "->".join(error.args[1])
        raise ConfigError(f"The edges go round in a circle: {circle}. Leave one of them out.") from error

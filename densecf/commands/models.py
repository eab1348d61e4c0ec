"""Which counterfactual model a command uses: a run, a weights file, or the one that comes with densecf."""

from __future__ import annotations

from pathlib import Path

from densecf import runs
from densecf.config import PHANTOM, PretrainConfig
from densecf.data.prepared import PreparedDataset
from densecf.errors import ConfigError
from densecf.methods import METHODS

COMMAND = "counterfactuals"
EMBEDDED = "embedded"
"""The value of ``--run`` that means the model of the phantom that comes with densecf."""


def find_model(which: str, data: str) -> Path:
    """The weights of a counterfactual model.

    Args:
        which: a run, "latest", a weights file, or "embedded".
        data: the dataset it is for, as ``--data`` gives it; on the phantom, "latest" is the embedded model while
            nothing else was trained.

    Raises:
        ConfigError: there is no such model.
    """
    trained = any(runs.is_run(path) for path in (runs.ROOT / COMMAND).glob("*"))
    if which == EMBEDDED or (which == "latest" and data == PHANTOM and not trained):
        return embedded_model()
    try:
        return runs.find_weights(which, COMMAND)
    except ConfigError as error:
        if trained or which != "latest":
            raise
        raise ConfigError(
            "no counterfactual model was trained yet: 'densecf counterfactuals train --data ...' makes one; "
            "--run embedded is the phantom's"
        ) from error


def embedded_model() -> Path:
    """The weights file that comes with densecf."""
    return Path(__file__).parents[1] / "counterfactuals" / "weights" / "phantom-64.safetensors"


def with_counterfactuals(config: PretrainConfig, data: PreparedDataset, *, progress: bool) -> PreparedDataset:
    """The embedded phantom with the counterfactuals that pretraining uses unless told otherwise: those of the
    embedded model, made on first use. Any other dataset as it is."""
    from densecf.counterfactuals.generation import PAPER, generate
    from densecf.counterfactuals.generator import KIND, load_generator
    from densecf.counterfactuals.interventions import parse_interventions
    from densecf.training.domains import intervened_parents

    asked = config.counterfactuals in ("auto", KIND) and METHODS[config.method].counterfactuals
    if config.data != PHANTOM or not asked:
        return data
    held = data.counterfactuals.get(KIND, ())
    covered = {parent for name in held for parent in intervened_parents(name)}
    missing = [f"{parent}=other" for parent in config.intervene if parent not in covered]
    wanted = [*(() if held else PAPER), *missing]
    wanted = [name for place, name in enumerate(wanted) if name not in wanted[:place]]
    generator = load_generator(embedded_model()) if wanted else None
    if generator is None or generator.size != data.size:
        return data
    print(f"Making counterfactuals of {data.path} with the HVAE that comes with densecf (once): {', '.join(wanted)}")
    return generate(generator, data, parse_interventions(wanted, generator.scm.parents), progress=progress)

"""Options of the commands that use a counterfactual model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from densecf.commands.options.kinds import Flag
from densecf.config import PHANTOM, Count, Names, NonNegative

Interventions = Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="PARENT=VALUE")]
"""``--do scanner=other --do sex=F pleural_effusion=1``: any number, after one or several flags."""


@dataclass(frozen=True)
class CounterfactualGenerateOptions:
    """Add counterfactuals of every record to a prepared dataset. Interrupted, the same command goes on."""

    data: str = PHANTOM
    """A prepared dataset, or phantom: the embedded one."""
    do: Interventions = ()
    """What to set: scanner=other (each other value in turn), scanner=Imaging, scanner=other+sex=F; without it:
    scanner, pleural_effusion and both, or each discrete parent of the model."""
    run: str = "latest"
    """The counterfactual model: a training run, a weights file, or embedded: the phantom's, that comes with densecf."""
    source: str = ""
    """Name that they are stored under; without it: the model's kind."""
    batch_size: Count = 16
    """Records a batch; each becomes as many images as there are interventions."""
    sample: Flag = False
    """Sample what is inferred from the image, rather than take the most likely."""
    seed: NonNegative = 0
    """Seed of the sampling, and of the noise of effects among the parents."""
    overwrite: Flag = False
    """Replace what is stored; with another model, everything under this source."""
    quiet: Flag = False
    """No progress bar."""


@dataclass(frozen=True)
class CounterfactualImportOptions:
    """Add a folder of counterfactual images, made by any other program, to a prepared dataset."""

    data: str
    """A prepared dataset."""
    folder: Annotated[Path, tyro.conf.arg(name="from")]
    """Folder of the images; nothing outside it is read."""
    names: tuple[str, ...]
    """What stands in the file names, =, and the intervention: sc=scanner=other pe=pleural_effusion=other."""
    pattern: str = "{stem}_{name}.png"
    """File of a record and an intervention: {stem} is the record's image without its ending, {name} as in --names."""
    source: str = "imported"
    """Name that they are stored under."""
    gain: Literal["real", "own"] = "real"
    """real: grey levels as they are, white is the file's full range; own: each image gets its own intensity window,
    as the dataset's profile gives one to each real image."""
    overwrite: Flag = False
    """Replace what is stored under these names."""
    quiet: Flag = False
    """No progress bar."""


@dataclass(frozen=True)
class CounterfactualEvaluateOptions:
    """Measure counterfactuals on held-out patients: is the new value seen, is all else kept, how near is the truth?"""

    run: tuple[str, ...] = ("latest",)
    """Counterfactual models (runs, or weights files); several share one table, e.g. before and after fine-tuning."""
    data: str = "auto"
    """A prepared dataset, phantom, or auto: the one the (first) run was trained on."""
    source: str = ""
    """Measure the dataset's stored counterfactuals of this source, rather than a model."""
    do: Interventions = ()
    """What to set, see densecf counterfactuals generate; without it: as there, and each other discrete parent;
    with --source: all that are stored."""
    where: str = ""
    """Which of the held-out records; without it: all."""
    images: NonNegative = 0
    """Measure on this many images at most, chosen by the seed; 0: all."""
    judge_epochs: NonNegative = 0
    """Passes over the real images when training predictor and segmenter (once; they are kept); 0: as many as needed."""
    seed: NonNegative = 0
    """Of the predictor, the segmenter and all that is drawn."""
    out: Path | None = None
    """Folder of the product; without it: runs/soundness/<run>."""
    overwrite: Flag = False
    """Replace what is in --out."""
    quiet: Flag = False
    """No progress bars."""


@dataclass(frozen=True)
class CounterfactualShowOptions:
    """Draw an image, its counterfactuals and what they changed."""

    image: Annotated[Path | None, tyro.conf.Positional] = None
    """Image file; without one: a record of --data."""
    parents: Names = ()
    """What the image is, for all parents of the model: scanner=Philips sex=M. A record's own are in its dataset."""
    do: Interventions = ()
    """What to set, see densecf counterfactuals generate."""
    data: str = PHANTOM
    """A prepared dataset, or phantom: the embedded one."""
    record: str = ""
    """Record of the dataset (its image column); without it: the first of the manual split."""
    run: str = "latest"
    """The counterfactual model: a training run, a weights file, or embedded: the phantom's, that comes with densecf."""
    sample: Flag = False
    """Sample what is inferred from the image, rather than take the most likely."""
    seed: NonNegative = 0
    out: Path | None = None
    """Folder of the product; without it: runs/show/<image>."""
    overwrite: Flag = False
    """Replace what is in --out."""

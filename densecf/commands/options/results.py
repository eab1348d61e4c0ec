"""Options of the commands that measure, compare and hand on what was trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from densecf.commands.options.kinds import Flag, NoPrefix
from densecf.config import ClassifierConfig, Count, Names, NonNegative


@dataclass(frozen=True)
class EvaluateOptions:
    """Measure a pretrained embedding: k-means purity, separation of the classes, linear pixel probe."""

    run: str = "latest"
    """Pretraining run."""
    data: str = "auto"
    """A prepared dataset, phantom, or auto: the one the run was pretrained on."""
    where: str = ""
    """Records to measure on; without it: the manual split."""
    images: NonNegative = 0
    """Measure on this many images at most, chosen by the seed; 0: all."""
    seed: NonNegative = 0
    out: Path | None = None
    """Folder of the product; without it: runs/evaluate/<run>."""
    overwrite: Flag = False
    """Replace what is in --out."""
    keep_latest: Flag = False
    """Leave runs/evaluate/latest where it points to, rather than to this run."""


@dataclass(frozen=True)
class CompareOptions:
    """Paired differences between two fine-tuning runs on the same cases."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Fine-tuning run: its folder, or its name under runs/finetune."""
    baseline: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="BASELINE")]
    """Fine-tuning run that it is compared with."""
    out: Path | None = None
    """Folder of the product; without it: runs/compare/<run>-against-<baseline>."""
    overwrite: Flag = False
    """Replace what is in --out."""


@dataclass(frozen=True)
class ProbeOptions:
    """How well a label is predicted from image features, at several shares of the labels, on every scanner."""

    label: str
    """What is predicted: any column of the records, 1 and 0 or a few classes; records that do not know it stay out."""
    run: tuple[str, ...] = ("latest",)
    """Pretraining runs, a line each; none: random weights."""
    dataset: str = "auto"
    """Prepared dataset to learn and test on, phantom, or auto: the one that the runs were pretrained on."""
    data: Names = ()
    """More prepared datasets to test on: their test split, or all records where they have none."""
    fractions: tuple[float, ...] = (0.05, 0.1, 0.25, 1.0)
    """Shares of the training patients whose labels are used; a smaller share lies in every larger one."""
    seeds: Count = 3
    """Repetitions: each draws other patients for each share."""
    seed: NonNegative = 0
    """The first seed; it also decides the parts where the dataset has no val or test split."""
    domain: str = "scanner"
    """Column whose values are told apart in tables and picture."""
    subgroup: str = "sex"
    """Column whose values are told apart, and of which the gap is measured; '' for none."""
    encoder: str = ""
    """Network for --run none, by its name in timm; without it: that of the first other run, or resnet18."""
    finetune: Flag = False
    """Train the whole network, rather than a linear classifier of frozen features."""
    out: Path | None = None
    """Folder of the product; without it: runs/probe/<label>-<run>."""
    resume: Flag = False
    """Go on with an interrupted --finetune: the one in --out, else the newest unfinished one; beside the same flags."""
    overwrite: Flag = False
    """Replace what is in --out."""
    quiet: Flag = False
    """No progress bars."""
    training: Annotated[ClassifierConfig, NoPrefix] = field(default_factory=ClassifierConfig)
    """How --finetune trains."""


@dataclass(frozen=True)
class DomainsOptions:
    """How separable the scanners are in the image features of each run, with a picture."""

    run: tuple[str, ...] = ("latest",)
    """Pretraining runs, a panel each; none: random weights."""
    column: str = "scanner"
    """Column of the records whose values are to be told apart."""
    dataset: str = "auto"
    """A prepared dataset, phantom, or auto: the one that the runs were pretrained on."""
    where: str = ""
    """Records to look at; without it: the test split, or all records where there is none."""
    projection: Literal["tsne", "umap"] = "tsne"
    """How the picture is drawn."""
    points: Count = 2000
    """Images in the picture at most, chosen by the seed; the figures are of all."""
    encoder: str = ""
    """Network for --run none, by its name in timm; without it: that of the first other run, or resnet18."""
    seed: NonNegative = 0
    """Of the folds, the images drawn and the projection."""
    out: Path | None = None
    """Folder of the product; without it: runs/domains/<column>-<run>."""
    overwrite: Flag = False
    """Replace what is in --out."""
    quiet: Flag = False
    """No progress bars."""


@dataclass(frozen=True)
class EmbedOptions:
    """Write the embeddings of images, or of sampled pixels, beside their records, for other programs."""

    out: Path
    """File to write, .parquet or .csv."""
    run: str = "latest"
    """Pretraining run; none: random weights (images only)."""
    data: str = "auto"
    """A prepared dataset, phantom, or auto: the one the run was pretrained on."""
    where: str = ""
    """Records to embed, e.g. split=test,scanner=A; without it: all."""
    level: Literal["image", "pixel"] = "image"
    """One row an image, or one row a pixel (of a pixel-level run), with its row, column and class."""
    points: Count = 100
    """Pixels drawn from each image."""
    features: Literal["projection", "decoder"] = "projection"
    """Which pixel embedding: the projection head's (where the run has one), or the decoder's features."""
    encoder: str = ""
    """Network for --run none, by its name in timm; without it: resnet18."""
    seed: NonNegative = 0
    """Which pixels are drawn."""
    overwrite: Flag = False
    """Replace the file in --out."""
    quiet: Flag = False
    """No progress bar."""


@dataclass(frozen=True)
class ExportOptions:
    """Write a trained network as another library reads it, with a model card. What was written is read again and must
    give the same numbers as the run."""

    format: Literal["smp", "timm", "torchvision", "onnx", "monai-bundle"]
    """smp: the U-Net; timm, torchvision: the encoder, or an image-level run's backbone; onnx: the whole network from
    grey levels to embeddings, features or class probabilities; monai-bundle: image files to masks."""
    run: str = "latest"
    """Pretraining run, or with --fold fine-tuning run: its folder, its name, or latest."""
    fold: NonNegative | None = None
    """The network of this fold of a fine-tuning run, from 0 as in its folds/ and cases.csv."""
    out: Path | None = None
    """Folder of the product; without it: runs/export/<run>-<format>."""
    overwrite: Flag = False
    """Replace the export that is in --out."""


@dataclass(frozen=True)
class BenchmarkOptions:
    """Run a whole comparison: every cell of a matrix, then the report. The same command goes on after an interruption,
    and never does again what is done."""

    matrix: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MATRIX.YAML")]
    """The comparison, see configs/benchmark."""
    out: Path | None = None
    """Folder of the report; without it: runs/benchmark/<name of the file>."""
    store: Path = Path("runs/cells")
    """Folder of the trained cells; comparisons that share it share what is equal."""
    dry_run: Flag = False
    """Print the cells, which of them are done, and how long the others will take; train nothing."""
    only: Names = ()
    """Run these cells only, and make no report: by number, or by how the words of their titles begin (s-mvd fair).
    --dry-run lists them."""
    jobs: Literal["auto"] | Count = "auto"
    """Cells at a time; auto: one a GPU, without GPUs one a core and at most two."""
    launcher: Literal["local", "slurm"] = "local"
    """slurm: hand the cells to Slurm as one array of jobs, and the report as a job after it."""
    sbatch: Names = ()
    """Options for sbatch, each as name=value or name: partition=gpu gres=gpu:1 time=4:00:00."""
    report_only: Flag = False
    """Run nothing; make the report of the cells that are done."""
    quiet: Flag = False
    """No progress; only what came out."""

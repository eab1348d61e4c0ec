"""Options that are not part of a run's config: where it goes, and where it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from densecf.config import (
    PHANTOM,
    ClassifierConfig,
    Count,
    CounterfactualConfig,
    FinetuneConfig,
    Fraction,
    NonNegative,
    PretrainConfig,
)

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""A switch: ``--resume``, without a ``--no-resume``."""
NoPrefix = tyro.conf.arg(name="")


@dataclass(frozen=True)
class RunOptions:
    """Where the run goes."""

    out: Path | None = None
    """Folder of the run; without it: runs/<command>/<name>."""
    name: str = ""
    """Name of the run under runs/<command>; without it: a telling one."""
    config: Path | None = None
    """YAML file with options (any run's config.yaml); flags given beside it win."""
    preset: Literal["default", "embedded", "authors"] | None = None
    """A named set of options; embedded is the one for the phantom, authors follows the papers' code."""
    resume: Flag = False
    """Continue an interrupted run: the one in --out, else the newest unfinished one."""
    overwrite: Flag = False
    """Replace the run that is already in --out."""
    keep_latest: Flag = False
    """Leave runs/<command>/latest where it points to, rather than to this run."""
    quiet: Flag = False
    """No progress bars."""


@dataclass(frozen=True)
class PretrainOptions:
    run: Annotated[RunOptions, NoPrefix]
    config: Annotated[PretrainConfig, NoPrefix] = field(default_factory=PretrainConfig)


@dataclass(frozen=True)
class FinetuneOptions:
    run: Annotated[RunOptions, NoPrefix]
    config: Annotated[FinetuneConfig, NoPrefix] = field(default_factory=FinetuneConfig)


@dataclass(frozen=True)
class CounterfactualRunOptions(RunOptions):
    preset: Literal["embedded", "64", "128", "192", "224", "256", "authors"] | None = None  # type: ignore[assignment]
    """Network and schedule for images of that size (without it: the dataset's); authors is 224 as published."""


@dataclass(frozen=True)
class CounterfactualTrainOptions:
    run: Annotated[CounterfactualRunOptions, NoPrefix]
    config: Annotated[CounterfactualConfig, NoPrefix] = field(default_factory=CounterfactualConfig)


@dataclass(frozen=True)
class PrepareTableOptions:
    """Prepare any CSV of images: columns image, patient_id, masks and parents."""

    table: Path
    """CSV with columns image and patient_id; optional: mask or <class>_mask columns, scanner, sex, age, view,
    pleural_effusion, split (train, val, test or manual), mask_kind; all others are kept."""
    out: Path
    """Folder of the prepared dataset."""
    root: Path | None = None
    """Folder that the paths in the table are relative to; without it: the table's own."""
    mapping: Path | None = None
    """YAML file that says which column is what, where images and masks are, which rows are used (docs/datasets.md)."""
    split: Literal["patient", "published"] = "patient"
    """With --mapping: published takes its published_split, with its leaks, rather than its split."""
    size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 224
    """Side of the prepared images; a multiple of 32."""
    profile: Literal["robust", "breast", "authors"] = "robust"
    """robust: percentile window, inversion, whole field kept; breast: the same for mammograms, black beside the
    breast; authors: divide by the maximum, centre crop."""
    manual: str = ""
    """Records with hand-drawn masks to fine-tune on, e.g. source=montgomery; without it: the table's split
    column, else a fifth of the patients that have masks."""
    class_names: tuple[str, ...] = ()
    """Names of the classes, background first; without it: from the mask columns."""
    workers: NonNegative = 0
    """Processes; 0: one a core."""
    skip_bad: Flag = False
    """Leave out images that cannot be used, and list them in skipped.csv."""
    overwrite: Flag = False
    """Replace what is in --out."""
    quiet: Flag = False
    """No progress bar."""


@dataclass(frozen=True)
class PreparePublishedOptions:
    """Prepare a published dataset as its owner hands it out."""

    table: tuple[Path, ...]
    """The dataset's own table, also gzipped; where it has several: all of them, or the first (the others beside it)."""
    out: Path
    """Folder of the prepared dataset."""
    images: Path | None = None
    """Folder of the images as downloaded: nested, all in one folder, or ZIP archives, which are read as they are."""
    split: Literal["patient", "published"] = "patient"
    """patient: train, val and test never share a patient; published: the papers' own split, its leaks counted."""
    chexmask: Path | None = None
    """CSV file of CheXmask (either flavour, also gzipped): silver masks, joined by image."""
    min_quality: float = 0.7
    """Silver masks of a lower quality (Dice RCA) are not used."""
    heart: Flag = False
    """The heart of CheXmask is a class of its own."""
    resized: Flag = False
    """The images were made smaller as a whole since they were downloaded; CheXmask's masks follow."""
    manual_masks: tuple[Path, ...] = ()
    """Folders of masks drawn by hand: their images become the split manual."""
    manual_copies: Flag = False
    """Prepare only the small copies that the masks of --manual-masks were drawn on, as a dataset of their own."""
    exclude: Path | None = None
    """CSV of images to leave out (column image or ImageID); with --split patient all images of their patients go."""
    related_effusion: Literal["no", "yes", "unknown"] = "no"
    """What loculated effusions and hydropneumothorax count as (PadChest); no: as published."""
    max_bad: Fraction = 0.01
    """Share of images that may be missing or unreadable: left out and listed in skipped.csv. More is an error."""
    size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 224
    """Side of the prepared images; a multiple of 32."""
    profile: Literal["robust", "breast", "authors"] = "robust"
    """robust: percentile window, inversion, whole field kept; breast: the same for mammograms, black beside the
    breast; authors: divide by the maximum, centre crop."""
    workers: NonNegative = 0
    """Processes; 0: one a core."""
    overwrite: Flag = False
    """Replace what is in --out."""
    quiet: Flag = False
    """No progress bar."""


@dataclass(frozen=True)
class PreparePhantomOptions:
    """Prepare procedural chest radiographs, with true counterfactuals."""

    out: Path | None = None
    """Folder of the prepared dataset; without it: data/phantom, for a task data/phantom-<task>."""
    task: Literal["opacity"] | None = None
    """opacity: a label to learn (splits train, val and test) with one scanner that is rare in training and one that is
    only in the test split; without it: the images for segmentation, with 70 manual ones."""
    images: Count | None = None
    """Images in the split train; without it: 1000, for a task 2500."""
    size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 64
    """Side of the prepared images; a multiple of 32."""
    seed: NonNegative = 0
    workers: NonNegative = 0
    """Processes; 0: one a core."""
    overwrite: Flag = False
    """Replace what is in --out."""
    quiet: Flag = False
    """No progress bar."""


@dataclass(frozen=True)
class DataCheckOptions:
    """Look over a prepared dataset: counts, leaks, grey levels, masks, sides, duplicates, counterfactuals."""

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """A prepared dataset, or phantom: the embedded one."""
    verify: Flag = False
    """Compare the checksums of all files as well."""
    workers: NonNegative = 0
    """Processes; 0: one a core."""
    out: Path | None = None
    """Folder of the product; without it: runs/check/<dataset>."""
    overwrite: Flag = False
    """Replace what is in --out."""
    quiet: Flag = False
    """No progress bars."""


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
class ChromapOptions:
    """Colour every pixel by its embedding: similar colours, similar embeddings."""

    images: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Image files; without any: a record of the run's dataset and its counterfactuals."""
    run: str = "latest"
    """Pretraining run whose embedding is shown."""
    record: str = ""
    """Show this record (its image column) of the run's dataset, with its counterfactuals."""
    space: Path | None = None
    """Colour space saved by an earlier call (colour_space.safetensors): the same colours, and no UMAP."""
    fit_pixels: Annotated[int, tyro.conf.arg(metavar="N")] = 4000
    """Pixels that UMAP is fitted on; all others are placed between their neighbours."""
    mode: Literal["value", "saturation"] = "value"
    """What the radius becomes: the value (paper) or the saturation (authors' code)."""
    alpha: Fraction = 0.5
    """Opacity of the colours over the image."""
    seed: NonNegative = 0
    out: Path | None = None
    """Folder of the product; without it: runs/chromap/<image>."""
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
    data: tuple[str, ...] = ()
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
    parents: tuple[str, ...] = ()
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
    only: tuple[str, ...] = ()
    """Run these cells only, and make no report: by number, or by how the words of their titles begin (s-mvd fair).
    --dry-run lists them."""
    jobs: Literal["auto"] | Count = "auto"
    """Cells at a time; auto: one a GPU, without GPUs one a core and at most two."""
    launcher: Literal["local", "slurm"] = "local"
    """slurm: hand the cells to Slurm as one array of jobs, and the report as a job after it."""
    sbatch: tuple[str, ...] = ()
    """Options for sbatch, each as name=value or name: partition=gpu gres=gpu:1 time=4:00:00."""
    report_only: Flag = False
    """Run nothing; make the report of the cells that are done."""
    quiet: Flag = False
    """No progress; only what came out."""


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
class ExploreOptions:
    """Write a page on which one points at a pixel and sees how similar all others are to it."""

    images: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Image files; without any: a record and its counterfactuals."""
    run: tuple[str, ...] = ("latest",)
    """Pretraining runs that the page switches between."""
    record: str = ""
    """Show this record (its image column) with its counterfactuals, beside the image files if there are any."""
    data: str = "auto"
    """Prepared dataset of the record, phantom, or auto: the one that the runs were pretrained on."""
    error: Annotated[float, tyro.conf.arg(metavar="SIMILARITY")] = 0.05
    """No similarity on the page is wrong by more; a larger error leaves room for more images and runs."""
    out: Path | None = None
    """Folder of the product; without it: runs/explore/<image>."""
    overwrite: Flag = False
    """Replace what is in --out."""

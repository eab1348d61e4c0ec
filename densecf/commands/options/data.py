"""Options of the commands that prepare and check datasets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from densecf.commands.options.kinds import Flag, Paths
from densecf.config import Count, Fraction, Names, NonNegative


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
    class_names: Names = ()
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
    min_quality: Fraction = 0.7
    """Silver masks of a lower quality (Dice RCA) are not used."""
    heart: Flag = False
    """The heart of CheXmask is a class of its own."""
    resized: Flag = False
    """The images were made smaller as a whole since they were downloaded; CheXmask's masks follow."""
    manual_masks: Paths = ()
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

"""Every option of every command, typed once: flags, help, YAML and validation all come from here.

This file imports neither torch nor anything that does, so that ``densecf --help`` stays fast.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Gt, Interval

from densecf.methods import METHODS
from densecf.views.parameters import ViewParameters

PHANTOM = "phantom"
"""The value of ``--data`` that means the embedded phantom."""

Positive = Annotated[float, Gt(0)]
Count = Annotated[int, Ge(1)]
NonNegative = Annotated[int, Ge(0)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Share = Annotated[float, Interval(gt=0, le=1)]
Names = Annotated[tuple[str, ...], tyro.conf.arg(help_behavior_hint="")]
"""None unless some are given, which the help says in words."""


@dataclass(frozen=True)
class ModelConfig:
    """The U-Net (segmentation_models_pytorch) and the dense projection head."""

    encoder: str = "resnet50"
    """Encoder, by its name in segmentation_models_pytorch; for image-level methods, any backbone of timm."""
    decoder_channels: tuple[Count, Count, Count, Count, Count] = (1024, 512, 256, 128, 32)
    """Decoder widths, coarse to fine; the last one is the width of the dense features."""
    encoder_weights: Literal["none", "imagenet"] = "none"
    """Start the encoder from ImageNet weights (downloaded by timm) or from random ones."""
    projection_hidden: Count = 256
    """Hidden width of the projection head."""
    projection_dim: Count = 128
    """Width of the embeddings that the loss compares."""


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with a linear warm-up and a cosine decay."""

    lr: Positive = 3e-3
    """Peak learning rate."""
    min_lr: Annotated[float, Ge(0)] = 1e-6
    """Learning rate at the end of the cosine."""
    weight_decay: Annotated[float, Ge(0)] = 0.01
    """Decoupled weight decay of AdamW."""
    warmup: Fraction = 0.1
    """Share of all steps spent on the linear warm-up (from a hundredth of the peak)."""
    betas: tuple[Annotated[float, Interval(ge=0, lt=1)], Annotated[float, Interval(ge=0, lt=1)]] = (0.9, 0.999)
    """Decay of AdamW's running means of the gradient and of its square."""
    clip: Annotated[float, Ge(0)] = 1.0
    """Gradient norm at which gradients are clipped; 0 switches clipping off."""


@dataclass(frozen=True)
class HardwareConfig:
    """Where and how the training runs (Lightning)."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    devices: Literal["auto"] | Count = "auto"
    """Number of devices, or auto: every GPU, one process on a CPU."""
    num_nodes: Count = 1
    """Machines that train together, each with so many devices."""
    precision: Literal["auto", "32", "bf16-mixed", "16-mixed"] = "auto"
    """auto: bf16-mixed where the hardware multiplies bfloat16 natively, else 32."""
    workers: Annotated[int, Ge(-1)] = -1
    """Loader processes a device; -1: what the machine has to spare; 0: load in the training process."""


@dataclass(frozen=True)
class HVAEConfig:
    """The hierarchical VAE. Stages are written as published: 28b14d2 is 14 blocks at 28 x 28, then pooled by 2."""

    encoder: str = "224b2d2,112b4d2,56b9d2,28b14d2,14b14d2,7b9d7,1b5"
    """Stages of the encoder, fine to coarse; the first size is that of the images."""
    decoder: str = "1b5,7b10,14b15,28b15,56b10,112b5,224b3"
    """Stages of the decoder, coarse to fine, at the encoder's sizes."""
    widths: tuple[Count, ...] = (32, 64, 96, 128, 160, 192, 512)
    """Channels of each stage, fine to coarse."""
    latents: tuple[Count, ...] = (48, 30, 24, 18, 12, 6, 1)
    """Latent channels of each stage, coarse to fine."""
    patch: Count = 1
    """Patches of so many pixels a side become channels at the door, so that small machines never see full size."""
    max_latent_size: Count = 96
    """Stages above this size are deterministic."""
    max_bias_size: Count = 64
    """Stages up to this size learn a map of what is usual at each place."""
    bottleneck: Count = 4
    """Blocks narrow their channels by this factor."""
    context_width: Count = 32
    """Width of the parents' embedding."""
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    prior: Literal["conditional", "exogenous", "standard"] = "conditional"
    """conditional: hears the parents (published); exogenous: does not; standard: N(0, 1) for every latent."""
    pixel_scale: Positive = 0.0581
    """Standard deviation of a pixel around the reconstruction, for images in [-1, 1]; this value is effective."""
    learned_scale: bool = False
    """Learn each pixel's standard deviation, up to five times more or less than that: what is noise at an edge or a
    letter under one parent is then none where another parent has no edge or letter."""


@dataclass(frozen=True)
class DistillationConfig:
    """DINO-v2, as published (arXiv 2304.07193 and its public configuration)."""

    prototypes: Count = 65536
    """Outputs of the head."""
    hidden: Count = 2048
    """Hidden width of the head."""
    bottleneck: Count = 256
    """Width in front of the head's last layer."""
    local_crops: Count = 8
    """Small crops that only the student sees, beside the two large ones."""
    local_size: NonNegative = 0
    """Side of the small crops; 0: three sevenths of the image's (96 of 224), in whole patches."""
    local_scale: tuple[Share, Share] = (0.05, 0.32)
    """Area of the small crops, as a share of the image's; --views.scale is that of the large ones."""
    blur_probs: tuple[Fraction, Fraction, Fraction] = (1.0, 0.1, 0.5)
    """Probability of a blur in the first large crop, the second, the small ones."""
    solarize_probs: tuple[Fraction, Fraction, Fraction] = (0.0, 0.2, 0.0)
    """Probability of solarising, likewise."""
    student_temperature: Positive = 0.1
    teacher_temperature: tuple[Positive, Positive] = (0.04, 0.07)
    """From the first value to the second one over the teacher's warm-up."""
    teacher_warmup: Fraction = 0.3
    """Share of all steps of the teacher's warm-up."""
    momentum: Fraction = 0.992
    """Decay of the teacher's running mean of the student at the start; a cosine leads to 1."""
    ibot: Annotated[float, Ge(0)] = 1.0
    """Weight of the masked-patch loss (iBOT); networks without patches have none."""
    mask_share: tuple[Share, Share] = (0.1, 0.5)
    """Share of the patches that are masked, in one of the two large crops."""
    koleo: Annotated[float, Ge(0)] = 0.1
    """Weight of the term that spreads the embeddings of a batch (KoLeo)."""
    weight_decay_end: Annotated[float, Ge(0)] = 0.4
    """A cosine leads from --optim.weight-decay to this."""
    layer_decay: Annotated[float, Interval(gt=0, le=1)] = 0.9
    """Learning rates shrink by this with every block towards the image."""
    drop_path: Annotated[float, Interval(ge=0, lt=1)] = 0.3
    """Largest share of samples that skip a block of the student."""
    freeze_last: Fraction = 0.01
    """Share of all steps in which the head's last layer stays as it is."""


@dataclass(frozen=True)
class PretrainConfig:
    """Pretrain a whole U-Net pixel by pixel, or a backbone image by image, with counterfactual views."""

    method: Literal[tuple(METHODS)] = "s-mvd-cl"  # type: ignore[valid-type]
    """What is contrasted with what (see the list below)."""
    data: str = PHANTOM
    """A prepared dataset (densecf data prepare ...), or phantom: the embedded one."""
    counterfactuals: str = "auto"
    """Stored counterfactuals to use as views, by their source (e.g. hvae, or truth on a phantom); none: augmented
    views of the real image only; auto: the only source (truth does not count where there is another); on the phantom
    those of the HVAE that comes with densecf, made on first use."""
    intervene: Names = ()
    """Parents whose counterfactuals are used, e.g. scanner, or scanner pleural_effusion; without it: all that are
    stored for pixels, scanner for images."""
    where: str = ""
    """Records to pretrain on, e.g. scanner=A,age>=18; without it: the training split."""
    exclude: str = ""
    """Records to leave out, with all other images of the same patients, e.g. source=montgomery."""
    init_from: str = ""
    """Start from the weights of another run (its name or folder, or a weights.safetensors)."""
    epochs: Count = 20
    """Passes over the records."""
    batch_size: Count = 8
    """Images a step and a device; each gives several views."""
    accumulate: Count = 1
    """Steps whose gradients are added up before the weights change."""
    points: Annotated[int, Ge(2)] = 1000
    """Pixels sampled a view."""
    sampling: Literal["common", "anywhere"] = "common"
    """common: points of the image that all compared views show; anywhere: the same rows and columns of every view,
    whatever it shows there (the authors' MVD-CL; it needs --match-radius)."""
    match_radius: Fraction = 0.0
    """For mvd-cl: pixels of one image nearer to each other than this share of its width are the same (the authors:
    0.1); 0: only the same point."""
    background_queries: bool = False
    """For methods of the same class: pixels of the background are queries too (the authors' S-MVD-CL), not only
    negatives of other classes."""
    temperature: Positive = 0.7
    """Similarities are divided by this; unusually high, and what the authors use."""
    direction_reduction: Literal["mean", "sum"] = "mean"
    """How the two directions of a dual method are joined: the paper averages, the authors' code sums."""
    seed: NonNegative = 0
    """Decides the initial weights, the order of the records, and every view and point."""
    global_weight: Annotated[float, Ge(0)] = 0.0
    """Weight of an image-level contrastive term (cf-simclr on the encoder) beside that of the pixels."""
    global_temperature: Positive = 0.1
    """Its temperature."""
    patch_size: NonNegative = 0
    """Side of a ViT's patches, for image-level methods; 0: that in its name."""
    monitor_every: Annotated[float, Ge(0)] = 1.0
    """Epochs between k-means purity and linear pixel probe; 0 switches both off."""
    checkpoint_minutes: Annotated[float, Ge(0)] = 5.0
    """Minutes between checkpoints to resume from; 0: one after every step."""
    views: ViewParameters = field(default_factory=ViewParameters)
    model: ModelConfig = field(default_factory=ModelConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    """For dino, dino-plus and cf-dino."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)


@dataclass(frozen=True)
class FinetuneConfig:
    """Fine-tune on hand-drawn masks in patient-grouped folds, and measure on the held-out fold."""

    pretrained: Annotated[str, tyro.conf.arg(name="from")] = "latest"
    """Pretraining run (its folder, or its name under runs/pretrain), latest, or none: random weights."""
    data: str = "auto"
    """A prepared dataset, phantom, or auto: the one the pretraining run used."""
    where: str = ""
    """Records to fine-tune on, e.g. source=montgomery; without it: the manual split."""
    external: str = ""
    """Further records with masks that every fold's network is tested on, e.g. scanner=B,split=test; none of their
    patients may have been pretrained or fine-tuned on."""
    folds: Annotated[int, Ge(2)] = 5
    """Parts that the patients are dealt into; each is held out once."""
    folds_file: str = ""
    """Folds saved by an earlier run (folds.json), to compare runs on the same ones."""
    train_cases: NonNegative = 0
    """Masks to train on in each fold, patient after patient (of the last one maybe not all); 0: all."""
    epochs: Count = 100
    """Passes over the masks."""
    batch_size: Count = 6
    """Images a step."""
    loss: Literal["ce", "dice-ce"] = "ce"
    """Cross-entropy, or cross-entropy plus soft Dice."""
    test_every: NonNegative = 0
    """Epochs between looks at the held-out fold, written to curves.csv; nothing is chosen by them. 0: only after the
    last one."""
    seed: NonNegative = 0
    """Decides the folds, the new weights, the order of the records and every view."""
    checkpoint_minutes: Annotated[float, Ge(0)] = 5.0
    """Minutes between checkpoints to resume from; 0: one after every step."""
    views: ViewParameters = field(default_factory=lambda: ViewParameters(scale=(0.2, 1.0), solarize_prob=0.0))
    model: ModelConfig = field(default_factory=ModelConfig)
    """Network for --from none; a pretraining run brings its own."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)


@dataclass(frozen=True)
class ClassifierConfig:
    """Fine-tune a whole image encoder on a label (densecf probe --finetune)."""

    steps: Count = 1000
    """Changes of the weights, about: in whole passes, and for every share of the labels alike."""
    batch_size: Annotated[int, Ge(2)] = 32
    """Images a step."""
    checkpoint_minutes: Annotated[float, Ge(0)] = 5.0
    """Minutes between checkpoints to resume from; 0: one after every step."""
    views: ViewParameters = field(
        default_factory=lambda: ViewParameters(
            rotation=20.0,
            scale=(0.7, 1.0),
            flip_prob=0.5,
            jitter_prob=1.0,
            brightness=0.3,
            contrast=0.3,
            blur_prob=0.0,
            solarize_prob=0.0,
        )
    )
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=1e-4, warmup=0.05))
    hardware: HardwareConfig = field(default_factory=HardwareConfig)


@dataclass(frozen=True)
class CounterfactualConfig:
    """Train a counterfactual model: a hierarchical VAE given the parents of each image."""

    data: str = PHANTOM
    """A prepared dataset (densecf data prepare ...), or phantom: the embedded one."""
    parents: Names = ()
    """Columns of the records that the image depends on, e.g. scanner sex age; without it: those of scanner, sex
    and pleural_effusion that nearly all records know."""
    edges: Names = ()
    """Causes among the parents, e.g. "age->pleural_effusion": a changed cause then changes its effects too."""
    missing: Literal["drop", "category"] = "drop"
    """Records with an unknown parent are left out, or unknown becomes a value of its own."""
    where: str = ""
    """Records to train on, e.g. view=PA; without it: the training split."""
    exclude: str = ""
    """Records to leave out, with all other images of the same patients."""
    holdout: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    """Share of the patients kept for counterfactuals evaluate; the manual split is always kept."""
    balance: Names = ()
    """Parents whose rare values are drawn more often."""
    balance_share: Fraction = 0.5
    """Share of the draws that are uniform over the values (of all parents in --balance together)."""
    init_from: str = ""
    """Start from the weights of another counterfactual model (its run or weights file), e.g. to fine-tune it."""
    epochs: Count = 130
    """Passes over the records."""
    batch_size: Count = 16
    """Images a step and a device."""
    accumulate: Count = 2
    """Steps whose gradients are added up before the weights change."""
    beta: Positive = 1.0
    """Weight of the KL divergence (in nats a pixel) beside the reconstruction."""
    free_bits: Annotated[float, Ge(0)] = 0.0
    """Nats that each block may use free of charge."""
    independence: Annotated[float, Ge(0)] = 10.0
    """Weight of the covariance between latents and parents in a batch; 0, as published, lets the latents keep what
    the parents should say."""
    adversary: Annotated[float, Ge(0)] = 0.0
    """Weight, in nats an image, of an adversary that reads the parents off the latents; for what the covariance
    does not see, such as fluid that is here in one image and there in another."""
    faithfulness: Annotated[float, Ge(0)] = 0.0
    """Weight of a predictor's verdict on counterfactuals, soft for the parents that were not changed; for
    fine-tuning with --init-from."""
    ema: Annotated[float, Interval(ge=0, lt=1)] = 0.999
    """Decay of the running mean of the weights, which is what is kept."""
    skip: Positive = 25_000.0
    """Steps whose gradient norm reaches this, or is no number, are skipped."""
    seed: NonNegative = 0
    """Decides the initial weights, the order of the records and every draw."""
    samples_every: Annotated[float, Ge(0)] = 10.0
    """Epochs between two grids of reconstructions and counterfactuals in TensorBoard; 0: none."""
    checkpoint_minutes: Annotated[float, Ge(0)] = 5.0
    """Minutes between checkpoints to resume from; 0: one after every step."""
    network: HVAEConfig = field(default_factory=HVAEConfig)
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            lr=1e-3, min_lr=1e-3, weight_decay=1e-3, warmup=0.01, betas=(0.9, 0.9), clip=350.0
        )
    )
    hardware: HardwareConfig = field(default_factory=HardwareConfig)

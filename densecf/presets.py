"""Named sets of options: for the embedded phantom, for image sizes, and as the authors' code has them."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import Any

from densecf.config import (
    CounterfactualConfig,
    DistillationConfig,
    FinetuneConfig,
    HVAEConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
)
from densecf.methods import METHODS
from densecf.views.parameters import ViewParameters

# The embedded phantom has 64 pixels a side, not 224: a smaller network, a narrower blur, crops that keep enough pixels.
SMALL_MODEL = ModelConfig(encoder="resnet18", decoder_channels=(128, 64, 64, 32, 32))
SMALL_VIEWS = ViewParameters(scale=(0.3, 1.0), blur_sigma=(0.1, 0.6))

PIXEL_PRESETS: dict[str, PretrainConfig] = {
    "default": PretrainConfig(),
    # Sized so that the demo finishes on two CPU cores.
    "embedded": PretrainConfig(
        epochs=8,
        points=128,
        views=SMALL_VIEWS,
        model=SMALL_MODEL,
        optim=OptimConfig(lr=1e-3),
        checkpoint_minutes=1.0,
    ),
    # The authors' code where it departs from the paper and the numbers depend on it.
    "authors": PretrainConfig(
        direction_reduction="sum",
        views=ViewParameters(solarize_anchor=False),
        model=ModelConfig(encoder_weights="imagenet"),
        optim=OptimConfig(warmup=0.25),
    ),
}
# SimCLR as in the code of counterfactual contrastive learning; its crops, temperature, widths and rates.
_SIMCLR = PretrainConfig(
    method="cf-simclr",
    epochs=450,
    batch_size=256,
    temperature=0.1,
    views=ViewParameters(scale=(0.3, 0.99), blur_prob=0.0, solarize_prob=0.0),
    model=ModelConfig(projection_hidden=1024),
    optim=OptimConfig(lr=1e-3, weight_decay=1e-4, warmup=0.05),
)
SIMCLR_PRESETS: dict[str, PretrainConfig] = {
    "default": _SIMCLR,
    "embedded": replace(
        _SIMCLR,
        epochs=30,
        batch_size=64,
        model=ModelConfig(encoder="resnet18", projection_hidden=256),
        checkpoint_minutes=1.0,
    ),
    # They rotate by up to 90 degrees, flip, start from ImageNet and keep the learning rate. (They also erase
    # rectangles, flip vertically and sharpen, which densecf does not.)
    "authors": replace(
        _SIMCLR,
        views=replace(_SIMCLR.views, rotation=90.0, flip_prob=0.5, jitter_prob=1.0),
        model=ModelConfig(encoder_weights="imagenet", projection_hidden=1024),
        optim=OptimConfig(lr=1e-3, min_lr=1e-3, weight_decay=0.0, warmup=0.0, clip=0.0),
    ),
}
# DINO-v2 as published: 100 epochs, rate 4e-3 for batches of 1,024 scaled by the root of ours, clipped at 3.
_DINO = PretrainConfig(
    method="cf-dino",
    epochs=100,
    batch_size=64,
    views=ViewParameters(scale=(0.32, 1.0), blur_sigma=(0.1, 2.0)),
    model=ModelConfig(encoder="vit_base_patch16_224"),
    optim=OptimConfig(lr=1e-3, weight_decay=0.04, clip=3.0),
)
DINO_PRESETS: dict[str, PretrainConfig] = {
    "default": _DINO,
    "embedded": replace(
        _DINO,
        epochs=20,
        batch_size=32,
        views=ViewParameters(scale=(0.5, 1.0), blur_sigma=SMALL_VIEWS.blur_sigma),
        model=ModelConfig(encoder="resnet18"),
        optim=OptimConfig(lr=2e-4, weight_decay=0.04, clip=3.0),
        # Few images that are much alike: crops that still tell whose chest it is, and a sharp teacher. With the
        # published temperature the targets of a short training flatten before there is anything to agree on.
        distillation=DistillationConfig(
            prototypes=256,
            hidden=256,
            bottleneck=64,
            local_crops=2,
            local_scale=(0.3, 0.7),
            blur_probs=(0.5, 0.1, 0.2),
            solarize_probs=(0.0, 0.0, 0.0),
            teacher_temperature=(0.01, 0.01),
            momentum=0.99,
            koleo=0.02,
            drop_path=0.0,
            layer_decay=1.0,
        ),
        checkpoint_minutes=1.0,
    ),
    # As the authors of CF-DINO ran it, but for the blur, whose probabilities their code turned round.
    "authors": replace(
        _DINO,
        epochs=300,
        batch_size=60,
        views=ViewParameters(scale=(0.15, 1.0), blur_sigma=(0.1, 0.7)),
        distillation=DistillationConfig(
            local_scale=(0.05, 0.15),
            solarize_probs=(0.0, 0.0, 0.0),
            teacher_warmup=1 / 6,
            momentum=0.995,
            weight_decay_end=0.0,
            layer_decay=1.0,
            drop_path=0.0,
            freeze_last=0.0,
        ),
        optim=OptimConfig(lr=5e-4, min_lr=5e-6, weight_decay=0.0, warmup=1 / 6, clip=0.0),
    ),
}


# What the authors' code does to single methods, beside the "authors" preset of their kind. It means to drop background
# queries everywhere; for all views at once it masks a loss that is a mean already.
AUTHORS_OF_METHOD: dict[str, dict[str, Any]] = {
    "mvd-cl": {"sampling": "anywhere", "match_radius": 0.1},
    "ssdcl": {"background_queries": True},
    "s-mvd-cl": {"background_queries": True},
}


def pretrain_presets(method: str) -> dict[str, PretrainConfig]:
    """The presets of a pretraining method's kind, each with the method itself."""
    row = METHODS[method]
    presets = DINO_PRESETS if row.objective == "distil" else SIMCLR_PRESETS if row.image_level else PIXEL_PRESETS
    of_method = {"authors": AUTHORS_OF_METHOD.get(method, {})}
    return {name: replace(preset, method=method, **of_method.get(name, {})) for name, preset in presets.items()}


def lacks_radius(config: PretrainConfig) -> bool:
    """Points drawn anywhere, without saying how near to each other they are the same."""
    return config.sampling == "anywhere" and not config.match_radius


def idle_options(config: PretrainConfig) -> list[str]:
    """Options that were set, other than by a preset, and that the method would ignore; groups by their name."""
    row = METHODS[config.method]
    pixels = row.objective == "contrast" and not row.image_level
    places = pixels and row.same == "location" and row.pairing == "multi"
    serves = {  # option: does the method hear it?
        "intervene": bool(row.counterfactuals) and config.counterfactuals != "none",
        "points": pixels,
        "sampling": places,
        "match_radius": places,
        "background_queries": pixels and row.same == "class",
        "temperature": row.objective == "contrast",
        "global_weight": pixels,
        "global_temperature": pixels and config.global_weight > 0,
        "patch_size": row.image_level,
        "distillation": row.objective == "distil",
        "model.decoder_channels": not row.image_level,
    }
    presets = pretrain_presets(config.method).values()
    return [
        option
        for option, heard in serves.items()
        if not heard and attrgetter(option)(config) not in [attrgetter(option)(preset) for preset in presets]
    ]


FINETUNE_PRESETS: dict[str, FinetuneConfig] = {
    "default": FinetuneConfig(),
    "embedded": FinetuneConfig(
        epochs=30,
        batch_size=8,
        views=replace(SMALL_VIEWS, solarize_prob=0.0),
        model=SMALL_MODEL,
        optim=OptimConfig(lr=1e-3),
    ),
    # They test every ten epochs and report each metric's best; here the looks are written down and choose nothing.
    "authors": FinetuneConfig(optim=OptimConfig(clip=250.0, warmup=0.05), test_every=10),
}


# Sized for two CPU cores; standard prior, and a pixel scale for what is written on the image.
SMALL_HVAE = HVAEConfig(
    encoder="32b2d2,16b2d2,8b2d2,4b1d4,1b1",
    decoder="1b1,4b1,8b3,16b3,32b3",
    widths=(32, 64, 96, 128, 128),
    latents=(64, 16, 6, 4, 8),
    patch=2,
    max_latent_size=16,
    bottleneck=2,
    dropout=0.0,
    prior="standard",
    pixel_scale=0.1,
    learned_scale=True,
)
SMALL_COUNTERFACTUALS = CounterfactualConfig(
    epochs=50,
    batch_size=32,
    accumulate=1,
    ema=0.995,
    network=SMALL_HVAE,
    optim=OptimConfig(lr=2e-3, min_lr=1e-4, weight_decay=1e-3, warmup=0.02, betas=(0.9, 0.99), clip=350.0),
    checkpoint_minutes=1.0,
)
# Sex and effusion change shapes: those come out of the latents only where they are coarse, and with an adversary.
PHANTOM_COUNTERFACTUALS = replace(
    SMALL_COUNTERFACTUALS,
    epochs=35,
    adversary=1000.0,
    network=replace(SMALL_HVAE, max_latent_size=4, latents=(64, 16, 8, 8, 8)),
)
# The published networks: PadChest (224), MIMIC (256) and UK Biobank (192), whose parents were concatenated spatially.
COUNTERFACTUAL_PRESETS: dict[str, CounterfactualConfig] = {
    "embedded": PHANTOM_COUNTERFACTUALS,
    "64": SMALL_COUNTERFACTUALS,
    "128": replace(SMALL_COUNTERFACTUALS, network=replace(SMALL_HVAE, patch=4)),
    "192": CounterfactualConfig(
        beta=5.0,
        network=HVAEConfig(
            encoder="192b1d2,96b3d2,48b7d2,24b11d2,12b7d2,6b3d6,1b2",
            decoder="1b2,6b4,12b8,24b12,48b8,96b4,192b2",
            latents=(16, 16, 16, 16, 16, 16, 16),
            max_latent_size=192,
        ),
    ),
    "224": CounterfactualConfig(beta=3.0),
    "256": CounterfactualConfig(
        beta=3.0,
        network=HVAEConfig(
            encoder="256b1d2,128b3d2,64b7d2,32b11d2,16b7d2,8b3d8,1b2",
            decoder="1b2,8b4,16b8,32b12,64b8,128b4,256b2",
            max_latent_size=128,
        ),
    ),
    "authors": CounterfactualConfig(beta=3.0, independence=0.0),
}

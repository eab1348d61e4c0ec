"""A network that trains in a second, for images of 32 pixels."""

from dataclasses import replace

import torch

from densecf.config import CounterfactualConfig, HVAEConfig, OptimConfig
from densecf.counterfactuals.hvae.network import HVAE

NETWORK = HVAEConfig(
    encoder="16b1d2,8b1d2,4b1d4,1b1",
    decoder="1b1,4b2,8b1,16b1",
    widths=(8, 8, 16, 16),
    latents=(4, 3, 2, 1),
    max_latent_size=8,
    patch=2,
    dropout=0.0,
    prior="standard",
)
UNTRAINED = HVAEConfig(
    encoder="16b1d2,8b1d2,4b1d4,1b1",
    decoder="1b1,4b1,8b1,16b1",
    widths=(8, 8, 8, 8),
    latents=(2, 2, 2, 1),
    max_latent_size=8,
    patch=2,
)
"""Smaller still, for tests that only ask it for images."""
CONFIG = CounterfactualConfig(
    epochs=2,
    batch_size=6,
    accumulate=2,
    adversary=10.0,
    samples_every=1.0,
    network=NETWORK,
    optim=OptimConfig(lr=1e-3, warmup=0.0, betas=(0.9, 0.99), clip=350.0),
)
FLAGS = (
    "--preset", "64", "--network.encoder", NETWORK.encoder, "--network.decoder", NETWORK.decoder,
    "--network.widths", *NETWORK.widths, "--network.latents", *NETWORK.latents, "--network.max-latent-size", 8,
    "--batch-size", 8, "--hardware.workers", 0, "--hardware.precision", "32",
)  # fmt: skip


def spread_out(network: HVAE, by: float = 0.1) -> HVAE:
    """Random weights everywhere: the layers that start at zero would hide mistakes."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def learned(network: HVAEConfig) -> HVAEConfig:
    """With a pixel scale of its own for each pixel."""
    return replace(network, learned_scale=True)

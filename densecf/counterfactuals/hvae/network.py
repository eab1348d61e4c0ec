"""The hierarchical VAE: an encoder, a decoder of stochastic blocks, and parents heard by every block.

Sources: Ribeiro et al., "High Fidelity Image Counterfactuals with Probabilistic Causal Models" (ICML 2023), and
the configuration that Roschewitz et al. use for radiographs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from densecf.config import HVAEConfig
from densecf.counterfactuals.hvae.blocks import Block, group_norm, zero_init
from densecf.counterfactuals.hvae.distributions import gaussian_kl, positive_scale
from densecf.counterfactuals.hvae.stages import check_network, parse_stages

_SCALE_RANGE = math.log(5)
"""A learned pixel scale stays within a factor of five of the configured one: black borders need not be exact."""


@dataclass
class Decoded:
    """What one pass through the decoder gives.

    Attributes:
        mean: (B, 1, S, S), the pixel distribution's location, not clamped.
        scale: (B, 1, S, S), its standard deviation.
        latents: z of each stochastic block, coarse to fine.
        kl: (B, number of stochastic blocks), nats; empty when nothing was inferred.
    """

    mean: Tensor
    scale: Tensor
    latents: list[Tensor]
    kl: Tensor


class HVAE(nn.Module):
    """Images (B, 1, S, S) in [-1, 1] given parents (B, P).

    Args:
        config: stages, widths, latents, prior.
        parents: P, the width of the encoded parents.
    """

    def __init__(self, config: HVAEConfig, parents: int):
        super().__init__()
        check_network(config)
        self.config = config
        self.size = parse_stages(config.encoder)[0].size * config.patch
        self.embed = nn.Sequential(
            nn.Linear(parents, config.context_width), nn.SiLU(), nn.Linear(config.context_width, config.context_width)
        )
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def forward(self, images: Tensor, parents: Tensor) -> Decoded:
        """Infers the latents with noise (training): reconstruction and KL of each block."""
        context = self.embed(parents)
        return self.decoder(context, self.encoder(images, context), sample=True)

    def abduct(self, images: Tensor, parents: Tensor, *, sample: bool = False) -> Decoded:
        """The posterior's mean, or a sample of it, with the reconstruction under the same parents."""
        context = self.embed(parents)
        return self.decoder(context, self.encoder(images, context), sample=sample)

    def decode(self, latents: Sequence[Tensor], parents: Tensor) -> Decoded:
        """What latents give under some parents."""
        return self.decoder(self.embed(parents), latents=latents)


class Encoder(nn.Module):
    """Image -> one activation for each resolution."""

    def __init__(self, config: HVAEConfig):
        super().__init__()
        stages, widths = parse_stages(config.encoder), config.widths
        self.patch = config.patch
        self.stem = nn.Conv2d(config.patch**2, widths[0], 7, padding=3)
        self.stages = stages
        self.blocks = nn.ModuleList()
        width = widths[0]
        for stage, target in zip(stages, widths, strict=True):
            blocks = []
            for _ in range(stage.blocks):
                hidden = max(1, target // config.bottleneck)
                blocks.append(
                    Block(width, target, hidden, stage.size, context=config.context_width, dropout=config.dropout)
                )
                width = target
            self.blocks.append(nn.ModuleList(blocks))

    def forward(self, images: Tensor, context: Tensor) -> dict[int, Tensor]:
        """(B, 1, S, S), (B, context_width) -> {size: (B, C, size, size)}, each as it is before it is pooled."""
        h = self.stem(F.pixel_unshuffle(images, self.patch))
        found: dict[int, Tensor] = {}
        for stage, blocks in zip(self.stages, cast(list[nn.ModuleList], self.blocks), strict=True):
            for block in blocks:
                h = block(h, context)
            found[stage.size] = h
            h = F.avg_pool2d(h, stage.down) if stage.down > 1 else h
        return found


class Decoder(nn.Module):
    """Latents and parents -> pixel location; infers the latents when it is given the encoder's activations."""

    def __init__(self, config: HVAEConfig):
        super().__init__()
        stages, widths = parse_stages(config.decoder), config.widths[::-1]
        self.first_width = width = widths[0]
        self.bias = nn.ParameterDict()
        self.blocks = nn.ModuleList()
        for stage, target, latents in zip(stages, widths, config.latents, strict=True):
            if stage.size <= config.max_bias_size:
                self.bias[str(stage.size)] = nn.Parameter(torch.zeros(1, width, stage.size, stage.size))
            for index in range(stage.blocks):
                last = stage is stages[-1] and index == stage.blocks - 1
                self.blocks.append(DecoderBlock(config, width, target, latents, stage.size, last=last))
                width = target
        self.pixel_scale, self.learned_scale = config.pixel_scale, config.learned_scale
        planes = 2 if config.learned_scale else 1
        to_pixels = zero_init(nn.Conv2d(width, planes * config.patch**2, 3, padding=1))
        self.head = nn.Sequential(group_norm(width), nn.SiLU(), to_pixels, nn.PixelShuffle(config.patch))

    def forward(
        self,
        context: Tensor,
        encoded: dict[int, Tensor] | None = None,
        latents: Sequence[Tensor] = (),
        *,
        sample: bool = True,
    ) -> Decoded:
        """One pass, coarse to fine.

        Args:
            context: (B, context_width), the embedded parents.
            encoded: infer the latents from these activations ...
            latents: ... or use these, one tensor a stochastic block.
            sample: with ``encoded``, a draw from the posterior and not its mean.
        """
        h = state = context.new_zeros(len(context), self.first_width, 1, 1)
        with_state = any(block.learned_prior for block in cast(list[DecoderBlock], self.blocks))
        kls: list[Tensor] = []
        used: list[Tensor] = []
        size = 0
        for block in cast(list[DecoderBlock], self.blocks):
            if block.size != size:
                size = block.size
                h = self._enter(h, size)
                state = self._enter(state, size) if with_state else h
            prior = block.prior_of(state, context)
            z = prior.mean
            if block.stochastic:
                if encoded is not None:
                    mean, scale = block.posterior_of(h, encoded[size], context)
                    z = mean + scale * torch.randn_like(mean) if sample else mean
                    kls.append(gaussian_kl(mean, scale, prior.mean, prior.scale).sum(dim=(1, 2, 3)))
                else:
                    z = latents[len(used)]
                used.append(z)
            h, state = block(h, z, prior.features, context)
        kl = torch.stack(kls, dim=1) if kls else h.new_zeros(len(h), 0)
        planes = self.head(h).float()
        mean, scale = planes[:, :1], torch.full_like(planes[:, :1], self.pixel_scale)
        if self.learned_scale:
            scale = scale * torch.exp(_SCALE_RANGE * torch.tanh(planes[:, 1:]))
        return Decoded(mean, scale, used, kl)

    def _enter(self, h: Tensor, size: int) -> Tensor:
        """The map at the next stage's size, with what the stage knows of each place."""
        if h.shape[-1] != size:
            h = F.interpolate(h, size=(size, size))
        return h + self.bias[str(size)] if str(size) in self.bias else h


@dataclass
class Prior:
    """A block's prior, and what it adds to the map beside the latents."""

    mean: Tensor
    scale: Tensor
    features: Tensor | None


class DecoderBlock(nn.Module):
    """Prior, posterior, and the residual block that takes the latents in.

    The prior runs on its own state, which only the latents drive (and the parents, where it is conditional), never on
    the map that the posterior has corrected.
    """

    def __init__(self, config: HVAEConfig, inputs: int, outputs: int, latents: int, size: int, *, last: bool):
        super().__init__()
        hidden, context = max(1, inputs // config.bottleneck), config.context_width
        self.size, self.latents = size, latents
        self.stochastic = size <= config.max_latent_size
        self.learned_prior = config.prior != "standard"
        uses_latents = self.stochastic or self.learned_prior
        if self.learned_prior:
            heard = context if config.prior == "conditional" else 0
            self.prior = Block(inputs, 2 * latents + inputs, hidden, size, context=heard, skip=False)
            self.next_state = None if last else nn.Conv2d(latents + inputs, outputs, 1)
        if self.stochastic:
            encoder_width = config.widths[[s.size for s in parse_stages(config.encoder)].index(size)]
            self.posterior = Block(inputs + encoder_width, 2 * latents, hidden, size, context=context, skip=False)
        self.take_in = nn.Conv2d(latents, inputs, 1) if uses_latents else None
        self.residual = Block(inputs, outputs, hidden, size, context=context, dropout=config.dropout)

    def prior_of(self, state: Tensor, context: Tensor) -> Prior:
        """The prior given the block's state (B, C, H, W)."""
        if not self.learned_prior:
            shape = (len(state), self.latents, self.size, self.size) if self.stochastic else (1,)
            zero = state.new_zeros((), dtype=torch.float32)
            return Prior(zero.expand(shape), (zero + 1).expand(shape), None)
        mean, raw, features = self.prior(state, context).split([self.latents, self.latents, state.shape[1]], dim=1)
        return Prior(mean.float(), positive_scale(raw), features)

    def posterior_of(self, h: Tensor, encoded: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale of the latents given the map so far and the encoder's activation."""
        mean, raw = self.posterior(torch.cat([h, encoded], dim=1), context).chunk(2, dim=1)
        return mean.float(), positive_scale(raw)

    def forward(self, h: Tensor, z: Tensor, features: Tensor | None, context: Tensor) -> tuple[Tensor, Tensor]:
        """The map after the block, and the next prior's state (the map itself where no prior asks for one)."""
        state = None
        if features is not None:
            state = self.next_state(torch.cat([z, features], dim=1)) if self.next_state is not None else None
            h = h + features
        if self.take_in is not None:
            h = h + self.take_in(z)
        h = self.residual(h, context)
        return h, h if state is None else state

"""Sampling of the teacher on the training side: many Euler steps, for sample sheets and for the student's data."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from swd_dev.toy.autoencoder import LATENT_CHANNELS
from swd_dev.toy.data import FULL_SIDE, SMALL_SIDES
from swd_dev.toy.model import TIMESTEPS
from swd_dev.toy.text import Features
from swd_dev.toy.training import SHIFT

EULER_STEPS = 28
# The student's schedule: the side of the latent and the timestep of each step.
STUDENT_SIDES = (*SMALL_SIDES, FULL_SIDE)
STUDENT_TIMESTEPS = (1.0, 0.8959, 0.7371, 0.6022)
# Scale of the classifier-free guidance that the teacher samples with.
GUIDANCE = 2.0

# Velocity [B, 16, h, w] of latents [B, 16, h, w] at sigma [B].
Velocity = Callable[[Tensor, Features, Tensor], Tensor]


def velocity_of(model: object) -> Velocity:
    """The velocity that a diffusers SD3 transformer predicts."""

    def velocity(latents: Tensor, features: Features, sigma: Tensor) -> Tensor:
        predicted: Tensor = model(latents, features.context, features.pooled, sigma * TIMESTEPS).sample  # type: ignore[operator]
        return predicted

    return velocity


def guided(velocity: Velocity, empty: Features) -> Velocity:
    """The same with classifier-free guidance; `empty` has one row, the features of the caption without a word."""

    def both(latents: Tensor, features: Features, sigma: Tensor) -> Tensor:
        context = empty.context[:, : features.context.shape[1]].expand_as(features.context)
        pooled = empty.pooled.expand_as(features.pooled)
        texts = Features(torch.cat([features.context, context]), torch.cat([features.pooled, pooled]))
        found = velocity(torch.cat([latents, latents]), texts, torch.cat([sigma, sigma]))
        conditional, unconditional = found.chunk(2)
        return unconditional + GUIDANCE * (conditional - unconditional)

    return both


def shifted_sigmas(steps: int) -> list[float]:
    """SD3's grid of `steps` + 1 values from 1 to 0."""
    even = [1 - step / steps for step in range(steps + 1)]
    return [SHIFT * value / (1 + (SHIFT - 1) * value) for value in even]


def noise_for(count: int, side: int, seed: int) -> Tensor:
    """Unit noise [count, 16, side, side]; picture k has the seed seed + k, whatever the batch."""
    generators = [torch.Generator("cpu").manual_seed(seed + number) for number in range(count)]
    return torch.stack([torch.randn(LATENT_CHANNELS, side, side, generator=generator) for generator in generators])


@torch.no_grad()
def sample_euler(
    velocity: Velocity, features: Features, seed: int, *, side: int = FULL_SIDE, steps: int = EULER_STEPS
) -> Tensor:
    """Latents [N, 16, side, side] from Euler steps."""
    latents = noise_for(len(features.context), side, seed)
    sigmas = shifted_sigmas(steps)
    for sigma, following in itertools.pairwise(sigmas):
        step = velocity(latents, features, torch.full((len(latents),), sigma))
        latents = latents + (following - sigma) * step
    return latents

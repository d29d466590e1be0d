"""What the losses need of a diffusion model: how it adds noise, and the clean latent that it sees in a noisy one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor

Condition = Mapping[str, Tensor]
"""What the model is told of each picture: tensors [B, ...] by name. Only the callable that takes them reads them."""

Timesteps = Sequence[float]
"""A timestep t in (0, 1] for each picture. Plain numbers: to read them from a tensor would wait for the device."""

Prediction = Callable[[Tensor, Tensor, Condition], Tensor]
"""(noisy latent [B, C, H, W], t [B] in (0, 1], condition) -> velocity [B, C, H, W]."""


class Denoiser(Protocol):
    """A model on its own noise scale."""

    def start(self, noise: Tensor, timesteps: Timesteps) -> Tensor:
        """The noisy latent of a run that starts from nothing but noise."""
        ...

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Timesteps) -> Tensor:
        """The noisy latent of a clean one."""
        ...

    def clean(self, noisy: Tensor, timesteps: Timesteps, condition: Condition) -> Tensor:
        """The model's estimate x0 of the clean latent, in float32."""
        ...


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device, without waiting for the device where that is safe."""
    # CUDA has read the memory when it returns. Apple GPUs may read it when it holds something else already.
    return values.to(device, non_blocking=device.type == "cuda")


def per_picture(values: Sequence[float], like: Tensor) -> Tensor:
    """Numbers [B] as float32 in the shape that multiplies `like` [B, ...], on its device."""
    return on_device(torch.tensor(values, dtype=torch.float32), like.device).reshape(-1, *[1] * (like.ndim - 1))


@dataclass(frozen=True)
class FlowDenoiser:
    """A flow model: x = (1 - t) x0 + t n, and the velocity is n - x0."""

    velocity: Prediction

    def start(self, noise: Tensor, timesteps: Timesteps) -> Tensor:
        return noise

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Timesteps) -> Tensor:
        t = per_picture(timesteps, clean)
        return (1 - t) * clean + t * noise

    def clean(self, noisy: Tensor, timesteps: Timesteps, condition: Condition) -> Tensor:
        t = per_picture(timesteps, noisy)
        return noisy.float() - t * self.velocity(noisy, t.flatten(), condition).float()


def guided(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance on clean estimates (arXiv 2207.12598)."""
    return unconditional + scale * (conditional - unconditional)


def as_tokens(features: Tensor) -> Tensor:
    """Features of a block as [B, tokens, channels]; a UNet's are [B, channels, H, W]."""
    return rearrange(features, "b c h w -> b (h w) c") if features.ndim == 4 else features


def stack_conditions(conditions: list[Condition]) -> dict[str, Tensor]:
    """The conditions of single pictures, without batch axis, as those of a batch."""
    return {name: torch.stack([condition[name] for condition in conditions]) for name in conditions[0]}

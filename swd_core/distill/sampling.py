"""Pictures of a network in training, the way it will be sampled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..loop import sample_scalewise
from ..noise import StageNoise
from ..stages import Stage
from .denoiser import Condition
from .network import Network
from .pairs import Size


@torch.no_grad()
def sample_network(
    network: Network,
    role: str | None,
    condition: Condition,
    channels: int,
    sizes: Sequence[Size],
    timesteps: Sequence[float],
    seed: int,
) -> Tensor:
    """Clean latents [B, C, H, W] of a role, scale by scale, for conditions [B, ...].

    `sizes`: (height, width) of each stage in latent pixels; `timesteps`: t in (0, 1] of each.
    """
    count = len(next(iter(condition.values())))
    source = StageNoise(seed, range(count))
    stages = [
        Stage(index, height, width, timestep)
        for index, ((height, width), timestep) in enumerate(zip(sizes, timesteps, strict=True))
    ]

    def predict(stage: Stage, clean: Tensor | None, noise: Tensor) -> Tensor:
        t = [stage.sigma] * count
        denoiser = network.denoiser
        noisy = denoiser.start(noise, t) if clean is None else denoiser.add_noise(clean, noise, t)
        return network.clean(role, noisy, t, condition)

    def draw(stage: Stage) -> Tensor:
        return source.draw((channels, *stage.size)).to(network.device)

    return sample_scalewise(stages, predict, draw)

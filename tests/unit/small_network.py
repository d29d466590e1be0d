"""A network of a few numbers, and training data for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from swd_pack.swd_core.distill.denoiser import (
    Condition,
    Denoiser,
    FlowDenoiser,
    Prediction,
    Timesteps,
    per_picture,
)
from swd_pack.swd_core.distill.features import FeatureTap
from swd_pack.swd_core.distill.grid import SD3_GRID
from swd_pack.swd_core.distill.lora import Adapters
from swd_pack.swd_core.distill.network import Network
from swd_pack.swd_core.distill.pairs import StageLatents
from swd_pack.swd_core.distill.settings import DistillSettings
from swd_pack.swd_core.distill.targets import choose_targets, linear_targets
from swd_pack.swd_core.distill.trainer import Trainer, WithinStep
from swd_pack.swd_core.distill.workers import Alone, Workers
from torch import Tensor, nn

CHANNELS, WIDTH, TEXT = 4, 16, 6
SIDES = (2, 3, 4)
TIMESTEPS = (1.0, 0.8, 0.6)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q = nn.Linear(WIDTH, WIDTH)
        self.to_out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        mixed = x + x.mean(dim=1, keepdim=True)
        return x + self.to_out(torch.tanh(self.to_q(mixed)))


class TinyModel(nn.Module):
    """A token for each latent pixel, two blocks."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.into, self.time, self.text = nn.Linear(CHANNELS, WIDTH), nn.Linear(1, WIDTH), nn.Linear(TEXT, WIDTH)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.out = nn.Linear(WIDTH, CHANNELS)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
        self.requires_grad_(False)

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        tokens = self.into(rearrange(x, "b c h w -> b (h w) c"))
        tokens = tokens + (self.time(t[:, None]) + self.text(condition["text"]))[:, None]
        for block in self.blocks:
            tokens = block(tokens)
        return rearrange(self.out(tokens), "b (h w) c -> b c h w", h=x.shape[-2])


def alpha_bar(timesteps: Tensor) -> Tensor:
    return (1 - 0.9 * timesteps) ** 2


@dataclass(frozen=True)
class NoiseDenoiser:
    """A DDPM: x = sqrt(abar) x0 + sqrt(1 - abar) n, and the model predicts n, so that no loss relies on a flow.

    `alpha_bar` maps each timestep in (0, 1] to its abar.
    """

    noise: Prediction
    alpha_bar: Callable[[Tensor], Tensor]

    def start(self, noise: Tensor, timesteps: Timesteps) -> Tensor:
        return noise

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Timesteps) -> Tensor:
        abar = self.alpha_bar(per_picture(timesteps, clean))
        return abar.sqrt() * clean + (1 - abar).sqrt() * noise

    def clean(self, noisy: Tensor, timesteps: Timesteps, condition: Condition) -> Tensor:
        t = per_picture(timesteps, noisy)
        abar = self.alpha_bar(t)
        predicted = self.noise(noisy, t.flatten(), condition).float()
        return (noisy.float() - (1 - abar).sqrt() * predicted) / abar.sqrt()


def make_network(kind: str = "flow", rank: int = 3, checkpointing: bool = False) -> tuple[TinyModel, Network]:
    model = TinyModel()
    denoiser: Denoiser = FlowDenoiser(model) if kind == "flow" else NoiseDenoiser(model, alpha_bar)
    adapters = Adapters(model, choose_targets(linear_targets(model), ["to_q", "to_out"]), rank)
    tap = FeatureTap(model.blocks[0], lambda output: output)
    return model, Network(denoiser, adapters, tap, blocks=list(model.blocks) if checkpointing else ())


@dataclass
class Pictures:
    """Random pictures; `odd`: every second one has a prompt of another length, which the model does not mind."""

    count: int = 6
    odd: bool = False

    @property
    def unconditional(self) -> Condition:
        return {"text": torch.zeros(TEXT)}

    def __len__(self) -> int:
        return self.count

    def picture(self, index: int, stage: int) -> tuple[StageLatents, Condition]:
        generator = torch.Generator().manual_seed(index)
        colour = torch.randn(CHANNELS, 1, 1, generator=generator)
        target = colour.expand(-1, SIDES[stage], SIDES[stage])
        previous = colour.expand(-1, SIDES[stage - 1], SIDES[stage - 1]) if stage else None
        condition = {"text": torch.randn(TEXT, generator=generator)}
        if self.odd:
            condition["unused"] = torch.zeros(1 + index % 2)
        return StageLatents(target, previous), condition


def settings_of(**values: Any) -> DistillSettings:
    small = {"batch_size": 4, "rank": 3, "precision": "fp32", "learning_rate": 0.01, "fake_learning_rate": 0.01}
    return DistillSettings(**{**small, "fake_steps": 2, "steps": 8, **values})


def make_trainer(
    network: Network,
    workers: Workers | None = None,
    data: Pictures | None = None,
    within_step: WithinStep | None = None,
    **values: Any,
) -> Trainer:
    settings = settings_of(**values)
    data, workers = data or Pictures(), workers or Alone()
    return Trainer(network, data, TIMESTEPS, SD3_GRID, settings, workers, within_step=within_step)

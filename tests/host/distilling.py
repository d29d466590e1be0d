"""What the tests of distillation have in common: tiny training data and networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from reference import CHANNELS, GUIDANCE, make_text
from safetensors import safe_open
from swd_pack.swd_core.distill.denoiser import Condition
from swd_pack.swd_core.distill.grid import DDPM_GRID, SD3_GRID, TimestepGrid
from swd_pack.swd_core.distill.pairs import StageLatents
from swd_pack.swd_core.distill.settings import DistillSettings
from torch import Tensor

# What the nodes are run with.
FAMILY = "sd35_large"
SCHEDULE = ("2, 3, 4", "1.0, 0.8, 0.6")
PROMPTS = "a red circle\n\n  a blue square above it \n"

SIDES = {"sd35_medium": (4, 6, 8), "sd35_large": (4, 6, 8), "flux": (4, 6, 8), "sdxl": (4, 8, 12)}
TIMESTEPS = {"sdxl": (1.0, 0.7, 0.6)}
FLOW_TIMESTEPS = (1.0, 0.8, 0.6)


def condition_of(family: str, seed: int) -> Condition:
    text = make_text(family, seed)
    return {"cross_attn": text.tokens[0], "pooled_output": text.pooled[0]}


def constants_of(family: str) -> dict[str, Any]:
    return {"guidance": GUIDANCE, "width": 96, "height": 96}


@dataclass
class FlatData:
    """Latents of one colour for every stage of a family."""

    family: str
    size: int = 4

    @property
    def unconditional(self) -> Condition:
        return condition_of(self.family, 99)

    def __len__(self) -> int:
        return self.size

    def picture(self, index: int, stage: int) -> tuple[StageLatents, Condition]:
        generator = torch.Generator().manual_seed(100 * index + stage)
        sides, channels = SIDES[self.family], CHANNELS[self.family]
        # Nearly flat latents are far from what an untrained model gives, so there is something to learn.
        colour = 2 * torch.randn(channels, 1, 1, generator=torch.Generator().manual_seed(7))

        def latent(side: int) -> Tensor:
            return colour + 0.1 * torch.randn(channels, side, side, generator=generator)

        target = latent(sides[stage])
        previous = latent(sides[stage - 1]) if stage else None
        return StageLatents(target, previous), condition_of(self.family, index)


def grid_of(family: str) -> TimestepGrid:
    return DDPM_GRID if family == "sdxl" else SD3_GRID


def settings_for(**values: Any) -> DistillSettings:
    return DistillSettings(**{"batch_size": 2, "learning_rate": 1e-3, "fake_learning_rate": 1e-3, **values})


def tensors_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

"""What a picture costs: multiplications and additions of the transformer, counted by torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from swd_dev.toy.autoencoder import LATENT_CHANNELS
from swd_dev.toy.model import make_transformer
from swd_dev.toy.text import CONTEXT_WIDTH, FULL, POOLED_WIDTH

PATCH = 2


def gflop(sides: Sequence[int], depth: int) -> float:
    """GFLOP of one picture whose steps run at these latent sides; an odd side is padded to a whole patch."""
    return sum(_forward(side + side % PATCH, depth) for side in sides) / 1e9


def image_tokens(sides: Sequence[int]) -> int:
    """Image tokens that all steps together work on."""
    return sum(((side + PATCH - 1) // PATCH) ** 2 for side in sides)


@cache
def _model(depth: int) -> Any:
    return make_transformer(depth).eval()


@cache
def _forward(side: int, depth: int) -> int:
    latents = torch.zeros(1, LATENT_CHANNELS, side, side)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        _model(depth)(latents, torch.zeros(1, FULL, CONTEXT_WIDTH), torch.zeros(1, POOLED_WIDTH), torch.ones(1))
    return int(counter.get_total_flops())

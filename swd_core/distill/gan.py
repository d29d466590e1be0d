"""The discriminator head on block features, and its two losses."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Discriminator(nn.Module):
    """A small MLP that tells real from generated features by the mean of their tokens.

    `layers` times LayerNorm, GELU and Linear, from `channels` down to one number in even steps, as upstream
    (transformer_with_discriminator.py). Weights are drawn from `generator`, as nn.Linear does it.
    """

    def __init__(self, channels: int, layers: int, generator: torch.Generator) -> None:
        super().__init__()
        widths = [channels + (1 - channels) * index // layers for index in range(layers)] + [1]
        self.layers = nn.ModuleList()
        for width, following in itertools.pairwise(widths):
            linear = nn.utils.skip_init(nn.Linear, width, following)  # type: ignore[no-untyped-call]
            bound = 1 / math.sqrt(width)
            for parameter in linear.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
            self.layers.append(nn.Sequential(nn.LayerNorm(width), nn.GELU(), linear))

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, 1] of features [B, tokens, channels]; above 0 means real."""
        hidden = features.float().mean(dim=1)
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden


def generator_loss(fake_logits: Tensor) -> Tensor:
    """How far the student is from being taken for real (the non-saturating loss of arXiv 1406.2661)."""
    return F.softplus(-fake_logits).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """How badly the head tells real from generated."""
    return F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean()

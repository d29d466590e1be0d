"""The start of the teacher's two text layers: a whitening of what they will see.

CLIP's outputs share a large mean, and what tells one caption from another lies in directions of a hundredth of the
strongest one's size. A layer with random weights passes the mean and little else, and the teacher then spends most of
its training on finding out which words are there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from swd_dev.toy.text import Features

# Variance, in parts of the strongest direction's, below which a direction is not scaled up further.
FAINTEST = 1e-4


def whiten_text_layers(model: Any, short: Features, full: Features, seed: int) -> None:
    """Set `context_embedder` and the first layer for pooled texts of `model` so that their outputs over the training
    captions have mean 0 and, in each channel, variance 1.

    `short` and `full`: features of training captions with few and with all tokens.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    tokens = torch.cat([features.context.float().flatten(0, 1) for features in (short, full)])
    _whiten(model.context_embedder, tokens, generator)
    _whiten(model.time_text_embed.text_embedder.linear_1, short.pooled.float(), generator)


@torch.no_grad()
def _whiten(layer: nn.Linear, samples: Tensor, generator: torch.Generator) -> None:
    """Make `layer` the projection of `samples` [N, in] on their strongest directions, each scaled to unit variance."""
    mean = samples.mean(0)
    values, directions = torch.linalg.eigh((samples - mean).T.cov(correction=0))
    kept = layer.out_features
    # Directions in which few samples differ at all would be blown up to noise.
    strengths = values[-kept:].clamp_min(values[-1] * FAINTEST).sqrt()
    projection = directions[:, -kept:] / strengths
    # A random rotation spreads each direction over all channels, as random start weights would.
    rotation = torch.linalg.qr(torch.randn(kept, kept, generator=generator)).Q
    layer.weight.copy_((projection @ rotation).T)
    layer.bias.copy_(-layer.weight @ mean)

"""The losses of a run as one tensor: the header of a safetensors file has no room for those of a long run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def pack_history(history: Sequence[Mapping[str, float]]) -> tuple[list[str], Tensor]:
    """Names of losses, and their values [steps, names] in float64; NaN where a step has no such loss."""
    names = list(dict.fromkeys(name for losses in history for name in losses))
    rows = [[losses.get(name, math.nan) for name in names] for losses in history]
    return names, torch.tensor(rows, dtype=torch.float64).reshape(len(history), len(names))


def unpack_history(names: Sequence[str], values: Tensor) -> list[dict[str, float]]:
    """What was given to `pack_history`. Losses that are no number are never kept: they end the run."""
    return [
        {name: value for name, value in zip(names, row, strict=True) if not math.isnan(value)}
        for row in values.tolist()
    ]

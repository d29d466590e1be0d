"""Seeded weights that keep the signal of a deep network at a sane size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch

BIAS_STD = 0.05
NORM_SPREAD = 0.1

ModuleT = TypeVar("ModuleT", bound=torch.nn.Module)


def build(make: Callable[[], ModuleT]) -> ModuleT:
    """Call ``make`` and leave the global random state as it was: library constructors draw from it."""
    with torch.random.fork_rng(devices=[]):
        return make()


def fan_in(weight: torch.Tensor) -> int:
    """Inputs that one output of a linear (out, in) or convolution (out, in, kh, kw) weight sums over."""
    return weight[0].numel()


def seed_weights(module: ModuleT, seed: int, gains: Mapping[str, float] | None = None) -> ModuleT:
    """Fill every parameter from one generator and freeze the module in eval mode.

    Matrices and kernels get a standard deviation of gain / sqrt(fan in), biases a small one, norm scales are near 1.
    ``gains`` maps a part of a parameter's name to its gain; the default is 1. Parameters are drawn in the order of
    their names, so the result does not depend on the order in which a library version declares them.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                gain = math.prod(value for part, value in (gains or {}).items() if part in name)
                parameter.copy_(noise * (gain / math.sqrt(fan_in(parameter))))
            elif name.endswith("bias"):
                parameter.copy_(noise * BIAS_STD)
            else:
                parameter.copy_(1.0 + noise * NORM_SPREAD)
    module.requires_grad_(False)
    return module.eval()

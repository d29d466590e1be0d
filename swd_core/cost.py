"""What the steps of a schedule cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from .family import FLUX_DEV, SD35_LARGE, SD35_MEDIUM, SDXL

# TFLOP of one forward pass at batch 1 with n blocks of 2 x 2 latent pixels: a + b n + c n^2, exact for what is counted:
# matrix products, convolutions and attention of ComfyUI's models at their true sizes, with 77 + 512 tokens of text for
# SD3.5, 512 for FLUX and 77 for SDXL (tests/host/test_bench.py).
_TFLOP: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        SD35_MEDIUM: (0.8355279, 1.7784177e-3, 2.27328e-7),
        SD35_LARGE: (3.2598241, 5.8302239e-3, 3.69664e-7),
        FLUX_DEV: (6.8130067, 1.36280801e-2, 7.00416e-7),
        SDXL: (0.0525310, 1.45436672e-3, 4.48e-8),
    }
)


def tokens(size: tuple[int, int]) -> float:
    """Image tokens of a latent of height x width latent pixels, 2 x 2 pixels to a token."""
    return size[0] * size[1] / 4


def has_flops(family: str) -> bool:
    """Whether the arithmetic of the family is known, or only its number of tokens."""
    return family in _TFLOP


def step_cost(family: str, size: tuple[int, int]) -> float:
    """Cost of a forward pass: TFLOP where `has_flops`, else tokens."""
    n = tokens(size)
    if not has_flops(family):
        return n
    a, b, c = _TFLOP[family]
    return a + b * n + c * n * n


def shares(family: str, sizes: Sequence[tuple[int, int]]) -> list[float]:
    """The part of a run's work that each step takes; they add up to 1."""
    costs = [step_cost(family, size) for size in sizes]
    return [cost / sum(costs) for cost in costs]


def speed_up(family: str, sizes: Sequence[tuple[int, int]]) -> float:
    """How much less work the steps are than as many steps at the last, full size."""
    return len(sizes) * step_cost(family, sizes[-1]) / sum(step_cost(family, size) for size in sizes)

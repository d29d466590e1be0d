"""Random numbers that depend on nothing but a seed and what they are for.

Nothing here keeps a state, so a run that goes on from a checkpoint, or is split over processes, draws the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import torch
from torch import Tensor

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15


class Purpose(IntEnum):
    """What a number is drawn for; numbers of two purposes are independent."""

    ORDER = 1
    INPUT = 2
    FAKE_SAMPLE = 3
    DMD = 4
    MMD = 5
    STUDENT_LORA = 6
    FAKE_LORA = 7
    HEAD = 8
    PREVIEW = 9


def make_generator(seed: int, purpose: Purpose, number: int = 0) -> torch.Generator:
    """A CPU generator for one purpose and one number, such as that of a picture."""
    return torch.Generator("cpu").manual_seed(_mix(_mix(_mix(seed) ^ int(purpose)) ^ number))


def _mix(value: int) -> int:
    # splitmix64 (Steele, Lea, Flood 2014): neighbouring inputs give unrelated outputs.
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class Draws:
    """The numbers of one batch: picture k of it is `items[k]`, its place in the endless list of training pictures."""

    def __init__(self, seed: int, items: Sequence[int]) -> None:
        self._seed = seed
        self._items = tuple(items)

    def noise(self, purpose: Purpose, shape: Sequence[int]) -> Tensor:
        """Standard normal noise [B, *shape] in float32 on the CPU."""
        return torch.stack([torch.randn(tuple(shape), generator=g) for g in self._generators(purpose, 0)])

    def levels(self, purpose: Purpose, values: Sequence[float]) -> list[float]:
        """One of `values` for every picture, evenly."""
        return [values[int(torch.randint(len(values), (1,), generator=g))] for g in self._generators(purpose, 1)]

    def _generators(self, purpose: Purpose, stream: int) -> list[torch.Generator]:
        return [make_generator(self._seed, purpose, 2 * item + stream) for item in self._items]


def epoch_order(seed: int, epoch: int, size: int) -> list[int]:
    """The order in which epoch number `epoch` goes through `size` pictures."""
    order: list[int] = torch.randperm(size, generator=make_generator(seed, Purpose.ORDER, epoch)).tolist()
    return order

"""Training pictures, and the batches that are made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from .denoiser import Condition, on_device, stack_conditions
from .draws import epoch_order
from .pairs import StageLatents


class TrainingData(Protocol):
    """Teacher pictures as clean latents on the scale of the model, with what the model is told of them.

    `unconditional`: the condition of one picture without a prompt, for guidance; None where there is none.
    """

    @property
    def unconditional(self) -> Condition | None: ...

    def __len__(self) -> int: ...

    def picture(self, index: int, stage: int) -> tuple[StageLatents, Condition]:
        """Latents [C, h, w] and condition of one picture for one stage, without batch axis."""
        ...


@dataclass(frozen=True)
class Batch:
    """Pictures of one shape. `items`: the place of each in the endless list of training pictures."""

    items: tuple[int, ...]
    stage: StageLatents
    condition: Condition


class Batches:
    """The endless list of training pictures: epoch after epoch, each in an order of its own."""

    def __init__(self, data: TrainingData, seed: int) -> None:
        self._data = data
        self._seed = seed
        self._order: tuple[int, list[int]] | None = None

    def load(self, items: Iterable[int], stage: int, limit: int, device: torch.device) -> Iterator[Batch]:
        """Pictures of the list as batches of at most `limit` (0: no limit), none of which mixes two shapes."""
        groups: dict[object, list[tuple[int, StageLatents, Condition]]] = {}
        for item in items:
            latents, condition = self._data.picture(self._index(item), stage)
            shapes = (latents.target.shape, *((name, value.shape) for name, value in sorted(condition.items())))
            groups.setdefault(shapes, []).append((item, latents, condition))
        for group in groups.values():
            size = limit or len(group)
            for start in range(0, len(group), size):
                yield _stack(group[start : start + size], device)

    def _index(self, item: int) -> int:
        epoch, place = divmod(item, len(self._data))
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, epoch_order(self._seed, epoch, len(self._data)))
        return self._order[1][place]


def _stack(group: Sequence[tuple[int, StageLatents, Condition]], device: torch.device) -> Batch:
    targets = on_device(torch.stack([latents.target for _, latents, _ in group]).float(), device)
    previous = [latents.previous for _, latents, _ in group if latents.previous is not None]
    stacked = on_device(torch.stack(previous).float(), device) if previous else None
    condition = stack_conditions([condition for _, _, condition in group])
    moved = {name: on_device(value, device) for name, value in condition.items()}
    return Batch(tuple(item for item, _, _ in group), StageLatents(targets, stacked), moved)

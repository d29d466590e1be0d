"""Looks for NaN and infinity without making the device wait."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .loop import Predict
from .stages import Stage


class FiniteWatch:
    """Keeps the sum of the clean latent of each stage on the device, to be read when the run is over.

    Reading such a value makes Python wait for the device, so a check at every stage would cost the time in which
    Python prepares the next one.
    """

    def __init__(self) -> None:
        self._sums: list[Tensor] = []

    def over(self, predict: Predict) -> Predict:
        """The same stages, watched."""

        def watched(stage: Stage, clean: Tensor | None, noise: Tensor) -> Tensor:
            x0 = predict(stage, clean, noise)
            # One kernel, where extremes are three. NaN and infinity stay in a sum; a sound latent's is far from them.
            self._sums.append(x0.sum(dtype=torch.float32))
            return x0

        return watched

    def first_bad(self) -> int | None:
        """Position of the first stage whose clean latent holds NaN or infinity; None if all are sound.

        Waits for the device once.
        """
        sums: list[float] = torch.stack(self._sums).tolist()
        return next((stage for stage, total in enumerate(sums) if not math.isfinite(total)), None)


def read_extremes(values: Sequence[Tensor]) -> list[tuple[float, float]]:
    """The smallest and the largest number of each tensor, NaN for both where it holds one.

    Waits for the device once for all of them.
    """
    device = values[0].device
    ends: list[list[float]] = torch.stack([_extremes(value).float().to(device) for value in values]).tolist()
    return [(low, high) for low, high in ends]


def _extremes(values: Tensor) -> Tensor:
    # No copy of the tensor, and NaN wins over every number. aminmax would read it once, but is not there for every
    # device.
    return torch.stack((values.amin(), values.amax())) if values.numel() else values.new_zeros(2)

"""Looks for NaN and infinity in the latents of a run without making the device wait."""

from __future__ import annotations

import torch
from torch import Tensor

from .loop import Predict
from .stages import Stage


class FiniteWatch:
    """Keeps one true or false for the clean latent of each stage on the device, to be read when the run is over.

    Reading such a value makes Python wait for the device, so a check at every stage would cost the time in which
    Python prepares the next one.
    """

    def __init__(self) -> None:
        self._finite: list[Tensor] = []

    def over(self, predict: Predict) -> Predict:
        """The same stages, watched."""

        def watched(stage: Stage, clean: Tensor | None, noise: Tensor) -> Tensor:
            x0 = predict(stage, clean, noise)
            self._finite.append(torch.isfinite(x0).all())
            return x0

        return watched

    def first_bad(self) -> int | None:
        """Position of the first stage whose clean latent holds NaN or infinity; None if all are sound.

        Waits for the device once.
        """
        sound: list[bool] = torch.stack(self._finite).tolist()
        return None if all(sound) else sound.index(False)

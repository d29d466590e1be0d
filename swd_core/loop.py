"""The SwD loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from .resize import resize
from .stages import Stage


class Predict(Protocol):
    """One forward pass at a stage: noise a clean latent to the sigma of the stage, and predict the clean latent again.

    Takes the clean latent [B, C, [T,] h, w] of the stage before, at the size of this one, or None at the first stage,
    which starts from what the host was given; and the stage's fresh noise of the same shape. Returns x0.
    """

    def __call__(self, stage: Stage, clean: Tensor | None, noise: Tensor) -> Tensor: ...


def sample_scalewise(
    stages: Sequence[Stage],
    predict: Predict,
    draw_noise: Callable[[Stage], Tensor],
    upscale_method: str = "bicubic",
) -> Tensor:
    """Predict the clean latent, upscale it, add fresh noise for the next stage, repeat; return the last clean latent.

    The order is the method (arXiv 2503.16397, section 4.1 and table 1): noise is added after the upscale, at the new
    size.
    """
    first, *later = stages
    x0 = predict(first, None, draw_noise(first))
    for stage in later:
        x0 = predict(stage, resize(x0, stage.size, upscale_method), draw_noise(stage))
    return x0

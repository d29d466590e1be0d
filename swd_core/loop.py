"""The SwD loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from .resize import resize
from .stages import Stage


class Predict(Protocol):
    """One forward pass at a stage.

    Takes the noisy latent x [B, C, [T,] h, w] of the stage, or None at the first stage, where the host makes it from
    the latent that came in; and the stage's noise, for hosts that blend it in (inpainting). Returns the clean latent
    x0.
    """

    def __call__(self, stage: Stage, x: Tensor | None, noise: Tensor) -> Tensor: ...


def sample_scalewise(
    stages: Sequence[Stage],
    predict: Predict,
    draw_noise: Callable[[Stage], Tensor],
    renoise: Callable[[Stage, Tensor, Tensor], Tensor],
    upscale_method: str = "bicubic",
) -> Tensor:
    """Predict the clean latent, upscale it, add fresh noise for the next stage, repeat; return the last clean latent.

    The order is the method (arXiv 2503.16397, section 4.1 and table 1): noise is added after the upscale, at the new
    size. `renoise(stage, noise, x0)` is the forward process of the model at the sigma of the stage.
    """
    first, *later = stages
    x0 = predict(first, None, draw_noise(first))
    for stage in later:
        noise = draw_noise(stage)
        x0 = predict(stage, renoise(stage, noise, resize(x0, stage.size, upscale_method)), noise)
    return x0

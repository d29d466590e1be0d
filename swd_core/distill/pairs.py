"""Scale-wise training pairs: what the student is given at a stage, and what it should make of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..resize import resize
from .denoiser import Condition, Denoiser, Timesteps

Size = tuple[int, int]
Encode = Callable[[Tensor], Tensor]
"""Pixels [B, 3, H, W] from -1 to 1 -> clean latent [B, C, h, w]."""


@dataclass(frozen=True)
class StageLatents:
    """The clean latents of pictures for one stage.

    `target`: the pictures at the size of the stage, [C, h, w] or [B, C, h, w]. `previous`: the same at the size of the
    stage before; None at the first stage, which starts from pure noise.
    """

    target: Tensor
    previous: Tensor | None


@dataclass(frozen=True)
class Pair:
    """`noisy` [B, C, h, w]: input of the student, at `timesteps`. `target` [B, C, h, w]: the real clean latent."""

    noisy: Tensor
    timesteps: Timesteps
    target: Tensor
    condition: Condition


def encode_stages(pixels: Tensor, sizes: Sequence[Size], encode: Encode, pixels_per_latent: int) -> list[StageLatents]:
    """The latents of pictures for every stage.

    `pixels` [B, 3, H, W]. `sizes`: (height, width) of each stage in latent pixels. Pictures shrink in pixel space, by
    area, and the picture of the stage before is made from the one of this stage (upstream, sample_batch).
    """
    stages: list[StageLatents] = []
    for index, size in enumerate(sizes):
        picture = _shrink(pixels, size, pixels_per_latent)
        previous = encode(_shrink(picture, sizes[index - 1], pixels_per_latent)) if index else None
        stages.append(StageLatents(encode(picture), previous))
    return stages


def _shrink(pixels: Tensor, size: Size, pixels_per_latent: int) -> Tensor:
    return resize(pixels, (size[0] * pixels_per_latent, size[1] * pixels_per_latent), "area")


def make_pair(
    stage: StageLatents, noise: Tensor, timesteps: Timesteps, condition: Condition, denoiser: Denoiser
) -> Pair:
    """What the sampler would hand the model at this stage, had it got the pictures right so far.

    The latent of the stage before grows in latent space, bicubically, and then gets its noise: the order of the method.
    `noise`: [B, C, h, w].
    """
    if stage.previous is None:
        noisy = denoiser.start(noise, timesteps)
    else:
        noisy = denoiser.add_noise(resize(stage.previous, _size(stage.target)), noise, timesteps)
    return Pair(noisy, timesteps, stage.target, condition)


def _size(latent: Tensor) -> Size:
    return latent.shape[-2], latent.shape[-1]

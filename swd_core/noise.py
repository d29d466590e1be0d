"""The noise rule: every picture of a batch owns one generator, so it depends on nothing but its seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

_SEEDS = 2**64


class StageNoise:
    """Fresh standard normal noise for each stage of a run.

    Picture k of the batch draws from `torch.Generator("cpu")` seeded with (seed + k) mod 2^64, in stage order.
    """

    def __init__(self, seed: int, items: Iterable[int]) -> None:
        self._generators = [torch.Generator("cpu").manual_seed((seed + item) % _SEEDS) for item in items]

    def draw(self, shape: Sequence[int]) -> Tensor:
        """Noise [B, *shape] in float32 on the CPU; `shape` is that of one picture, [C, H, W] or [C, T, H, W]."""
        return torch.stack([torch.randn(tuple(shape), generator=generator) for generator in self._generators])


def recover_items(noise: Tensor, seed: int, limit: int = 64) -> list[int]:
    """The number k of each picture in a batch, from the noise that ComfyUI drew for it.

    A SAMPLER does not see the `batch_index` of the latent, but ComfyUI's RandomNoise does: it gives picture k of a
    batch the k-th draw of one generator. `noise`: [B, ...]. Noise from elsewhere counts by position, as do numbers
    from `limit` on (ComfyUI's own nodes stay below).
    """
    positions = list(range(len(noise)))
    if not noise.any():
        return positions
    # One picture's first numbers tell it apart; the tolerance lets half precision through.
    wanted = noise.flatten(1)[:, :64].float().cpu()
    generator = torch.Generator("cpu").manual_seed(seed % _SEEDS)
    found: dict[int, int] = {}
    for item in range(limit):
        drawn = torch.randn(noise.shape[1:], generator=generator).flatten()[:64]
        for position in (wanted - drawn).abs().amax(dim=1).lt(0.02).nonzero().flatten().tolist():
            found.setdefault(position, item)
        if len(found) == len(wanted):
            return [found[position] for position in positions]
    return positions

"""The noise rule: every picture of a batch owns one generator, so it depends on nothing but its seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

_SEEDS = 2**64
# torch makes normal numbers in blocks of so many.
_BLOCK = 16
# Numbers by which a picture's noise is known.
_HEAD = 4 * _BLOCK
# How many of them have to agree. FreeNoise over the width or height of a picture leaves those of its first window.
_ENOUGH = 16
# How far the number of a picture is looked for: as many pictures as so many numbers make up, about half a second's
# draws (1,024 pictures of SD3.5 at 1024 x 1024), but within these bounds.
_NUMBERS = 2**28
_FEWEST, _MOST = 64, 4096


class StageNoise:
    """Fresh standard normal noise for each stage of a run.

    Picture k of the batch draws from `torch.Generator("cpu")` seeded with (seed + k) mod 2^64, in stage order.
    """

    def __init__(self, seed: int, items: Iterable[int]) -> None:
        self._generators = [torch.Generator("cpu").manual_seed((seed + item) % _SEEDS) for item in items]

    def draw(self, shape: Sequence[int], pinned: bool = False) -> Tensor:
        """Noise [B, *shape] in float32 on the CPU; `shape` is that of one picture, [C, H, W] or [C, T, H, W].

        `pinned`: in memory from which a GPU copies without anyone waiting.
        """
        noise = _empty((len(self._generators), *shape), pinned)
        for picture, generator in zip(noise, self._generators, strict=True):
            torch.randn(tuple(shape), generator=generator, out=picture)
        return noise


def _empty(shape: Sequence[int], pinned: bool) -> Tensor:
    try:
        return torch.empty(tuple(shape), pin_memory=pinned)
    except RuntimeError:
        # Systems limit such memory. The copy is slower from any other, not different.
        return torch.empty(tuple(shape))


class NoiseAhead:
    """The noise of all stages, each drawn by a thread while the forward pass before it is under way.

    The order of draws is that of the stages, so the numbers are those that `StageNoise` alone gives. Never more than
    one stage ahead, so that a large batch holds no noise that it does not need yet. The thread ends after the last
    draw, or once nobody holds this object any longer, as after an interrupt.
    """

    def __init__(self, source: StageNoise, shapes: Iterable[Sequence[int]], pinned: bool = False) -> None:
        self._source = source
        self._shapes = iter(shapes)
        self._pinned = pinned
        self._thread = ThreadPoolExecutor(1, "swd-noise")
        self._next = self._begin()

    def _begin(self) -> Future[Tensor] | None:
        shape = next(self._shapes, None)
        if shape is None:
            self._thread.shutdown(wait=False)
            return None
        return self._thread.submit(self._source.draw, shape, self._pinned)

    def take(self) -> Tensor:
        """The noise of the next stage, [B, *shape]. Raises what the drawing of it raised."""
        if self._next is None:
            raise IndexError("the noise of all stages has been taken")
        drawn = self._next.result()
        self._next = self._begin()
        return drawn


def recover_items(noise: Tensor, seed: int) -> list[int] | None:
    """The number k of each picture in a batch, from the noise that ComfyUI drew for it; None where it drew another.

    A SAMPLER does not see the `batch_index` of the latent, but ComfyUI's RandomNoise does: it gives picture k of a
    batch the k-th draw of one generator. Without `batch_index` it makes one draw of the whole batch. `noise`: [B, ...];
    where it is zero, pictures count by position.
    """
    size = noise[0].numel()
    wanted = _heads(noise)
    if not wanted.any():
        return list(range(len(noise)))
    generator = torch.Generator("cpu").manual_seed(seed % _SEEDS)
    # One draw of several pictures is those of each, unless blocks of it reach from one picture into the next.
    if size % _BLOCK and len(noise) > 1:
        if _is_same(wanted, _heads(torch.randn(noise.shape, generator=generator))).all():
            return list(range(len(noise)))
        generator.manual_seed(seed % _SEEDS)
    found: dict[int, int] = {}
    for item in range(min(max(_FEWEST, _NUMBERS // size), _MOST)):
        if item > 0:
            _skip_rest(size, generator)
        drawn = _head(size, generator)
        for position in _is_same(wanted, drawn).nonzero().flatten().tolist():
            found.setdefault(position, item)
        if len(found) == len(wanted):
            return [found[position] for position in range(len(noise))]
    return None


def _heads(noise: Tensor) -> Tensor:
    """The first numbers of each picture [B, ...], which tell it apart."""
    return noise.flatten(1)[:, :_HEAD].float().cpu()


def _is_same(heads: Tensor, drawn: Tensor) -> Tensor:
    # The tolerance lets half precision through.
    return (heads - drawn).abs().lt(0.02).sum(dim=1) >= min(_ENOUGH, heads.shape[1])


def _head(size: int, generator: torch.Generator) -> Tensor:
    """The first numbers of a picture's draw of `size` numbers."""
    # Of whole blocks, so the head of a long draw does not depend on what follows.
    return torch.randn(_HEAD if size >= 2 * _HEAD else size, generator=generator)[:_HEAD]


def _skip_rest(size: int, generator: torch.Generator) -> None:
    """Bring a generator from after `_head` to the next picture."""
    if size >= 2 * _HEAD:
        torch.randn(size - _HEAD, generator=generator)

"""Differences between ComfyUI versions, in one place."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

T = TypeVar("T")


def call_known(function: Callable[..., T], *args: Any, **optional: Any) -> T:
    """Call a ComfyUI function with those of the `optional` keywords that this version of it has.

    `CFGGuider.inner_sample(latent_shapes=)` may be missing on guiders of other packs, and
    `fix_empty_latent_channels(downscale_ratio_temporal=)` is not in 0.16.3.
    """
    known = _parameters(getattr(function, "__func__", function))
    return function(*args, **{name: value for name, value in optional.items() if name in known})


# Half a millisecond each time, and a run with masks asks at every stage. Functions only: a method would hold its model.
@lru_cache(maxsize=32)
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def no_callback(*arguments: object) -> None:
    """Stands in where a caller gave no callback: up to 0.27.0 KSAMPLER hands None on to the sampler function."""

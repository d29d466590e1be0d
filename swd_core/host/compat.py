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
    method = getattr(function, "__func__", None)
    # The cache would keep alive what a bound method or a closure holds, which may be a model.
    known = _names(function) if method is None or method.__closure__ else _cached_names(method)
    return function(*args, **{name: value for name, value in optional.items() if name in known})


def _names(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


_cached_names = lru_cache(maxsize=16)(_names)


def no_callback(*arguments: object) -> None:
    """Stands in where a caller gave no callback: up to 0.27.0 KSAMPLER hands None on to the sampler function."""

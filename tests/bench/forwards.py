"""The forward passes of a run: the same ones again without the run, and the run without them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import torch
from torch import Tensor


@dataclass(frozen=True)
class Call:
    """Arguments of one `apply_model`."""

    x: Tensor
    timestep: Tensor
    conditions: dict[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.x.shape)


def record(patcher: Any, job_of: Callable[[Any], Callable[[], object]]) -> list[Call]:
    """The forward passes that a job makes; `job_of` makes the job of a ModelPatcher."""
    calls: list[Call] = []

    def note(apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        calls.append(Call(arguments["input"].clone(), arguments["timestep"].clone(), dict(arguments["c"])))
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    clone = patcher.clone()
    clone.set_model_unet_function_wrapper(note)
    job_of(clone)()
    return calls


def replay(base_model: Any, calls: Sequence[Call]) -> None:
    """The bare forward passes, one after the other: what no sampler with these shapes can be faster than."""
    for call in calls:
        base_model.apply_model(call.x, call.timestep, **call.conditions)


@contextmanager
def ready(patcher: Any) -> Iterator[Any]:
    """The model on its device, as it is while a sampler runs."""
    comfy.model_management.load_models_gpu([patcher])
    patcher.pre_run()
    try:
        yield patcher.model
    finally:
        patcher.cleanup()


def bare(patcher: Any, calls: Sequence[Call]) -> Callable[[], None]:
    """A job: the bare forward passes, with the model on its device already."""

    def job() -> None:
        with torch.inference_mode():
            replay(patcher.model, calls)

    return job


class Elsewhere:
    """Forward passes that another device would make: they take some time, and Python has none of the work.

    What is left of a run is the work outside the model, which a GPU may have to wait for.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self.seconds = seconds
        self.clock = clock
        self.spent = 0.0

    def on(self, patcher: Any) -> Any:
        """A clone of the model whose forward passes are such."""

        def wait(apply_model: Any, arguments: dict[str, Any]) -> Tensor:
            start = self.clock()
            x: Tensor = arguments["input"]
            result = x * 0.5
            time.sleep(self.seconds)
            self.spent += self.clock() - start
            return result

        clone = patcher.clone()
        clone.set_model_unet_function_wrapper(wait)
        return clone

    def take(self) -> float:
        """The seconds of the passes since the last call, by the clock."""
        spent, self.spent = self.spent, 0.0
        return spent

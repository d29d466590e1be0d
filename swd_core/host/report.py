"""The one line that a run leaves in the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..loop import Predict
from ..schedule import CUSTOM, Schedule
from ..stages import Stage
from .progress import announce

logger = logging.getLogger("swd")


class Clock(Protocol):
    """Notes moments, and tells the seconds between each and the next."""

    def mark(self) -> None: ...

    def seconds(self) -> list[float]: ...


class _DeviceClock:
    """Times of a device that works on while Python is ahead of it; reading waits for the device, marking does not."""

    def __init__(self, event: Any) -> None:
        self.new_event = event
        self.events: list[Any] = []
        self.launched = _WallClock()

    def mark(self) -> None:
        event = self.new_event(enable_timing=True)
        event.record()
        self.events.append(event)
        self.launched.mark()

    def seconds(self) -> list[float]:
        self.events[-1].synchronize()
        pairs = zip(self.events, self.events[1:], strict=False)
        try:
            return [start.elapsed_time(end) / 1000 for start, end in pairs]
        except NotImplementedError:
            # Intel GPUs up to torch 2.5.
            return self.launched.seconds()


class _WallClock:
    def __init__(self) -> None:
        self.times: list[float] = []

    def mark(self) -> None:
        self.times.append(time.perf_counter())

    def seconds(self) -> list[float]:
        return [end - start for start, end in zip(self.times, self.times[1:], strict=False)]


def clock_for(device: torch.device) -> Clock:
    """A clock for work on a device. Marking never waits for the device."""
    event = getattr(getattr(torch, device.type, None), "Event", None) if device.type in ("cuda", "xpu") else None
    return _WallClock() if event is None else _DeviceClock(event)


def timed(predict: Predict, clock: Clock) -> Predict:
    """The same stages, with a mark at the start and after each."""

    def marked(stage: Stage, clean: Tensor | None, noise: Tensor) -> Tensor:
        x0 = predict(stage, clean, noise)
        clock.mark()
        return x0

    clock.mark()
    return marked


def log_run(
    schedule: Schedule, stages: Sequence[Stage], pictures: int, clock: Clock, remarks: Sequence[str] = ()
) -> None:
    """Log model, schedule, sizes in latent pixels, and the seconds of each stage and of all.

    The node shows the sum, and what there was to remark.
    """
    seconds = clock.seconds()
    announce("\n".join((f"{len(stages)} step{'s' if len(stages) > 1 else ''}, {sum(seconds):.2f} s", *remarks)))
    steps = ", ".join(
        f"{stage.width} x {stage.height} {spent:.2f} s" for stage, spent in zip(stages, seconds, strict=True)
    )
    name = "custom schedule" if schedule.name == CUSTOM else schedule.name
    # The name of a preset begins with its model; one that another model borrows does not say which.
    if not name.startswith(schedule.model.family):
        name = f"{schedule.model.family}, {name}"
    count = f"{pictures} picture{'s' if pictures > 1 else ''}"
    logger.info("SwD: %s, %s: %s; %.2f s in total", name, count, steps, sum(seconds))

"""Times of jobs that take turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

from bench.device import synchronize

Times = dict[str, list[float]]


def interleave(
    jobs: Mapping[str, Callable[[], object]],
    runs: int,
    device: torch.device,
    warm_up: int = 1,
    after: Callable[[str], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Times:
    """Seconds of each job in each round, by name; `clock` tells them.

    A round runs every job once; the next begins with another one. The device is waited for before and after each. The
    first `warm_up` rounds are not counted. `after` is called with the name of each counted job that has just run.
    """
    names = list(jobs)
    times: Times = {name: [] for name in names}
    for number in range(warm_up + runs):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            synchronize(device)
            start = clock()
            jobs[name]()
            synchronize(device)
            spent = clock() - start
            if number >= warm_up:
                times[name].append(spent)
            if after is not None:
                after(name if number >= warm_up else "")
    return times


def ratio(times: Times, over: str, under: str) -> float:
    """The median, over all rounds, of one job's time over another's."""
    return statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))


def seconds(times: Times, name: str) -> float:
    return statistics.median(times[name])


def spread(times: Times, over: str, under: str) -> float:
    """How far the ratio of single rounds lies apart: (largest - smallest) / median."""
    ratios = [a / b for a, b in zip(times[over], times[under], strict=True)]
    return (max(ratios) - min(ratios)) / statistics.median(ratios)

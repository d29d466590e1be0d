"""Where the time of the forward passes goes: how far the small stages stay behind the arithmetic of the last one."""

from __future__ import annotations

from collections.abc import Iterator

from bench.device import busy_seconds
from bench.flops import flops_of
from bench.forwards import bare, ready, record
from bench.models import Model, models_of
from bench.rows import Row
from bench.runs import job_of, swd_plan
from bench.setting import Setting
from bench.timing import interleave, ratio, seconds


def measure(setting: Setting) -> Iterator[Row]:
    """For each stage: (its time / that of the last) / (its arithmetic / that of the last). Above 1 it waits for more
    than arithmetic: on a GPU for launches, whose part is beside it."""
    for preset, model in models_of(setting, "stages", "middle"):
        with ready(model.patcher):
            yield from _rows(setting, model, preset)


def _rows(setting: Setting, model: Model, preset: str) -> Iterator[Row]:
    calls = record(model.patcher, job_of(model, swd_plan(setting, model, preset), setting.target(64)))
    jobs = {str(number): bare(model.patcher, [call]) for number, call in enumerate(calls)}
    times = interleave(jobs, setting.runs, setting.device)
    work = [flops_of(model.patcher.model, [call]) for call in calls]
    last = str(len(calls) - 1)
    for number, call in enumerate(calls[:-1]):
        name = str(number)
        height, width = call.shape[-2:]
        value = ratio(times, name, last) / (work[number] / work[-1])
        note = f"time per arithmetic, step {number + 1} / last step"
        details = {"tflop": work[number] / 1e12, "seconds": seconds(times, name)}
        if setting.device.type == "cuda":
            busy = busy_seconds(setting.device, jobs[name]) / seconds(times, name)
            note += f"; the GPU computes {100 * busy:.0f} % of the time"
            details["busy"] = busy
        yield Row("stages", f"{preset}, {model.size}, {width} x {height}", value, None, note, details=details)

"""Peak memory of a run, and the memory that ComfyUI is asked for before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from comfy.patcher_extension import WrappersMP

from bench.device import peak_bytes
from bench.forwards import ready, record
from bench.models import Model, models_of
from bench.rows import Bar, Row
from bench.runs import job_of, lcm_plan, swd_plan
from bench.setting import Setting

OF_PEAK = Bar(1.0)
OF_PLAN = Bar(1.0, least=True)


def measure(setting: Setting) -> Iterator[Row]:
    """Peak of a run / peak of ComfyUI's at full size; memory planned / memory that the largest stage needs."""
    for preset, model in models_of(setting, "memory", "tiny"):
        yield _peak(setting, model, preset)
        yield _plan(setting, model, preset)


def _peak(setting: Setting, model: Model, preset: str) -> Row:
    side = setting.target(64)
    swd = swd_plan(setting, model, preset)
    jobs = {"SwD": job_of(model, swd, side), "lcm": job_of(model, lcm_plan(swd.sigmas), side)}
    peaks: dict[str, int] = {}
    with ready(model.patcher):
        for name, job in jobs.items():
            run = job(model.patcher)
            run()
            peaks[name] = peak_bytes(setting.device, run)
    note = f"{side * 8} px, over the weights: {peaks['SwD'] / 2**20:.0f} MiB against {peaks['lcm'] / 2**20:.0f} MiB"
    return Row(
        "peak memory", f"{preset}, {model.size}", peaks["SwD"] / peaks["lcm"], OF_PEAK, note, details={"bytes": peaks}
    )


def _plan(setting: Setting, model: Model, preset: str) -> Row:
    """What ComfyUI plans with before it loads the model, against what it asks of a forward pass of each stage."""
    side = setting.target(64)
    asked: list[tuple[int, ...]] = []

    def note_shape(executor: Any, patcher: Any, shape: Any, *rest: Any, **options: Any) -> Any:
        asked.append(tuple(shape))
        return executor(patcher, shape, *rest, **options)

    watched = model.patcher.clone()
    watched.add_wrapper(WrappersMP.PREPARE_SAMPLING, note_shape)
    calls = record(watched, job_of(model, swd_plan(setting, model, preset), side))
    required = model.patcher.model.memory_required
    needed = {call.shape[-2:]: required(list(call.shape)) for call in calls}
    planned, largest = required(list(asked[0])), max(needed.values())
    note = f"memory asked for before the run / memory that the largest stage needs, {side * 8} px"
    numbers = {"planned": planned, "stages": {f"{size[1]} x {size[0]}": value for size, value in needed.items()}}
    return Row("memory plan", f"{preset}, {model.size}", planned / largest, OF_PLAN, note, details=numbers)

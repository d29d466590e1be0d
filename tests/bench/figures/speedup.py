"""How much faster the stages are than as many steps at full size, beside what the arithmetic allows."""

from __future__ import annotations

from collections.abc import Iterator

from bench.flops import flops_of
from bench.forwards import ready, record
from bench.models import Model, models_of
from bench.rows import Bar, Row
from bench.runs import job_of, lcm_plan, swd_plan
from bench.setting import Setting
from bench.timing import interleave, ratio, seconds

OF_LIMIT = Bar(0.97, least=True)


def measure(setting: Setting) -> Iterator[Row]:
    """The speed-up against ComfyUI's lcm at full size, as a part of the FLOP limit."""
    for preset, model in models_of(setting, "speed-up", "middle"):
        yield _row(setting, model, preset)


def _row(setting: Setting, model: Model, preset: str) -> Row:
    side = setting.target(64)
    swd = swd_plan(setting, model, preset)
    jobs = {"SwD": job_of(model, swd, side), "lcm": job_of(model, lcm_plan(swd.sigmas), side)}
    with ready(model.patcher) as base_model:
        work = {name: flops_of(base_model, record(model.patcher, job)) for name, job in jobs.items()}
    times = interleave({name: job(model.patcher) for name, job in jobs.items()}, setting.runs, setting.device)
    limit, speedup = work["lcm"] / work["SwD"], ratio(times, "lcm", "SwD")
    numbers = {
        "speed-up": speedup,
        "limit": limit,
        "tflop": {name: value / 1e12 for name, value in work.items()},
        "seconds": {name: seconds(times, name) for name in jobs},
    }
    note = f"{speedup:.2f}x as fast as lcm at full size, {side * 8} px; limit {limit:.2f}x"
    if setting.device.type == "cuda":
        note += f"; {seconds(times, 'SwD'):.3f} s against {seconds(times, 'lcm'):.3f} s"
    bar = OF_LIMIT if setting.counts else None
    return Row("speed-up / limit", f"{preset}, {model.size}", speedup / limit, bar, note, details=numbers)

"""What a run costs beyond its forward passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.forwards import bare, ready, record, without_forwards
from bench.models import Model, model_of
from bench.rows import Bar, Row
from bench.runs import Plan, job_of, lcm_plan, swd_plan
from bench.setting import Setting
from bench.timing import interleave, ratio, seconds

OF_BARE = Bar(1.02)
OF_LCM = Bar(1.0)


def measure(setting: Setting) -> Iterator[Row]:
    """The time of a run over that of its bare forward passes; on a CPU also what is left, beside ComfyUI's lcm."""
    size = setting.size("tiny")
    for preset, family in setting.presets.items():
        if setting.has_time(f"overhead, {preset}"):
            with model_of(setting, family, size) as model:
                yield _of_bare(setting, model, preset)
                if setting.device.type == "cpu":
                    yield _of_lcm(setting, model, preset)


def _plans(setting: Setting, model: Model, preset: str) -> dict[str, Plan]:
    swd = swd_plan(setting, model, preset)
    return {"SwD": swd, "lcm": lcm_plan(swd.sigmas)}


def _of_bare(setting: Setting, model: Model, preset: str) -> Row:
    side = setting.target(64)
    jobs: dict[str, Callable[[], object]] = {}
    for name, plan in _plans(setting, model, preset).items():
        job = job_of(model, plan, side)
        jobs[name] = job(model.patcher)
        jobs[f"{name} bare"] = bare(model.patcher, record(model.patcher, job))
    with ready(model.patcher):
        times = interleave(jobs, setting.runs, setting.device)
    value, beside = ratio(times, "SwD", "SwD bare"), ratio(times, "lcm", "lcm bare")
    note = f"run / bare forward passes, {side * 8} px; ComfyUI's lcm {beside:.3f}x"
    return Row(
        "overhead",
        f"{preset}, {model.size}",
        value,
        OF_BARE if setting.counts else None,
        note,
        details={"lcm": beside, **{name: seconds(times, name) for name in jobs}},
    )


def _of_lcm(setting: Setting, model: Model, preset: str) -> Row:
    """Time outside the forward passes, a step: these are left out, so that nothing hides the rest."""
    side = setting.target(128)
    plans = _plans(setting, model, preset)
    empty = without_forwards(model.patcher)
    jobs = {name: job_of(model, plan, side)(empty) for name, plan in plans.items()}
    times = interleave(jobs, 4 * setting.runs, setting.device, warm_up=3)
    milliseconds = {name: 1000 * seconds(times, name) / plan.steps for name, plan in plans.items()}
    note = f"time outside the model a step, SwD / lcm, {side * 8} px"
    figure = f"{preset}, {model.size}"
    return Row("overhead", figure, ratio(times, "SwD", "lcm"), OF_LCM, note, details={"ms_a_step": milliseconds})

"""What a run costs beyond its forward passes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

from bench.forwards import Elsewhere, bare, ready, record
from bench.models import Model, models_of
from bench.rows import Bar, Row
from bench.runs import Plan, job_of, lcm_plan, swd_plan
from bench.setting import Setting
from bench.timing import interleave, ratio, seconds

OF_BARE = Bar(1.02)
OF_LCM = Bar(1.0)
# Enough for another thread to draw noise meanwhile, as beside a small stage on a GPU.
PASS_SECONDS = 0.005


def measure(setting: Setting) -> Iterator[Row]:
    """The time of a run over that of its bare forward passes; on a CPU also what is left, beside ComfyUI's lcm."""
    for preset, model in models_of(setting, "overhead", "tiny"):
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
    """Work outside the forward passes, a step, in the thread that launches them.

    By the processor time of that thread: another program that takes the processor meanwhile does not count.
    """
    side = setting.target(128)
    plans = _plans(setting, model, preset)
    passes = Elsewhere(PASS_SECONDS, time.thread_time)
    waiting = passes.on(model.patcher)
    inside: dict[str, list[float]] = {"": [], **{name: [] for name in plans}}
    jobs = {name: job_of(model, plan, side)(waiting) for name, plan in plans.items()}
    rounds = 4 * setting.runs
    times = interleave(
        jobs, rounds, setting.device, 3, after=lambda name: inside[name].append(passes.take()), clock=time.thread_time
    )
    left = {
        name: [(whole - within) / plan.steps for whole, within in zip(times[name], inside[name], strict=True)]
        for name, plan in plans.items()
    }
    parts = _parts(setting, model, plans["SwD"], side)
    # The best of many: what a busy machine adds is not the pack's.
    best = {name: 1000 * min(values) for name, values in left.items()}
    note = f"work outside the model a step, SwD / lcm, {side * 8} px, best of {rounds}: "
    note += f"{best['SwD']:.2f} / {best['lcm']:.2f} ms; torch's resize is {parts['resize']:.2f} ms of it, "
    note += f"and another thread draws noise for {parts['noise']:.2f} ms"
    details = {"ms_a_step": best, "parts_ms_a_step": parts}
    return Row("overhead", f"{preset}, {model.size}", best["SwD"] / best["lcm"], OF_LCM, note, details=details)


def _parts(setting: Setting, model: Model, plan: Plan, side: int) -> dict[str, float]:
    """Milliseconds a step of what torch itself takes for a run: bicubic between the stages, and their noise."""
    sizes = plan.sampler.schedule.sizes(side, side)
    latents = [torch.zeros(1, model.channels, *size, device=setting.device) for size in sizes]
    pairs = [(latent, size) for latent, size in zip(latents, sizes[1:], strict=False) if latent.shape[-2:] != size]

    def resize() -> None:
        with torch.inference_mode():
            for latent, size in pairs:
                F.interpolate(latent, size=size, mode="bicubic")

    def noise() -> None:
        for size in sizes:
            torch.randn(1, model.channels, *size)

    jobs: dict[str, Callable[[], object]] = {"resize": resize, "noise": noise}
    times = interleave(jobs, 4 * setting.runs, setting.device, clock=time.thread_time)
    return {name: 1000 * min(values) / plan.steps for name, values in times.items()}

"""What users would take instead: time beside that of SwD. How the pictures look is not compared here.

ComfyUI's SamplerLCMUpscale grows linearly, so its sizes are others; its noise is that of an EPS model, so it fits SDXL
alone. diffusers' FlowMatchLCMScheduler is the same method and gives the same latent (tests/host/test_sampler.py). SPEED
(arXiv 2605.18736, howardhx/speed@3e3a4c9) is for many steps without a LoRA: its sizes and noise levels can be run as a
custom schedule, so the time of its forward passes is comparable; its transform between the sizes and its pictures are
not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import comfy.samplers
import torch
from comfy_extras.nodes_advanced_samplers import SamplerLCMUpscale
from diffusers import FlowMatchLCMScheduler
from reference import Text, predict
from torch import Tensor

from bench.flops import flops_of
from bench.forwards import ready, record
from bench.models import Model, model_of
from bench.rows import Row
from bench.runs import Plan, Preset, job_of, swd_plan
from bench.setting import Setting
from bench.timing import interleave, ratio
from bench.twins import Twin, twin_of

# SPEED's published FLUX settings: workflow_flux_api.json and the power spectrum in configs.yaml.
SPEED = {"steps": 15, "scales": (0.5, 1.0), "delta": 0.01, "A": 203.615097, "beta": 1.915461}
CASES = ("SDXL, 4 steps", "SD3.5 Medium, 4 steps", "FLUX.1-dev, 4 steps")


def measure(setting: Setting) -> Iterator[Row]:
    """Time of the other way / time of the SwD preset, for the one that fits each family."""
    size = setting.size("middle")
    for preset, make in zip(CASES, (_lcm_upscale, _diffusers_scheduler, _speed), strict=True):
        if preset in setting.presets and setting.has_time(f"peers, {preset}"):
            with model_of(setting, setting.presets[preset], size) as model, ready(model.patcher):
                yield make(setting, model, preset)


def _row(setting: Setting, model: Model, preset: str, name: str, other: Callable[[], object], note: str) -> Row:
    side = setting.target(64)
    jobs = {"SwD": job_of(model, swd_plan(setting, model, preset), side)(model.patcher), name: other}
    times = interleave(jobs, setting.runs, setting.device)
    return Row("peers", f"{name}, {model.family}, {model.size}", ratio(times, name, "SwD"), None, note)


def _lcm_upscale(setting: Setting, model: Model, preset: str) -> Row:
    """ComfyUI's own growing sampler, from the first size of the preset to the target in as many steps."""
    side, swd = setting.target(64), swd_plan(setting, model, preset)
    first = swd.sampler.schedule.sizes(side, side)[0][0]
    sampler = SamplerLCMUpscale.execute(side / first, swd.steps - 1, "bicubic").result[0]
    job = job_of(model, Plan(sampler, swd.sigmas), first)
    own, other = (_tflop(model, one) for one in (job_of(model, swd, side), job))
    note = f"time / time of {preset}, {side * 8} px; its sizes need {other / own:.2f}x the arithmetic"
    return _row(setting, model, preset, "SamplerLCMUpscale", job(model.patcher), note)


def _tflop(model: Model, job: Any) -> float:
    return flops_of(model.patcher.model, record(model.patcher, job)) / 1e12


def _diffusers_scheduler(setting: Setting, model: Model, preset: str) -> Row:
    note = f"time / time of {preset}, {setting.target(64) * 8} px; the same forward passes in diffusers"
    job = scheduler_loop(setting, model, twin_of(model), preset, setting.target(64))
    return _row(setting, model, preset, "FlowMatchLCMScheduler", job, note)


def scheduler_loop(setting: Setting, model: Model, twin: Twin, preset: str, side: int) -> Callable[[], Tensor]:
    """A job: diffusers' own scheduler with `scale_factors`, which count from the first size."""
    schedule = swd_plan(setting, model, preset).sampler.schedule
    sizes, device = schedule.sizes(side, side), setting.device
    factors = [size[0] / sizes[0][0] for size in sizes[1:]]

    def job() -> Tensor:
        text = Text(model.text.tokens.to(device), model.text.pooled.to(device))
        generator = torch.Generator("cpu").manual_seed(0)
        scheduler = FlowMatchLCMScheduler(shift=1.0, scale_factors=factors)
        scheduler.set_timesteps(sigmas=list(schedule.timesteps))
        x = torch.randn(1, model.channels, *sizes[0], generator=generator).to(device)
        with torch.inference_mode():
            for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas.tolist(), strict=False):
                x0 = predict(model.family, twin, sigma, x, (0, 0), text)
                x = scheduler.step((x - x0) / sigma, timestep, x, generator=generator, return_dict=False)[0]
        return x.cpu()

    return job


def _speed(setting: Setting, model: Model, preset: str) -> Row:
    side = setting.target(64)
    schedule = speed_schedule(model.patcher.get_model_object("model_sampling"), side)
    own, other = (job_of(model, swd_plan(setting, model, plan), side) for plan in (preset, schedule))
    small = schedule[0].split(", ").count("0.5")
    note = (
        f"time / time of {preset}, {side * 8} px; SPEED's {small} steps at half size and {SPEED['steps'] - small} at "
    )
    note += f"full size, as a custom schedule; {_tflop(model, other) / _tflop(model, own):.2f}x the arithmetic"
    return _row(setting, model, preset, "SPEED settings", other(model.patcher), note)


def speed_schedule(model_sampling: Any, side: int) -> Preset:
    """SPEED's sizes and noise levels as the two texts of SwD Custom Schedule (equations 9 and 10 of its paper)."""
    sigmas = comfy.samplers.simple_scheduler(model_sampling, SPEED["steps"])[:-1].tolist()
    power = SPEED["A"] * (SPEED["scales"][0] * side / 2) ** -SPEED["beta"]
    grows_at = 1 / (1 + math.sqrt(SPEED["delta"] / (power * (1 + power - SPEED["delta"]))))
    scales = [SPEED["scales"][0] if sigma > grows_at else SPEED["scales"][1] for sigma in sigmas]
    return ", ".join(f"{scale:g}" for scale in scales), ", ".join(f"{sigma:.6f}" for sigma in sigmas)

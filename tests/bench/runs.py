"""Runs as a graph does them, as jobs for the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.samplers
import torch
from comfy_extras.nodes_custom_sampler import BasicGuider, RandomNoise, SamplerCustomAdvanced
from running import schedule_of
from torch import Tensor

from bench.models import Model
from bench.setting import Setting

Preset = str | tuple[str, str]
JobOf = Callable[[Any], Callable[[], Tensor]]


@dataclass(frozen=True)
class Plan:
    """A sampler and the sigmas that it runs over."""

    sampler: Any
    sigmas: Tensor

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1


def swd_plan(setting: Setting, model: Model, preset: Preset) -> Plan:
    """Sampler SwD with a preset by name, or with a custom schedule of (scales, timesteps)."""
    schedule, sigmas = schedule_of(dict(setting.swd), model.patcher, preset)
    return Plan(setting.swd["SamplerSWD"].execute(schedule=schedule, upscale_method="bicubic").result[0], sigmas)


def lcm_plan(sigmas: Tensor) -> Plan:
    """ComfyUI's own lcm at full size, over the same noise levels."""
    return Plan(comfy.samplers.sampler_object("lcm"), sigmas)


def job_of(model: Model, plan: Plan, side: int, batch: int = 1) -> JobOf:
    """For a ModelPatcher: SamplerCustomAdvanced from noise to latent, as ComfyUI executes it."""

    def of(patcher: Any) -> Callable[[], Tensor]:
        guider = BasicGuider.execute(model=patcher, conditioning=model.positive).result[0]
        noise = RandomNoise.execute(noise_seed=0).result[0]
        latent = model.latent(side, batch)

        def job() -> Tensor:
            with torch.inference_mode():
                out = SamplerCustomAdvanced.execute(
                    noise=noise, guider=guider, sampler=plan.sampler, sigmas=plan.sigmas, latent_image=latent
                )
            samples: Tensor = out.result[0]["samples"]
            return samples

        return job

    return of

"""Runs through public nodes, as a graph would do them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from comfy_extras.nodes_custom_sampler import BasicGuider, RandomNoise, SamplerCustomAdvanced
from reference import CHANNELS, GUIDANCE, Text
from torch import Tensor


def conditioning(family: str, text: Text, **values: Any) -> list[Any]:
    """A CONDITIONING with these embeddings; FLUX gets its guidance, as the node FluxGuidance writes it."""
    extra = {"guidance": GUIDANCE} if family == "flux" else {}
    return [[text.tokens, {"pooled_output": text.pooled, **extra, **values}]]


def empty_latent(family: str, size: tuple[int, int], batch: int = 1, **values: Any) -> dict[str, Any]:
    return {"samples": torch.zeros(batch, CHANNELS[family], *size), **values}


def schedule_of(swd: dict[str, Any], model: Any, preset: str | tuple[str, str]) -> tuple[Any, Tensor]:
    """A preset by name, or a custom schedule from (scales, timesteps)."""
    if isinstance(preset, str):
        return swd["SWDScaleSchedule"].execute(model=model, preset=preset).result
    return swd["SWDCustomSchedule"].execute(model=model, scales=preset[0], timesteps=preset[1]).result


def advanced(
    swd: dict[str, Any],
    model: Any,
    positive: Any,
    latent: dict[str, Any],
    seed: int,
    preset: str | tuple[str, str],
    *,
    guider: Any = None,
    noise: Any = None,
    sigmas: Tensor | None = None,
    upscale_method: str = "bicubic",
) -> dict[str, Any]:
    """Schedule -> SamplerSWD -> SamplerCustomAdvanced, with RandomNoise and a BasicGuider unless others are given."""
    schedule, own_sigmas = schedule_of(swd, model, preset)
    sampler = swd["SamplerSWD"].execute(schedule=schedule, upscale_method=upscale_method).result[0]
    return SamplerCustomAdvanced.execute(
        noise=noise or RandomNoise.execute(noise_seed=seed).result[0],
        guider=guider or BasicGuider.execute(model=model, conditioning=positive).result[0],
        sampler=sampler,
        sigmas=own_sigmas if sigmas is None else sigmas,
        latent_image=latent,
    ).result[0]


def all_in_one(
    swd: dict[str, Any],
    model: Any,
    positive: Any,
    latent: dict[str, Any],
    seed: int,
    preset: str | tuple[str, str],
    **options: Any,
) -> dict[str, Any]:
    """Schedule -> SWDSampler."""
    schedule, _ = schedule_of(swd, model, preset)
    values = {"cfg": 1.0, "denoise": 1.0, "upscale_method": "bicubic", **options}
    return (
        swd["SWDSampler"]
        .execute(model=model, positive=positive, latent_image=latent, schedule=schedule, seed=seed, **values)
        .result[0]
    )


@dataclass(frozen=True)
class Call:
    """One forward pass as ComfyUI made it: shape of x, timestep of the model, and the conditions that came with it."""

    shape: tuple[int, ...]
    timestep: float
    conditions: dict[str, Any]


def recorded(model: Any) -> tuple[Any, list[Call]]:
    """A clone of the model that notes every forward pass, through ComfyUI's public wrapper of the model function."""
    calls: list[Call] = []

    def note(apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        x, timestep, conditions = arguments["input"], arguments["timestep"], arguments["c"]
        calls.append(Call(tuple(x.shape), float(timestep[0]), dict(conditions)))
        return apply_model(x, timestep, **conditions)

    clone = model.clone()
    clone.set_model_unet_function_wrapper(note)
    return clone, calls


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of the expected."""
    return float((actual.double() - expected.double()).norm() / expected.double().norm())

"""Runs through public nodes, as a graph would do them."""

from __future__ import annotations

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


def advanced(
    swd: dict[str, Any], model: Any, positive: Any, latent: dict[str, Any], seed: int, preset: str, **options: Any
) -> dict[str, Any]:
    """SWDScaleSchedule -> SamplerSWD -> SamplerCustomAdvanced with a BasicGuider."""
    schedule, sigmas = swd["SWDScaleSchedule"].execute(model=model, preset=preset).result
    sampler = swd["SamplerSWD"].execute(schedule=schedule, upscale_method=options.get("upscale_method", "bicubic")).result[0]
    guider = BasicGuider.execute(model=model, conditioning=positive).result[0]
    noise = RandomNoise.execute(noise_seed=seed).result[0]
    return SamplerCustomAdvanced.execute(
        noise=noise, guider=guider, sampler=sampler, sigmas=sigmas, latent_image=latent
    ).result[0]


def all_in_one(
    swd: dict[str, Any], model: Any, positive: Any, latent: dict[str, Any], seed: int, preset: str, **options: Any
) -> dict[str, Any]:
    """SWDScaleSchedule -> SWDSampler."""
    schedule, _ = swd["SWDScaleSchedule"].execute(model=model, preset=preset).result
    values = {"cfg": 1.0, "denoise": 1.0, "upscale_method": "bicubic", **options}
    return swd["SWDSampler"].execute(
        model=model, positive=positive, latent_image=latent, schedule=schedule, seed=seed, **values
    ).result[0]


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of the expected."""
    return float((actual.double() - expected.double()).norm() / expected.double().norm())

"""What differs between the versions of ComfyUI, and must not show."""

from __future__ import annotations

from typing import Any

import comfy.sample
import pytest
import torch
from reference import make_text
from running import advanced, all_in_one, conditioning, empty_latent, relative_error, schedule_of

FAMILY, PRESET = "sd35_large", "SD3.5 Large, 4 steps"


@pytest.fixture(scope="module")
def positive() -> list[Any]:
    return conditioning(FAMILY, make_text(FAMILY))


def test_a_caller_without_a_callback(swd, load, positive) -> None:
    """KSAMPLER tells the sampler function of it as None up to 0.27.0, later by a function that does nothing."""
    latent = empty_latent(FAMILY, (16, 16))
    schedule, sigmas = schedule_of(swd, load(FAMILY), PRESET)
    sampler = swd["SamplerSWD"].execute(schedule=schedule, upscale_method="bicubic").result[0]
    noise = comfy.sample.prepare_noise(latent["samples"], 3)
    sampled = comfy.sample.sample_custom(
        load(FAMILY), noise, 1.0, sampler, sigmas, positive, positive, latent["samples"], disable_pbar=True, seed=3
    )
    assert torch.equal(sampled, advanced(swd, load(FAMILY), positive, latent, 3, PRESET)["samples"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("run", [advanced, all_in_one])
def test_a_latent_in_half_precision(swd, load, positive, run, dtype: torch.dtype) -> None:
    """0.16.3 hands it to the sampler as it is, later versions in float32."""
    latent = empty_latent(FAMILY, (16, 16), 2)
    expected = run(swd, load(FAMILY), positive, latent, 3, PRESET)["samples"]
    half = {"samples": latent["samples"].to(dtype)}
    sampled = run(swd, load(FAMILY), positive, half, 3, PRESET)["samples"]
    assert sampled.dtype == torch.float32
    assert relative_error(sampled, expected) <= 1e-6

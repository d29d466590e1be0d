"""The latent equals a loop over the diffusers model, with real PEFT, the same weights and the noise rule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from reference import ItemNoise, make_text, sample
from running import advanced, all_in_one, conditioning, empty_latent, relative_error

# preset, family, LoRA folder, scales, timesteps: written down again from the README of yandex-research/swd @9c51e19.
CASES = [
    ("SD3.5 Medium, 6 steps", "sd35_medium", "swd-medium-6-steps", (32, 48, 64, 80, 96, 128),
     (1.0, 0.9454, 0.8959, 0.7904, 0.7371, 0.6022)),
    ("SD3.5 Medium, 4 steps", "sd35_medium", "swd-medium-4-steps", (64, 80, 96, 128), (1.0, 0.8959, 0.7371, 0.6022)),
    ("SD3.5 Large, 4 steps", "sd35_large", "swd-large-4-steps", (64, 80, 96, 128), (1.0, 0.8959, 0.7371, 0.6022)),
    ("FLUX.1-dev, 4 steps", "flux", "swd_flux", (64, 80, 96, 128), (1.0, 0.8956, 0.7363, 0.6007)),
    ("SDXL, 4 steps", "sdxl", "swd-sdxl", (64, 80, 96, 128), (1.0, 0.8, 0.6, 0.4)),
]  # fmt: skip
BAR = 2e-6
SEED = 2**63 + 11


# 38 x 26 has the shape of 1216 x 832 pixels at a quarter of the side, which two cores can afford; the true size runs
# once per preset below.
@pytest.mark.parametrize("size", [(32, 32), (38, 26)], ids=["square", "832x1216-shaped"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("with_lora", [False, True], ids=["base", "lora"])
@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_equals_the_diffusers_loop(
    swd: dict[str, Any], load, diffusers_model, figure, case, with_lora: bool, batch: int, size: tuple[int, int]
) -> None:
    compare(swd, load, diffusers_model, figure, case, with_lora, batch, size)


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_equals_the_diffusers_loop_at_832x1216(swd: dict[str, Any], load, diffusers_model, figure, case) -> None:
    compare(swd, load, diffusers_model, figure, case, True, 1, (152, 104))


def compare(
    swd: dict[str, Any], load, diffusers_model, figure, case, with_lora: bool, batch: int, size: tuple[int, int]
) -> None:
    preset, family, lora, scales, timesteps = case
    text = make_text(family)
    model = load(family)
    if with_lora:
        model, report = (
            swd["SWDLoraLoader"]
            .execute(model=model, lora_name=f"{lora}/adapter_model.safetensors", strength_model=1.0)
            .result
        )
        assert "NOT loaded" not in report
    twin = diffusers_model(family, lora if with_lora else None)
    with torch.inference_mode():
        expected = sample(family, twin, text, scales, timesteps, size, ItemNoise(SEED, range(batch)))
    positive = conditioning(family, text)
    for name, run in (("SamplerCustomAdvanced", advanced), ("SWDSampler", all_in_one)):
        latent = run(swd, model, positive, empty_latent(family, size, batch), SEED, preset)["samples"]
        error = relative_error(latent, expected)
        figure(f"{name} relative error", error, BAR)
        assert latent.shape == expected.shape
        assert error <= BAR

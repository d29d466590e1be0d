"""Weights in fewer bits or partly offloaded: the same report, and a latent as near as the precision allows."""

from __future__ import annotations

from typing import Any

import comfy.model_patcher
import comfy.sd
import pytest
import torch
from reference import make_text
from running import all_in_one, conditioning, empty_latent, relative_error
from swd_dev.tiny.loading import load_model

LORA = "swd_flux/adapter_model.safetensors"
SIZE = (32, 24)


def load_in(dtype: torch.dtype, tiny_models: Any) -> Any:
    return comfy.sd.load_diffusion_model(
        str(tiny_models / "diffusion_models/flux1-dev.safetensors"), model_options={"dtype": dtype}
    )


@pytest.mark.parametrize(
    ("dtype", "bar"), [(torch.bfloat16, 0.05), (torch.float16, 0.01), (torch.float8_e4m3fn, 0.4)], ids=str
)
def test_weights_of_fewer_bits_run_with_the_lora(
    swd, load, tiny_models, figure, dtype: torch.dtype, bar: float
) -> None:
    positive = conditioning("flux", make_text("flux"))
    models = load("flux"), load_in(dtype, tiny_models)
    results, reports = [], []
    # As ComfyUI runs all nodes. Up to 0.18.2 it cannot round to eight bits otherwise.
    with torch.inference_mode():
        for model in models:
            patched, report = swd["SWDLoraLoader"].execute(model=model, lora_name=LORA, strength_model=1.0).result
            results.append(all_in_one(swd, patched, positive, empty_latent("flux", SIZE), 3, "auto")["samples"])
            reports.append(report)
    assert reports[0] == reports[1]
    assert torch.isfinite(results[1]).all()
    error = relative_error(results[1], results[0])
    figure(f"{dtype} against float32, relative error", error, bar)
    assert error <= bar


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_latents_keep_their_numbers_in_the_batch(swd, load, dtype: torch.dtype) -> None:
    """ComfyUI hands latents on in an intermediate type that may be half precision."""
    positive = conditioning("flux", make_text("flux"))
    latent = empty_latent("flux", SIZE, 2)
    latent["samples"] = latent["samples"].to(dtype)
    half = all_in_one(swd, load("flux"), positive, latent, 3, "auto")["samples"]
    full = all_in_one(swd, load("flux"), positive, empty_latent("flux", SIZE, 2), 3, "auto")["samples"]
    assert relative_error(half, full) <= 1e-6


class SmallDevice(comfy.model_patcher.ModelPatcher):
    """ComfyUI's patcher with room for a tenth of the weights: the rest is cast and patched at each use (low VRAM)."""

    def partially_load(self, device_to: Any, extra_memory: int = 0, force_patch_weights: bool = False) -> Any:
        return super().partially_load(device_to, self.model_size() // 10, force_patch_weights)


@pytest.mark.parametrize("family", ["flux", "sd35_large"])
def test_offloaded_weights_take_the_lora_at_each_use(swd, load, tiny_models, figure, family: str) -> None:
    whole = load_model(family, tiny_models)
    small = SmallDevice(whole.model, load_device=whole.load_device, offload_device=whole.offload_device)
    lora = LORA if family == "flux" else "swd-large-4-steps/adapter_model.safetensors"
    results, reports = [], []
    for model in (load(family), small):
        patched, report = swd["SWDLoraLoader"].execute(model=model, lora_name=lora, strength_model=1.0).result
        positive = conditioning(family, make_text(family))
        results.append(all_in_one(swd, patched, positive, empty_latent(family, SIZE), 3, "auto")["samples"])
        reports.append(report)
    assert small.model.model_lowvram, "the model must really be loaded in part"
    assert reports[0] == reports[1]
    figure("relative error", relative_error(results[1], results[0]), 1e-6)
    assert relative_error(results[1], results[0]) <= 1e-6

"""Inpainting while the latent grows, against the reference loop with a mask."""

from __future__ import annotations

from typing import Any

import comfy.sd
import comfy.utils
import pytest
import torch
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
from reference import CHANNELS, VAE_SCALE, ItemNoise, make_text, sample
from running import advanced, all_in_one, conditioning, empty_latent, recorded, relative_error

from nodes import SetLatentNoiseMask, VAEEncodeForInpaint

BAR = 2e-6
SIZE = (32, 24)
FAMILIES = {
    "sd35_large": ("SD3.5 Large, 4 steps", (64, 80, 96, 128), (1.0, 0.8959, 0.7371, 0.6022)),
    "flux": ("FLUX.1-dev, 4 steps", (64, 80, 96, 128), (1.0, 0.8956, 0.7363, 0.6007)),
    "sdxl": ("SDXL, 4 steps", (64, 80, 96, 128), (1.0, 0.8, 0.6, 0.4)),
}
RUNS = [pytest.param(advanced, id="SamplerCustomAdvanced"), pytest.param(all_in_one, id="SWDSampler")]


def picture(family: str, batch: int = 1, seed: int = 3) -> torch.Tensor:
    """An encoded picture: unit size in the model's space, as a VAE gives it."""
    scale, shift = VAE_SCALE[family]
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, CHANNELS[family], *SIZE, generator=generator) / scale + shift


def left_half(value: float = 1.0) -> torch.Tensor:
    """A noise mask [1, H, W] that is `value` on the left half, 0 on the right."""
    mask = torch.zeros(1, *SIZE)
    mask[..., : SIZE[1] // 2] = value
    return mask


def masked(family: str, mask: torch.Tensor, batch: int = 1) -> dict[str, Any]:
    return SetLatentNoiseMask().set_mask({"samples": picture(family, batch)}, mask)[0]


def expected(family: str, diffusers_model: Any, mask: torch.Tensor, batch: int = 1, **options: Any) -> torch.Tensor:
    _, scales, timesteps = FAMILIES[family]
    with torch.inference_mode():
        return sample(
            family, diffusers_model(family), make_text(family), scales, timesteps, SIZE, ItemNoise(6, range(batch)),
            latent=picture(family, batch), mask=mask.unsqueeze(1), **options,
        )  # fmt: skip


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_kept_half_is_the_input_and_the_other_equals_the_reference(
    swd, load, diffusers_model, figure, family: str, run
) -> None:
    latent = masked(family, left_half(), batch=2)
    result = run(swd, load(family), conditioning(family, make_text(family)), latent, 6, FAMILIES[family][0])["samples"]
    kept = (result - latent["samples"])[..., SIZE[1] // 2 :].abs().max() / latent["samples"].abs().max()
    figure("kept region, largest difference", float(kept), 1e-5)
    assert kept <= 1e-5
    error = relative_error(result, expected(family, diffusers_model, left_half(), batch=2))
    figure("relative error", error, BAR)
    assert error <= BAR


@pytest.mark.parametrize("family", FAMILIES)
def test_a_soft_mask_blends_as_in_the_reference(swd, load, diffusers_model, figure, family: str) -> None:
    mask = torch.linspace(0, 1, SIZE[1]).expand(1, *SIZE)
    result = all_in_one(
        swd, load(family), conditioning(family, make_text(family)), masked(family, mask), 6, FAMILIES[family][0]
    )
    error = relative_error(result["samples"], expected(family, diffusers_model, mask))
    figure("relative error", error, BAR)
    assert error <= BAR


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mask_of_ones_is_no_mask_and_a_mask_of_zeros_returns_the_input(swd, load, family: str) -> None:
    model, positive, preset = load(family), conditioning(family, make_text(family)), FAMILIES[family][0]
    everything = all_in_one(swd, model, positive, masked(family, torch.ones(1, *SIZE)), 6, preset)["samples"]
    no_mask = all_in_one(swd, model, positive, {"samples": picture(family)}, 6, preset)["samples"]
    from_empty = all_in_one(swd, model, positive, empty_latent(family, SIZE), 6, preset)["samples"]
    assert relative_error(everything, no_mask) <= 1e-6
    assert torch.equal(no_mask, from_empty), "at denoise 1 the content of the input does not matter"
    nothing = all_in_one(swd, model, positive, masked(family, torch.zeros(1, *SIZE)), 6, preset)["samples"]
    assert relative_error(nothing, picture(family)) <= 1e-6


def test_every_stage_gets_mask_latent_and_noise_of_its_own_size(swd, load) -> None:
    """Seen through the denoise mask function, ComfyUI's public hook at the place where it blends."""
    seen: list[tuple[Any, ...]] = []
    model, calls = recorded(load("sd35_large"))

    def note(sigma: torch.Tensor, mask: torch.Tensor, extra_options: dict[str, Any]) -> torch.Tensor:
        seen.append((mask.shape[-2:], float(sigma[0]), extra_options["sigmas"].tolist()))
        return mask

    model.set_model_denoise_mask_function(note)
    all_in_one(
        swd, model, conditioning("sd35_large", make_text("sd35_large")), masked("sd35_large", left_half()), 6,
        FAMILIES["sd35_large"][0],
    )  # fmt: skip
    assert [tuple(size) for size, _, _ in seen] == [call.shape[-2:] for call in calls]
    assert [sigma for _, sigma, _ in seen] == pytest.approx(FAMILIES["sd35_large"][2])
    assert all(sigmas == pytest.approx([*FAMILIES["sd35_large"][2], 0.0]) for _, _, sigmas in seen)


@pytest.mark.parametrize("strength", [1.0, 0.7])
def test_differential_diffusion_sees_the_whole_schedule(swd, load, diffusers_model, figure, strength: float) -> None:
    family = "sd35_large"
    preset, _, timesteps = FAMILIES[family]
    (model,) = DifferentialDiffusion.execute(model=load(family), strength=strength).result
    mask = torch.linspace(0, 1, SIZE[1]).expand(1, *SIZE)
    # Timestep of the smallest sigma of SD3: t = 0.001 shifted by 3.
    lowest = 3 * 0.001 / (1 + 2 * 0.001)

    def threshold(timestep: float, new: torch.Tensor) -> torch.Tensor:
        binary = (new >= (timestep - lowest) / (timesteps[0] - lowest)).float()
        return binary if strength == 1 else strength * binary + (1 - strength) * new

    result = all_in_one(swd, model, conditioning(family, make_text(family)), masked(family, mask), 6, preset)["samples"]
    error = relative_error(result, expected(family, diffusers_model, mask, mask_at=threshold))
    figure("relative error", error, BAR)
    assert error <= BAR


def test_vae_encode_for_inpaint_keeps_what_is_not_masked(swd, load, tiny_models, figure) -> None:
    family = "flux"
    vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(tiny_models / "vae/ae.safetensors")))
    pixels = torch.rand(1, SIZE[0] * 8, SIZE[1] * 8, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.nn.functional.interpolate(left_half().unsqueeze(1), scale_factor=8, mode="nearest").squeeze(1)
    latent = VAEEncodeForInpaint().encode(vae, pixels, mask, grow_mask_by=0)[0]
    result = advanced(swd, load(family), conditioning(family, make_text(family)), latent, 6, FAMILIES[family][0])[
        "samples"
    ]
    kept = (result - latent["samples"])[..., SIZE[1] // 2 + 1 :].abs().max() / latent["samples"].abs().max()
    figure("kept region, largest difference", float(kept), 1e-5)
    assert kept <= 1e-5
    assert relative_error(result, latent["samples"]) > 0.1

"""The method as a person could do it by hand in ComfyUI: one plain run a stage, resized and noised in between.

Nothing here uses the pack. Every stage is a run of its own, so ComfyUI prepares hints, masks and concat latents at the
size of the stage because that is the size of the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import comfy.samplers
import comfy.sd
import torch
import torch.nn.functional as F
from reference import CHANNELS, VAE_SCALE, alpha_bar
from safetensors import safe_open
from torch import Tensor

Size = tuple[int, int]


def sigmas_of(family: str, timesteps: Sequence[float]) -> list[float]:
    """Noise levels: t itself for flow models, sqrt((1 - abar) / abar) for SDXL."""
    if family != "sdxl":
        return list(timesteps)
    return [math.sqrt(1 / alpha_bar(timestep) - 1) for timestep in timesteps]


def one_run_a_stage(
    family: str,
    guider_of: Callable[[int], Any],
    sizes: Sequence[Size],
    timesteps: Sequence[float],
    noise: Callable[[int, Size], Tensor],
    latent: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """The finished latent of a run from the first timestep 1.0 on.

    `guider_of` makes the guider of a stage. `latent` and `mask` [B, 1, H, W] have the target's size.
    """
    x0: Tensor | None = None
    for index, (size, sigma) in enumerate(zip(sizes, sigmas_of(family, timesteps), strict=True)):
        drawn = noise(CHANNELS[family], size)
        x = pure_noise(family, sigma, drawn) if x0 is None else noised(family, sigma, at_size(x0, size), drawn)
        start = torch.zeros_like(drawn) if latent is None else at_size(latent, size, "area")
        x0 = _predict(guider_of(index), x, sigma, drawn, start, None if mask is None else at_size(mask, size, "area"))
    assert x0 is not None
    scale, shift = VAE_SCALE[family]
    return x0 / scale + shift


def pure_noise(family: str, sigma: float, noise: Tensor) -> Tensor:
    """The start of a run at the top of the noise scale: flow t = 1; ComfyUI gives EPS the variance 1 + sigma^2."""
    return noise if family != "sdxl" else math.sqrt(1 + sigma**2) * noise


def noised(family: str, sigma: float, clean: Tensor, noise: Tensor) -> Tensor:
    """Flow: (1 - t) x0 + t n. EPS: x0 + sigma n."""
    return (1 - sigma) * clean + sigma * noise if family != "sdxl" else clean + sigma * noise


def at_size(latent: Tensor, size: Size, mode: str = "bicubic") -> Tensor:
    return latent if latent.shape[-2:] == size else F.interpolate(latent, size=size, mode=mode)


def _predict(guider: Any, x: Tensor, sigma: float, noise: Tensor, start: Tensor, mask: Tensor | None) -> Tensor:
    """What the model of a guider sees in x, in the model's latent space."""
    seen: list[Tensor] = []

    def one_forward_pass(model: Any, _: Tensor, sigmas: Tensor, extra_args: dict[str, Any], **options: Any) -> Tensor:
        seen.append(model(x, sigmas[0] * x.new_ones(len(x)), **extra_args))
        return seen[0]

    sampler = comfy.samplers.KSAMPLER(one_forward_pass)
    guider.sample(noise, start, sampler, torch.tensor([sigma, 0.0]), denoise_mask=mask, disable_pbar=True, seed=0)
    return seen[0]


def picture(size: Size, seed: int) -> Tensor:
    """An IMAGE [1, H, W, 3] with coarse structure and fine grain; `size` in latent pixels of 8 x 8."""
    height, width = size[0] * 8, size[1] * 8
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 32, width // 32, generator=generator)
    fine = torch.rand(1, 3, height, width, generator=generator)
    mixed = 0.8 * F.interpolate(coarse, size=(height, width), mode="bilinear") + 0.2 * fine
    return mixed.movedim(1, -1)


def load_vae(family: str, models: Path) -> Any:
    """The tiny VAE of a family as ComfyUI's VAE."""
    name, prefix = {
        "flux": ("vae/ae.safetensors", ""),
        "sdxl": ("vae/sdxl_vae.safetensors", ""),
        "sd35_large": ("checkpoints/sd3.5_large_fp8_scaled.safetensors", "first_stage_model."),
    }[family]
    with safe_open(models / name, framework="pt") as file:
        keys = [key for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118
        vae = comfy.sd.VAE(sd={key.removeprefix(prefix): file.get_tensor(key) for key in keys})
    # ComfyUI runs its nodes without gradients.
    vae.first_stage_model.requires_grad_(False)
    return vae

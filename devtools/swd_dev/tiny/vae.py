"""A tiny autoencoder in the layout of TAESD, the one small VAE that ComfyUI's VAELoader accepts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from swd_dev.tiny.weights import build, seed_weights

if TYPE_CHECKING:
    from comfy.taesd.taesd import TAESD

VAE_SEED = 600
# Contrast of a picture in [0, 1]: 2.5 standard deviations to either end, so hardly a pixel is clipped.
PICTURE_MEAN, PICTURE_STD = 0.5, 0.2


def make_vae(latent_channels: int, *, scale: float = 1.0, shift: float = 0.0) -> TAESD:
    """TAESD with seeded weights, float32. ComfyUI must be importable.

    Its inner latents have unit variance. ``scale`` and ``shift`` belong to the latent format of a model family
    (model latent = (vae latent - shift) * scale); the network undoes them, as ComfyUI does for the real TAESD.
    """
    from comfy.taesd.taesd import TAESD

    vae = seed_weights(build(lambda: TAESD(latent_channels=latent_channels)), VAE_SEED + latent_channels)
    with torch.no_grad():
        vae.vae_scale.fill_(scale)
        vae.vae_shift.fill_(shift)
        latent = _smooth_noise(latent_channels, 48, seed=VAE_SEED)
        _calibrate(vae.taesd_decoder, latent, PICTURE_MEAN, PICTURE_STD)
        picture = _smooth_noise(3, 384, seed=VAE_SEED + 1) * PICTURE_STD + PICTURE_MEAN
        _calibrate(vae.taesd_encoder, picture, 0.0, 1.0)
    return vae


def _smooth_noise(channels: int, side: int, *, seed: int) -> torch.Tensor:
    """Noise of unit variance, (1, channels, side, side): coarse structure with some fine grain."""
    generator = torch.Generator("cpu").manual_seed(seed)
    coarse = torch.randn(1, channels, side // 6, side // 6, generator=generator)
    fine = torch.randn(1, channels, side, side, generator=generator)
    mixed = F.interpolate(coarse, size=(side, side), mode="bicubic") + 0.3 * fine
    return (mixed - mixed.mean()) / mixed.std()


def _calibrate(network: torch.nn.Sequential, probe: torch.Tensor, mean: float, std: float) -> None:
    """Set the last convolution so that each output channel has ``mean`` and ``std`` over ``probe``.

    A stack of ReLU blocks with random weights has a large common offset and a gain that nobody can guess. Factors are
    rounded, so that the float noise of another processor does not reach the file.
    """
    last = network[-1]
    if not isinstance(last, torch.nn.Conv2d) or last.bias is None:
        raise TypeError(f"Expected a convolution with a bias at the end, found {type(last).__name__}.")
    output: torch.Tensor = network(probe)
    gain = (std / output.std(dim=(0, 2, 3))).mul(100).round().div(100)
    offset = mean - (output.mean(dim=(0, 2, 3)) - last.bias) * gain
    last.weight.mul_(gain[:, None, None, None])
    last.bias.copy_(offset.mul(100).round().div(100))

"""Resizing of clean latents."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .errors import InputError


def _interpolate(mode: str) -> Callable[[Tensor, tuple[int, int]], Tensor]:
    # No antialias and no aligned corners: what the LoRAs were trained with (upstream training code, sample_batch).
    def interpolate(latent: Tensor, size: tuple[int, int]) -> Tensor:
        try:
            return F.interpolate(latent, size=size, mode=mode)
        except NotImplementedError:
            # torch up to 2.5 has no bicubic for Apple GPUs (pytorch pull request 136123).
            return F.interpolate(latent.cpu(), size=size, mode=mode).to(latent.device)

    return interpolate


def _area(latent: Tensor, size: tuple[int, int]) -> Tensor:
    if latent.device.type != "mps":
        return F.interpolate(latent, size=size, mode="area")
    # torch on Apple GPUs averages only by whole factors (pytorch issue 96056), and stages have other ones.
    return F.interpolate(latent.cpu(), size=size, mode="area").to(latent.device)


def _slerp(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Turn channel vectors a towards b on the sphere and mix their lengths linearly. a, b: [B, C, H, W]."""
    length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    unit_a = a / length_a.clamp_min(1e-12)
    unit_b = b / length_b.clamp_min(1e-12)
    cosine = (unit_a * unit_b).sum(dim=1, keepdim=True).clamp(-1, 1)
    angle = torch.acos(cosine)
    sine = torch.sin(angle)
    spherical = (torch.sin((1 - weight) * angle) * unit_a + torch.sin(weight * angle) * unit_b) / sine.clamp_min(1e-12)
    # Where two vectors (nearly) share or oppose a direction there is no arc to follow.
    direction = torch.where(sine.abs() < 1e-5, (1 - weight) * unit_a + weight * unit_b, spherical)
    length: Tensor = (1 - weight) * length_a + weight * length_b
    return direction * length


def _slerp_axis(latent: Tensor, side: int, dim: int) -> Tensor:
    before = latent.shape[dim]
    position = ((torch.arange(side, device=latent.device) + 0.5) * before / side - 0.5).clamp(0, before - 1)
    low = position.floor().long()
    high = (low + 1).clamp_max(before - 1)
    weight = rearrange(position - low, "n -> n 1" if dim == 2 else "n -> 1 n")
    return _slerp(latent.index_select(dim, low), latent.index_select(dim, high), weight)


def _bislerp(latent: Tensor, size: tuple[int, int]) -> Tensor:
    return _slerp_axis(_slerp_axis(latent, size[1], dim=3), size[0], dim=2)


METHODS: dict[str, Callable[[Tensor, tuple[int, int]], Tensor]] = {
    "bicubic": _interpolate("bicubic"),
    "bilinear": _interpolate("bilinear"),
    "nearest-exact": _interpolate("nearest-exact"),
    "area": _area,
    "bislerp": _bislerp,
}


def resize(latent: Tensor, size: tuple[int, int], method: str = "bicubic") -> Tensor:
    """Resize a clean latent in float32 and return it in its own dtype.

    `latent`: [B, C, H, W] or [B, C, T, H, W]; only H and W change. `size`: (height, width) in latent pixels. A latent
    that has this size already is returned as it is.

    Raises:
        InputError: unknown method.
    """
    if method not in METHODS:
        raise InputError(
            "upscale_method: no such method.",
            found=repr(method),
            allowed=", ".join(METHODS),
            remedy="choose one of these.",
        )
    if tuple(latent.shape[-2:]) == tuple(size):
        return latent
    if latent.ndim == 5:
        frames = rearrange(latent, "b c t h w -> (b t) c h w")
        return rearrange(resize(frames, size, method), "(b t) c h w -> b c t h w", b=latent.shape[0])
    return METHODS[method](latent.float(), size).to(latent.dtype)

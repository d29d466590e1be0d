"""The method written down a second time, over diffusers models: what our sampler has to equal.

Nothing here uses the pack. Sources: arXiv 2503.16397 section 4.1, the authors' inference.py (yandex-research/swd
@34457e8), and for SDXL diffusers' DDPMScheduler.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

GUIDANCE = 4.5
# scaling_factor and shift_factor of the VAE of each family, from the config.json of the diffusers pipelines.
VAE_SCALE = {
    "sd35_medium": (1.5305, 0.0609),
    "sd35_large": (1.5305, 0.0609),
    "flux": (0.3611, 0.1159),
    "sdxl": (0.13025, 0.0),
}
CHANNELS = {"sd35_medium": 16, "sd35_large": 16, "flux": 16, "sdxl": 4}
MULTIPLE = {"sd35_medium": 2, "sd35_large": 2, "flux": 2, "sdxl": 4}
TEXT_WIDTH = {"sd35_medium": (4096, 2048), "sd35_large": (4096, 2048), "flux": (768, 768), "sdxl": (768, 768)}


@dataclass(frozen=True)
class Text:
    """A prompt as the text encoders would give it: tokens [1, L, C] and a pooled vector [1, P]."""

    tokens: Tensor
    pooled: Tensor

    def batch(self, size: int) -> Text:
        return Text(self.tokens.expand(size, -1, -1), self.pooled.expand(size, -1))


def make_text(family: str, seed: int = 0, length: int = 12) -> Text:
    width, pooled = TEXT_WIDTH[family]
    generator = torch.Generator().manual_seed(seed)
    return Text(torch.randn(1, length, width, generator=generator), torch.randn(1, pooled, generator=generator))


def stage_sizes(scales: Sequence[float], height: int, width: int, multiple: int) -> list[tuple[int, int]]:
    def side(target: int, scale: float) -> int:
        return max(multiple, math.floor(target * scale / scales[-1] / multiple + 0.5) * multiple)

    return [(side(height, scale), side(width, scale)) for scale in scales[:-1]] + [(height, width)]


class ItemNoise:
    """The noise rule: picture k owns one CPU generator seeded with seed + k and draws once a stage."""

    def __init__(self, seed: int, items: Sequence[int]) -> None:
        self.generators = [torch.Generator("cpu").manual_seed((seed + item) % 2**64) for item in items]

    def __call__(self, channels: int, size: tuple[int, int]) -> Tensor:
        return torch.stack([torch.randn(channels, *size, generator=generator) for generator in self.generators])


def sample(
    family: str,
    model: nn.Module,
    text: Text,
    scales: Sequence[float],
    timesteps: Sequence[float],
    size: tuple[int, int],
    noise: Callable[[int, tuple[int, int]], Tensor],
    guide: Callable[[Callable[[Text], Tensor]], Tensor] | None = None,
    size_condition: tuple[int, int] | None = None,
    latent: Tensor | None = None,
    mask: Tensor | None = None,
    mask_at: Callable[[float, Tensor], Tensor] | None = None,
    first: int = 0,
) -> Tensor:
    """The finished latent [B, C, H, W] as it goes into the VAE, for a target of `size` latent pixels.

    `guide` makes the x0 of a step out of the x0 of several prompts; without it there is one prompt, `text`.
    `size_condition`: what SDXL is told of the picture, (height, width) in image pixels; the target's size if None.
    `latent` [B, C, H, W]: an encoded picture, for inpainting with `mask` [B, 1, H, W] (1 where it is made anew;
    `mask_at` may change it by timestep) and for starting at stage `first`.
    """
    size_condition = size_condition or (size[0] * 8, size[1] * 8)
    scale, shift = VAE_SCALE[family]
    clean = None if latent is None else (latent - shift) * scale
    # SIGMAS and scheduler tables are float32: the seventh digit counts in the embedding of t.
    timesteps = torch.tensor(timesteps, dtype=torch.float32).tolist()
    x0: Tensor | None = None
    plan = list(zip(timesteps, stage_sizes(scales, *size, MULTIPLE[family]), strict=True))[first:]
    for timestep, stage in plan:
        kept = None if clean is None else F.interpolate(clean, size=stage, mode="area")
        if x0 is None:
            x0 = kept if first else None
        elif x0.shape[-2:] != stage:
            x0 = F.interpolate(x0, size=stage, mode="bicubic")
        drawn = noise(CHANNELS[family], stage)
        x = renoise(family, timestep, x0, drawn)
        if mask is not None:
            new = F.interpolate(mask, size=stage, mode="area")
            new = new if mask_at is None else mask_at(timestep, new)
            x = x * new + renoise(family, timestep, kept, drawn) * (1 - new)
        x0_of = partial(predict, family, model, timestep, x, size_condition)
        x0 = x0_of(text) if guide is None else guide(x0_of)
        if mask is not None:
            x0 = x0 * new + kept * (1 - new)
    assert x0 is not None
    return x0 / scale + shift


def renoise(family: str, timestep: float, x0: Tensor | None, noise: Tensor) -> Tensor:
    """Flow: x = (1 - t) x0 + t n. DDPM: x = sqrt(abar) x0 + sqrt(1 - abar) n. Pure noise where there is no x0 yet."""
    if x0 is None:
        return noise
    if family != "sdxl":
        return (1 - timestep) * x0 + timestep * noise
    abar = alpha_bar(timestep)
    return math.sqrt(abar) * x0 + math.sqrt(1 - abar) * noise


def predict(family: str, model: nn.Module, timestep: float, x: Tensor, size: tuple[int, int], text: Text) -> Tensor:
    """The clean latent that the model sees in x."""
    text = text.batch(len(x))
    if family == "sdxl":
        abar = alpha_bar(timestep)
        return (x - math.sqrt(1 - abar) * sdxl_epsilon(model, x, text, timestep, size)) / math.sqrt(abar)
    velocity = flux_velocity if family == "flux" else sd3_velocity
    return x - timestep * velocity(model, x, text, timestep)


def sd3_velocity(model: nn.Module, x: Tensor, text: Text, timestep: float) -> Tensor:
    return model(
        hidden_states=x,
        timestep=torch.full((len(x),), timestep, device=x.device) * 1000,
        encoder_hidden_states=text.tokens,
        pooled_projections=text.pooled,
    ).sample


def flux_velocity(model: nn.Module, x: Tensor, text: Text, timestep: float) -> Tensor:
    height, width = x.shape[-2] // 2, x.shape[-1] // 2
    rows = repeat(torch.arange(height, device=x.device), "h -> h w", w=width)
    columns = repeat(torch.arange(width, device=x.device), "w -> h w", h=height)
    ids = rearrange(torch.stack([torch.zeros_like(rows), rows, columns], dim=-1), "h w c -> (h w) c").float()
    tokens = model(
        hidden_states=rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2),
        timestep=torch.full((len(x),), timestep, device=x.device),
        guidance=torch.full((len(x),), GUIDANCE, device=x.device),
        encoder_hidden_states=text.tokens,
        pooled_projections=text.pooled,
        txt_ids=torch.zeros(text.tokens.shape[1], 3, device=x.device),
        img_ids=ids,
    ).sample
    return rearrange(tokens, "b (h w) (c p q) -> b c (h p) (w q)", h=height, w=width, p=2, q=2)


def ddpm_index(timestep: float) -> int:
    """t = 1000 is read as the last entry of the table."""
    return min(round(timestep * 1000), 999)


def alpha_bar(timestep: float) -> float:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return float(torch.cumprod(1 - betas, dim=0)[ddpm_index(timestep)])


def sdxl_epsilon(model: nn.Module, x: Tensor, text: Text, timestep: float, size: tuple[int, int]) -> Tensor:
    height, width = size
    time_ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32, device=x.device)
    return model(
        x,
        torch.full((len(x),), ddpm_index(timestep), device=x.device),
        encoder_hidden_states=text.tokens,
        added_cond_kwargs={"text_embeds": text.pooled, "time_ids": time_ids.expand(len(x), -1)},
    ).sample

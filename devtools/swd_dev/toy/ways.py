"""The ways to sample that the evaluation compares: right ones, and wrong ones that the paper warns of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import comfy.samplers
import torch
from comfy_extras.nodes_advanced_samplers import SamplerLCMUpscale
from torch import Tensor

from swd_dev.toy.autoencoder import LATENT_CHANNELS
from swd_dev.toy.data import FULL_SIDE
from swd_dev.toy.pack import ScaleWiseSampler, StageNoise, resize, schedule_from_text, sigmas_tensor
from swd_dev.toy.sampling import EULER_STEPS, shifted_sigmas
from swd_dev.toy.text import Features

GROWING = (8, 10, 12, 16)
TIMESTEPS = (1.0, 0.8959, 0.7371, 0.6022)


@dataclass(frozen=True)
class Way:
    """`sides`: the latent side of each step; `sample(model, features, seed)` gives latents [N, 16, 16, 16]."""

    sides: tuple[int, ...]
    sample: Callable[[Any, Features, int], Tensor]


def _guide(model: Any, features: Features, sampler: Any, sigmas: Tensor, side: int, seed: int) -> Tensor:
    """One run through ComfyUI's CFGGuider, without guidance. Picture k has the noise of seed + k."""
    wide = features.padded()
    count = len(wide.context)
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"positive": [[wide.context, {"pooled_output": wide.pooled}]]})
    guider.set_cfg(1.0)
    shape = (LATENT_CHANNELS, side, side)
    noise = StageNoise(seed, range(count)).draw(shape)
    latents: Tensor = guider.sample(noise, torch.zeros(count, *shape), sampler, sigmas, disable_pbar=True, seed=seed)
    # A VAE takes what `process_out` made of the model's latents; the toy autoencoder takes the model's own.
    own: Tensor = model.model.process_latent_in(latents)
    return own


def _swd(sides: tuple[int, ...], upscale_method: str = "bicubic") -> Way:
    def sample(model: Any, features: Features, seed: int) -> Tensor:
        schedule = schedule_from_text(model, ", ".join(map(str, sides)), ", ".join(map(str, TIMESTEPS)))
        sampler = ScaleWiseSampler(schedule, upscale_method, range(len(features.context)))
        return _guide(model, features, sampler, sigmas_tensor(schedule), FULL_SIDE, seed)

    return Way(sides, sample)


def _euler() -> Way:
    def sample(model: Any, features: Features, seed: int) -> Tensor:
        sigmas = torch.tensor(shifted_sigmas(EULER_STEPS))
        return _guide(model, features, comfy.samplers.ksampler("euler"), sigmas, FULL_SIDE, seed)

    return Way((FULL_SIDE,) * EULER_STEPS, sample)


def _noise_then_upscale() -> Way:
    """Fresh noise at the old size, then the resize: the neighbours' noise is no longer independent."""

    @torch.no_grad()
    def sampler_function(
        model: Any, x: Tensor, sigmas: Tensor, extra_args: Mapping[str, Any], callback: Any = None, disable: Any = None
    ) -> Tensor:
        source = StageNoise(extra_args["seed"] + 1, range(len(x)))
        x0 = x
        for number, side in enumerate(GROWING):
            x0 = model(x, sigmas[number] * x.new_ones(len(x)), **extra_args)
            if number + 1 < len(GROWING):
                sigma = sigmas[number + 1]
                noised = (1 - sigma) * x0 + sigma * source.draw((LATENT_CHANNELS, side, side))
                x = resize(noised, (GROWING[number + 1],) * 2)
        return x0

    def sample(model: Any, features: Features, seed: int) -> Tensor:
        sampler = comfy.samplers.KSAMPLER(sampler_function)
        return _guide(model, features, sampler, torch.tensor([*TIMESTEPS, 0.0]), GROWING[0], seed)

    return Way(GROWING, sample)


def _lcm_upscale() -> Way:
    """ComfyUI's own sampler: variance-exploding noise, and sizes that grow linearly (11 and 13 are odd)."""
    steps = len(GROWING) - 1
    ratio = GROWING[-1] / GROWING[0]
    sides = tuple(round(GROWING[0] * (1 + (ratio - 1) * step / steps)) for step in range(steps + 1))

    def sample(model: Any, features: Features, seed: int) -> Tensor:
        # It draws from the global generator.
        torch.manual_seed(seed)
        options = {"scale_ratio": ratio, "scale_steps": steps, "upscale_method": "bicubic"}
        sampler = SamplerLCMUpscale.execute(**options).result[0]
        return _guide(model, features, sampler, torch.tensor([*TIMESTEPS, 0.0]), GROWING[0], seed)

    return Way(sides, sample)


EULER = _euler()
FULL_SIZE = _swd((FULL_SIDE,) * len(TIMESTEPS))
SCALE_WISE = _swd(GROWING)
NEAREST = _swd(GROWING, "nearest-exact")
NOISE_THEN_UPSCALE = _noise_then_upscale()
LCM_UPSCALE = _lcm_upscale()

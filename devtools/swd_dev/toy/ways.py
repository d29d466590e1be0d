"""The ways to sample that the evaluation compares: right ones, and wrong ones that the paper warns of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import comfy.samplers
import torch
from comfy_extras.nodes_advanced_samplers import SamplerLCMUpscale
from torch import Tensor

from swd_dev.toy.autoencoder import LATENT_CHANNELS
from swd_dev.toy.data import FULL_SIDE
from swd_dev.toy.pack import ScaleWiseSampler, StageNoise, resize, schedule_from_text, sigmas_tensor
from swd_dev.toy.sampling import EULER_STEPS, GUIDANCE, STUDENT_SIDES, STUDENT_TIMESTEPS, shifted_sigmas
from swd_dev.toy.text import Features


class Texts(NamedTuple):
    """Features of the captions, a row each, and one row of the caption without a word."""

    captions: Features
    empty: Features


@dataclass(frozen=True)
class Way:
    """`sides`: the latent side of each forward pass; `sample(model, texts, seed)` gives latents [N, 16, 16, 16]."""

    sides: tuple[int, ...]
    sample: Callable[[Any, Texts, int], Tensor]


def _run(model: Any, texts: Texts, sampler: Any, sigmas: Tensor, side: int, seed: int, cfg: float = 1.0) -> Tensor:
    """One run through ComfyUI's CFGGuider. Picture k has the noise of seed + k."""
    count = len(texts.captions.context)
    guider = comfy.samplers.CFGGuider(model)
    wide = {"positive": texts.captions.padded(), "negative": texts.empty.padded()}
    guider.set_conds(*([[text.context, {"pooled_output": text.pooled}]] for text in wide.values()))
    guider.set_cfg(cfg)
    shape = (LATENT_CHANNELS, side, side)
    noise = StageNoise(seed, range(count)).draw(shape)
    latents: Tensor = guider.sample(noise, torch.zeros(count, *shape), sampler, sigmas, disable_pbar=True, seed=seed)
    # A VAE takes what `process_out` made of the model's latents; the toy autoencoder takes the model's own.
    own: Tensor = model.model.process_latent_in(latents)
    return own


def _swd(sides: tuple[int, ...], upscale_method: str = "bicubic", cfg: float = 1.0) -> Way:
    def sample(model: Any, texts: Texts, seed: int) -> Tensor:
        schedule = schedule_from_text(model, ", ".join(map(str, sides)), ", ".join(map(str, STUDENT_TIMESTEPS)))
        sampler = ScaleWiseSampler(schedule, upscale_method, range(len(texts.captions.context)))
        return _run(model, texts, sampler, sigmas_tensor(schedule), FULL_SIDE, seed, cfg)

    return Way(sides * _passes(cfg), sample)


def _euler(cfg: float) -> Way:
    def sample(model: Any, texts: Texts, seed: int) -> Tensor:
        sigmas = torch.tensor(shifted_sigmas(EULER_STEPS))
        return _run(model, texts, comfy.samplers.ksampler("euler"), sigmas, FULL_SIDE, seed, cfg)

    return Way((FULL_SIDE,) * EULER_STEPS * _passes(cfg), sample)


def _passes(cfg: float) -> int:
    """Forward passes of a step: guidance needs one without the caption."""
    return 2 if cfg > 1 else 1


def _noise_then_upscale() -> Way:
    """Fresh noise at the old size, then the resize: the neighbours' noise is no longer independent."""

    @torch.no_grad()
    def sampler_function(
        model: Any, x: Tensor, sigmas: Tensor, extra_args: Mapping[str, Any], callback: Any = None, disable: Any = None
    ) -> Tensor:
        source = StageNoise(extra_args["seed"] + 1, range(len(x)))
        x0 = x
        for number, side in enumerate(STUDENT_SIDES):
            x0 = model(x, sigmas[number] * x.new_ones(len(x)), **extra_args)
            if number + 1 < len(STUDENT_SIDES):
                sigma = sigmas[number + 1]
                noised = (1 - sigma) * x0 + sigma * source.draw((LATENT_CHANNELS, side, side))
                x = resize(noised, (STUDENT_SIDES[number + 1],) * 2)
        return x0

    def sample(model: Any, texts: Texts, seed: int) -> Tensor:
        sampler = comfy.samplers.KSAMPLER(sampler_function)
        return _run(model, texts, sampler, torch.tensor([*STUDENT_TIMESTEPS, 0.0]), STUDENT_SIDES[0], seed)

    return Way(STUDENT_SIDES, sample)


def _lcm_upscale() -> Way:
    """ComfyUI's own sampler: variance-exploding noise, and sizes that grow linearly (11 and 13 are odd)."""
    steps = len(STUDENT_SIDES) - 1
    ratio = STUDENT_SIDES[-1] / STUDENT_SIDES[0]
    sides = tuple(round(STUDENT_SIDES[0] * (1 + (ratio - 1) * step / steps)) for step in range(steps + 1))

    def sample(model: Any, texts: Texts, seed: int) -> Tensor:
        # It draws from the global generator.
        torch.manual_seed(seed)
        options = {"scale_ratio": ratio, "scale_steps": steps, "upscale_method": "bicubic"}
        sampler = SamplerLCMUpscale.execute(**options).result[0]
        return _run(model, texts, sampler, torch.tensor([*STUDENT_TIMESTEPS, 0.0]), STUDENT_SIDES[0], seed)

    return Way(sides, sample)


EULER = _euler(GUIDANCE)
GUIDED_FULL_SIZE = _swd((FULL_SIDE,) * len(STUDENT_TIMESTEPS), cfg=GUIDANCE)
GUIDED_SCALE_WISE = _swd(STUDENT_SIDES, cfg=GUIDANCE)
FULL_SIZE = _swd((FULL_SIDE,) * len(STUDENT_TIMESTEPS))
SCALE_WISE = _swd(STUDENT_SIDES)
NEAREST = _swd(STUDENT_SIDES, "nearest-exact")
NOISE_THEN_UPSCALE = _noise_then_upscale()
LCM_UPSCALE = _lcm_upscale()

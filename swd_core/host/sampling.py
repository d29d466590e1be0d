"""The all-in-one sampler: everything between a LATENT and a LATENT."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch

from ..errors import InputError
from ..resize import resize
from ..schedule import Schedule
from .checks import check_finite, check_latent, check_mask, check_numbers
from .compat import call_known
from .progress import errors_announced
from .sampler import ScaleWiseSampler
from .schedules import sigmas_tensor

Latent = dict[str, Any]


@errors_announced()
def sample_latent(
    model: Any,
    positive: Any,
    negative: Any | None,
    latent: Latent,
    schedule: Schedule,
    seed: int,
    cfg: float,
    denoise: float,
    upscale_method: str,
) -> Latent:
    """Sample a LATENT whose samples have the target size.

    `denoise` below 1 starts from the latent that came in, at the first stage whose timestep is not above it.

    Raises:
        InputError: cfg other than 1 without a negative prompt, and whatever the sampler raises.
    """
    check_numbers(cfg=cfg, denoise=denoise)
    given = check_latent(latent, "latent_image")
    check_mask(latent.get("noise_mask"))
    samples = call_known(
        comfy.sample.fix_empty_latent_channels,
        model,
        given,
        downscale_ratio_spacial=latent.get("downscale_ratio_spacial"),
        downscale_ratio_temporal=latent.get("downscale_ratio_temporal"),
    )
    index = latent.get("batch_index")
    items = range(samples.shape[0]) if index is None else index
    sigmas = sigmas_tensor(schedule)[schedule.first_step(denoise) :]
    with _generators_kept():
        sampled = _guider(model, positive, negative, cfg).sample(
            # The stages draw their own. This one seeds torch's generators, as every sampler of ComfyUI does: patches
            # such as HyperTile draw from them.
            comfy.sample.prepare_noise(samples, seed, index),
            samples,
            ScaleWiseSampler(schedule, upscale_method, items),
            sigmas,
            denoise_mask=latent.get("noise_mask"),
            callback=latent_preview.prepare_callback(model, len(sigmas) - 1),
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=seed,
        )
    return {**_metadata(latent), "samples": sampled.to(comfy.model_management.intermediate_device())}


def upscale_latent(latent: Latent, upscale_method: str, scale_by: float) -> Latent:
    """Resize a LATENT by a factor, as SwD does between its stages.

    Raises:
        InputError: a latent without height and width, one with NaN, a factor or a method that is none.
    """
    samples = check_latent(latent, "samples")
    check_finite({"samples: it": samples})
    check_numbers(scale_by=scale_by)
    if scale_by <= 0:
        raise InputError(
            f"scale_by: {scale_by:g} is not above 0.",
            found=scale_by,
            allowed="a factor such as 1.5 or 2",
            remedy="write how many times larger each side becomes.",
        )
    height, width = (max(1, int(side * scale_by + 0.5)) for side in samples.shape[-2:])
    return {**latent, "samples": resize(samples, (height, width), upscale_method)}


def _generators_kept() -> AbstractContextManager[None]:
    """Put torch's own generators, of the CPU and of NVIDIA and AMD GPUs, back to where they were."""
    initialized: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    gpus = range(torch.cuda.device_count()) if initialized else ()
    kept: AbstractContextManager[None] = torch.random.fork_rng(gpus)
    return kept


class _PositiveGuider(comfy.samplers.CFGGuider):
    """A guider without a negative prompt, for whose prediction ComfyUI takes zeros wherever the cfg is not 1."""

    def predict_noise(self, *arguments: Any, **options: Any) -> Any:
        # CFG Override sets another one for a part of the steps.
        _check_unguided(self.cfg)
        return super().predict_noise(*arguments, **options)


def _check_unguided(cfg: float) -> None:
    if not math.isclose(cfg, 1.0):
        raise InputError(
            "negative: cfg needs a negative prompt.",
            found=f"cfg {cfg:g} and nothing connected to negative",
            allowed="cfg 1.0 without a negative prompt, any cfg with one",
            remedy="set cfg to 1.0, which SwD was trained for, or connect a negative prompt.",
        )


def _guider(model: Any, positive: Any, negative: Any | None, cfg: float) -> comfy.samplers.CFGGuider:
    for name, prompt in (("positive", positive), ("negative", negative)):
        if prompt is not None and not len(prompt):
            raise InputError(
                f"{name}: there is no prompt in it.",
                found="an empty list",
                allowed="what a text encoder gives",
                remedy="connect CLIP Text Encode.",
            )
    if negative is None:
        _check_unguided(cfg)
        guider = _PositiveGuider(model)
        guider.inner_set_conds({"positive": positive})
    else:
        guider = comfy.samplers.CFGGuider(model)
        guider.inner_set_conds({"positive": positive, "negative": negative})
    guider.set_cfg(cfg)
    return guider


def _metadata(latent: Latent) -> Latent:
    # These say how an empty latent is to be resized; a sampled one is final.
    return {key: value for key, value in latent.items() if not key.startswith("downscale_ratio")}

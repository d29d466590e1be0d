"""What a run refuses before it starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..errors import InputError
from ..family import ModelFacts
from ..finite import read_extremes
from ..schedule import Schedule
from ..stages import check_sigmas
from .facts import read_facts

_OF_A_GUIDER = ("original_conds", "inner_sample", "inner_model", "model_patcher", "model_options")


def check_numbers(**values: float) -> None:
    """Refuse NaN and infinity, which pass ComfyUI's own check of a number's range.

    Raises:
        InputError: names the first such value.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise InputError(
                f"{name}: {value} is not a finite number.",
                found=value,
                allowed="finite numbers",
                remedy="type the number again, or look at the node that it comes from.",
            )


def check_finite(values: Mapping[str, Tensor | None]) -> set[str]:
    """Refuse NaN and infinity in what comes into a run; return the names of those that hold zeros alone.

    Waits for the device once.

    Raises:
        InputError: names the first such value.
    """
    given = {name: value for name, value in values.items() if value is not None}
    extremes = dict(zip(given, read_extremes(list(given.values())), strict=True))
    for name, ends in extremes.items():
        if not all(map(math.isfinite, ends)):
            raise InputError(
                f"{name} is not finite.",
                found="NaN or infinity among its numbers",
                allowed="finite numbers",
                remedy="look at the node that it comes from; a sampler or VAE in float16 may have overflowed there.",
            )
    return {name for name, ends in extremes.items() if ends == (0, 0)}


def check_latent(latent: Mapping[str, Any], name: str) -> Tensor:
    """The samples of a LATENT, once they are known to have a height and a width that can grow.

    Raises:
        InputError: `name` is what messages call the input.
    """
    samples = latent.get("samples")
    if not isinstance(samples, Tensor) or samples.ndim not in (4, 5):
        raise cannot_grow(samples, name)
    if samples.numel() == 0:
        raise InputError(
            f"{name}: it is empty.",
            found=f"a latent {list(samples.shape)}",
            allowed="at least one picture of at least one latent pixel",
            remedy="look at the node that it comes from.",
        )
    return samples


def cannot_grow(samples: object, name: str) -> InputError:
    """The error for a latent that is none of pictures or videos."""
    found = type(samples).__name__
    if isinstance(samples, Tensor):
        found = f"a latent with {samples.ndim} dimensions, {list(samples.shape)}"
    return InputError(
        f"{name}: this kind of latent cannot grow.",
        found=found,
        allowed="pictures [B, C, H, W] and videos [B, C, T, H, W]",
        remedy="use a sampler of the model's own workflow.",
    )


def check_mask(mask: object) -> None:
    """Refuse a mask that ComfyUI cannot bring to the size of a latent.

    Raises:
        InputError
    """
    found = type(mask).__name__
    if isinstance(mask, Tensor):
        found = f"a mask {list(mask.shape)} of {str(mask.dtype).removeprefix('torch.')}"
        if mask.ndim >= 2 and mask.numel() and mask.is_floating_point():
            return
    elif mask is None:
        return
    raise InputError(
        "latent_image: its mask cannot be used.",
        found=found,
        allowed="decimal numbers [B, H, W] of any height and width",
        remedy="make the mask with a mask node and set it with Set Latent Noise Mask.",
    )


def read_sigmas(sigmas: Tensor, model_sampling: Any) -> list[float]:
    """SIGMAS as numbers, once they are known to be noise levels of the model.

    Raises:
        InputError
    """
    if sigmas.ndim != 1:
        raise InputError(
            "sigmas: it is not a list of numbers.",
            found=f"a tensor {list(sigmas.shape)}",
            allowed="one number per step and a last one",
            remedy="connect the sigmas output of the node that made the schedule.",
        )
    levels: list[float] = sigmas.tolist()
    check_sigmas(levels, float(model_sampling.sigma_max))
    return levels


def check_run(guider: Any, schedule: Schedule, noise: Tensor, latent: Tensor | None) -> None:
    """Refuse what cannot grow: packed or audio latents, foreign guiders, a schedule made for another model, two models
    that do not go together.

    Raises:
        InputError
    """
    if noise.ndim not in (4, 5):
        raise cannot_grow(noise, "latent_image")
    missing = [name for name in _OF_A_GUIDER if not hasattr(guider, name)]
    if missing:
        raise InputError(
            "guider: SwD cannot run on this guider.",
            found=f"{type(guider).__name__} without {', '.join(missing)}",
            allowed="guiders made on ComfyUI's CFGGuider",
            remedy="use Basic Guider or CFG Guider.",
        )
    model = read_facts(guider.inner_model)
    if model != schedule.model:
        # The sizes are what differs between two models of one family, such as a patched one; else they say nothing.
        describe = _describe if model.family == schedule.model.family else _family
        raise InputError(
            f"schedule: made for {schedule.model.family}, but the model is {model.family}.",
            found=f"a schedule for {describe(schedule.model)}; a model that is {describe(model)}",
            allowed="a schedule made from the model that is sampled",
            remedy="connect the same model to the schedule node and to the sampler or the guider.",
        )
    _check_second_model(model, guider)
    _check_shape(guider.inner_model.latent_format, noise if latent is None else latent)
    if latent is not None and latent.shape[0] != noise.shape[0]:
        raise InputError(
            "latent_image: its batch_index does not have one number for each picture.",
            found=f"noise for {noise.shape[0]} pictures and a latent of {latent.shape[0]}",
            allowed="one number for each picture",
            remedy="look at the node before: it changed the number of pictures and left batch_index as it was.",
        )


def _check_second_model(model: ModelFacts, guider: Any) -> None:
    """Of ComfyUI's Dual Model CFG Guider: it has to be of the same kind, for what both predict is mixed."""
    second = getattr(guider, "uncond_inner", None)
    if second is None or type(second.latent_format) is type(guider.inner_model.latent_format):
        return
    raise InputError(
        f"model_negative: it is {read_facts(second).family}, but the model is {model.family}.",
        found="two models with different latents",
        allowed="two models with the same, such as SD3.5 Large and SD3.5 Medium",
        remedy="connect another model to model_negative, or use CFG Guider.",
    )


def _family(model: ModelFacts) -> str:
    return model.family


def _describe(model: ModelFacts) -> str:
    pixels = model.pixels_per_latent
    return f"{model.family} (sides a multiple of {model.multiple} latent pixels, each of {pixels} image pixels)"


def _check_shape(latent_format: Any, latent: Tensor) -> None:
    channels = latent_format.latent_channels
    axes = "T, H, W" if getattr(latent_format, "latent_dimensions", 2) == 3 else "H, W"
    if latent.shape[1] != channels or latent.ndim != 2 + len(axes.split(", ")):
        raise InputError(
            "latent_image: it is made for another kind of model.",
            found=f"a latent {list(latent.shape)}",
            allowed=f"[B, {channels}, {axes}]",
            remedy="make it with the empty latent node, or the VAE, of the model that is sampled.",
        )

"""What a schedule needs to know of a ComfyUI model."""

from __future__ import annotations

from typing import Any

import comfy.model_sampling
import torch

from ..errors import InputError
from ..family import ModelFacts, family_name

# What SwD LoRA Loader leaves on the model: the name of the file, and the TrainedSchedule in its header or None.
LORA_ATTACHMENT = "swd_lora_name"
SCHEDULE_ATTACHMENT = "swd_lora_schedule"

# These take a latent that is patched already, whatever their code calls patch size.
_PATCHED_LATENTS = ("Ideogram4", "LTXV", "Lens")
# Kinds of comfy.model_sampling whose noisy latent is not what SwD makes between its stages: a table in other units, or
# no noise at all.
_FOREIGN_SAMPLING = ("EDM", "IMG_TO_IMG", "IMG_TO_IMG_FLOW", "ModelSamplingDiscreteEDM", "StableCascadeSampling")
# What classes of comfy.model_base work on where that is not a picture that can grow.
_NO_PICTURES = {
    "ACEStep": "sound",
    "LTXAV": "video packed with sound",
    "MiniMaxH3": "video packed with sound",
    "SeedVR2": "a video that has to keep the size of the one it restores",
    "TripoSplat": "points in space",
}


def check_pictures(base_model: Any) -> None:
    """Refuse a model whose latents have no height and width of their own.

    Raises:
        InputError
    """
    name = core_class(base_model)
    sequence = getattr(base_model.latent_format, "latent_dimensions", 2) == 1
    content = _NO_PICTURES.get(name) or ("a sequence without height and width" if sequence else None)
    if content:
        raise InputError(
            "model: SwD cannot grow the latents of this model.",
            found=f"{name}: {content}",
            allowed="models of pictures, and of videos without sound",
            remedy="use a sampler of the model's own workflow.",
        )


def read_facts(base_model: Any) -> ModelFacts:
    """Facts about a `comfy.model_base.BaseModel`."""
    config = base_model.model_config.unet_config
    return ModelFacts(
        family=family_name(core_class(base_model), config),
        multiple=_multiple(base_model, config),
        pixels_per_latent=int(getattr(base_model.latent_format, "spacial_downscale_ratio", 8)),
    )


def core_class(base_model: Any) -> str:
    """The name of the class of comfy.model_base that a model is, or that its class was derived from."""
    # Packs for quantised weights subclass the core model; the core class says which architecture it is.
    classes = type(base_model).__mro__
    return next((c.__name__ for c in classes if c.__module__ == "comfy.model_base"), classes[0].__name__)


def _multiple(base_model: Any, config: dict[str, Any]) -> int:
    """Latent pixels that a side should be a multiple of: the halvings of a UNet, the patch of a transformer."""
    if "channel_mult" in config:
        return int(2 ** (len(config["channel_mult"]) - 1))
    if core_class(base_model) in _PATCHED_LATENTS:
        return 1
    patch = getattr(base_model.diffusion_model, "patch_size", None) or config.get("patch_size") or 2
    return int(patch[-1] if isinstance(patch, (tuple, list)) else patch)


def sigma_of_timestep(model_sampling: Any, timestep: float) -> float:
    """The sigma of t in (0, 1] on a model's own noise scale.

    Flow models take t itself: explicit sigmas are never shifted. Discrete EPS and V models look 1000 t up in their
    table.

    Raises:
        InputError: a kind of model that has no time axis from 0 to 1.
    """
    sampling = comfy.model_sampling
    kinds = [base.__name__ for base in type(model_sampling).__mro__]
    if set(kinds) & set(_FOREIGN_SAMPLING):
        raise _no_timesteps(kinds)
    if isinstance(model_sampling, sampling.CONST):
        return timestep
    if isinstance(model_sampling, sampling.COSMOS_RFLOW):
        top = float(model_sampling.sigma_max)
        return top if timestep >= 1 else min(timestep / (1 - timestep), top)
    # CogVideoX has such a table too, but its latents are not noised the way that EPS does it.
    if isinstance(model_sampling, sampling.ModelSamplingDiscrete) and isinstance(model_sampling, sampling.EPS):
        return float(model_sampling.sigma(torch.tensor(timestep * 1000.0)))
    raise _no_timesteps(kinds)


def _no_timesteps(kinds: list[str]) -> InputError:
    return InputError(
        "model: this kind of model has no SwD timesteps.",
        found=" + ".join(kinds[1:3]),
        allowed="flow models (SD3.5, FLUX, ...) and discrete EPS or V models (SDXL, SD1.5)",
        remedy="use a model of one of these kinds.",
    )

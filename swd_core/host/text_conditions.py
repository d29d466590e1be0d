"""Prompts of text alone, which ComfyUI need not prepare again at each size."""

from __future__ import annotations

from typing import Any

import comfy.conds
import comfy.model_base
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP, get_all_wrappers

from .conditions import Conditions

_TENSORS = (comfy.conds.CONDRegular, comfy.conds.CONDCrossAttn)
# What these models make of an entry with these keys does not depend on the size of the latent.
_MODELS = (comfy.model_base.SD3, comfy.model_base.Flux, comfy.model_base.SDXL)
_TEXT_KEYS = frozenset({
    "cross_attn", "pooled_output", "model_conds", "uuid", "guidance", "strength", "prompt_type",
    "start_percent", "end_percent", "timestep_start", "timestep_end",
    "width", "height", "crop_w", "crop_h", "target_width", "target_height",
})  # fmt: skip


def prepared_texts(guider: Any, device: torch.device) -> Conditions | None:
    """The conditions of a guider as ComfyUI has prepared them for the target, on a device, if they hold at every size.

    None where a prompt has more than text (areas, masks, hints, hooks, latents), or where another pack may have to see
    each stage. Where they hold, stages go without `inner_sample`, which would encode the size for SDXL each time.
    """
    entries = [entry for entries in guider.conds.values() for entry in entries]
    if not _is_plain(guider) or not all(_is_text(entry) for entry in entries):
        return None
    return {name: [_moved(entry, device) for entry in entries] for name, entries in guider.conds.items()}


def is_wrapped(guider: Any) -> bool:
    """Whether other packs have put something around the samplers of a guider."""
    return bool(get_all_wrappers(WrappersMP.SAMPLER_SAMPLE, guider.model_options, is_model_options=True))


def _is_plain(guider: Any) -> bool:
    model = guider.inner_model
    own = type(guider).inner_sample is comfy.samplers.CFGGuider.inner_sample and "inner_sample" not in vars(guider)
    # A patch that was taken off again leaves ComfyUI's own method on the object.
    unpatched = getattr(model.extra_conds, "__func__", None) is type(model).extra_conds
    return own and not is_wrapped(guider) and type(model) in _MODELS and unpatched


def _is_text(entry: dict[str, Any]) -> bool:
    bound = any(isinstance(value, comfy.conds.CONDNoiseShape) for value in entry["model_conds"].values())
    return not bound and entry.keys() <= _TEXT_KEYS


def _moved(entry: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The entry with what the model is given on the device: ComfyUI copies it there at every forward pass."""
    given = {
        name: type(value)(value.cond.to(device)) if type(value) in _TENSORS else value
        for name, value in entry["model_conds"].items()
    }
    return {**entry, "model_conds": given}

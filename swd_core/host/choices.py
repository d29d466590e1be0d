"""Names that ComfyUI offers for a choice."""

from __future__ import annotations

import comfy.samplers


def sampler_names() -> list[str]:
    """The samplers that ComfyUI has, those of other packs included."""
    return list(comfy.samplers.KSampler.SAMPLERS)


def scheduler_names() -> list[str]:
    """The schedulers that ComfyUI has, those of other packs included."""
    return list(comfy.samplers.KSampler.SCHEDULERS)

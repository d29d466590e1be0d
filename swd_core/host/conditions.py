"""Conditions of a guider, brought to the size of a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from .guides import guides_for_stage

Size = Sequence[int]
Conditions = dict[str, list[dict[str, Any]]]
_COPIED = ("cross_attn", "mask")


def texts_on(conditions: Conditions, device: torch.device) -> Conditions:
    """The same conditions with the embeddings of the texts, and masks, on a device.

    They come on the CPU, and ComfyUI copies a text at every forward pass and a mask at every stage: 10 MB for SD3.5,
    and from such memory the copy waits for the pass before. All that entries hold besides stays as it is.
    """

    def moved(entry: dict[str, Any]) -> dict[str, Any]:
        found = {key: entry[key].to(device) for key in _COPIED if isinstance(entry.get(key), Tensor)}
        return {**entry, **found}

    return {name: [moved(entry) for entry in entries] for name, entries in conditions.items()}


def stage_conditions(
    originals: Conditions, model_options: Mapping[str, Any], stage: Size, target: Size, pixels_per_latent: int
) -> Conditions:
    """Fresh, unprocessed copies of a guider's original conditions for a stage.

    `process_conds` binds conditions to one size (areas, masks, concat latents, size embeddings), so each stage needs
    copies that it has not touched. `stage` and `target`: ([frames,] height, width) in latent pixels.
    """
    conditions = {
        name: [entry_for_stage(entry, stage, target, pixels_per_latent) for entry in entries]
        for name, entries in originals.items()
    }
    comfy.samplers.preprocess_conds_hooks(conditions)
    comfy.samplers.filter_registered_hooks_on_conds(conditions, model_options)
    return conditions


def conditions_of_second_model(guider: Any) -> list[dict[str, Any]] | None:
    """What ComfyUI's Dual Model CFG Guider keeps beside `conds` and binds to a size in each `inner_sample`."""
    return getattr(guider, "_uncond_neg", None)


def entry_for_stage(entry: dict[str, Any], stage: Size, target: Size, pixels_per_latent: int) -> dict[str, Any]:
    """A copy of one entry for a stage, as `stage_conditions` makes it."""
    entry = entry.copy()
    if entry.get("area") is not None:
        entry["area"] = scale_area(_absolute(entry["area"], target), stage, target)
    if "gligen" in entry:
        kind, model, boxes = entry["gligen"]
        entry["gligen"] = (kind, model, [(box[0], *scale_area(box[1:5], stage, target), *box[5:]) for box in boxes])
    entry.update(guides_for_stage(entry, stage, target))
    # SDXL was distilled with the final size as its size conditioning at every scale (upstream README, SDXL call).
    entry.setdefault("height", target[-2] * pixels_per_latent)
    entry.setdefault("width", target[-1] * pixels_per_latent)
    return entry


def _absolute(area: Sequence[Any], target: Size) -> Sequence[Any]:
    """An area of percentages as ComfyUI resolves it at the target; any other as it is."""
    if area[0] != "percentage" or len(area) != 1 + 2 * len(target):
        return area
    parts = [round(part * side) for part, side in zip(area[1:], (*target, *target), strict=True)]
    return (*(max(1, size) for size in parts[: len(target)]), *parts[len(target) :])


def scale_area(area: Sequence[Any], stage: Size, target: Size) -> tuple[Any, ...]:
    """An absolute area of the target at the size of a stage.

    `area`: (height, width, y, x) in latent pixels, or (frames, height, width, frame, y, x), whose frames stay. Both
    edges are rounded, not the size: areas that meet in the target meet in the stage, and no strip between them is left
    without a prompt. Percentages that are none of the target's dimensions are left to ComfyUI.
    """
    if area[0] == "percentage":
        return tuple(area)
    half = len(area) // 2
    sizes, offsets = list(area[:half]), list(area[half:])
    for axis in (-2, -1):
        start = min(round(offsets[axis] * stage[axis] / target[axis]), stage[axis] - 1)
        end = round((offsets[axis] + sizes[axis]) * stage[axis] / target[axis])
        sizes[axis], offsets[axis] = max(1, end - start), start
    return (*sizes, *offsets)

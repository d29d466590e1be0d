"""Conditions of a guider, brought to the size of a stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.samplers

Size = Sequence[int]


def stage_conditions(guider: Any, stage: Size, target: Size, pixels_per_latent: int) -> dict[str, list[dict[str, Any]]]:
    """Fresh, unprocessed copies of a guider's conditions for a stage.

    `process_conds` binds conditions to one size (areas, masks, concat latents, size embeddings), so each stage needs
    copies that it has not touched. `stage` and `target`: (height, width) in latent pixels.
    """
    conditions = {
        name: [_for_stage(entry, stage, target, pixels_per_latent) for entry in entries]
        for name, entries in guider.original_conds.items()
    }
    comfy.samplers.preprocess_conds_hooks(conditions)
    comfy.samplers.filter_registered_hooks_on_conds(conditions, guider.model_options)
    return conditions


def _for_stage(entry: dict[str, Any], stage: Size, target: Size, pixels_per_latent: int) -> dict[str, Any]:
    entry = entry.copy()
    area = entry.get("area")
    # A percentage is resolved by ComfyUI at the size of the stage; an absolute area is in pixels of the target.
    if area is not None and area[0] != "percentage":
        entry["area"] = scale_area(area, stage, target)
    if "gligen" in entry:
        kind, model, boxes = entry["gligen"]
        entry["gligen"] = (kind, model, [(box[0], *scale_area(box[1:5], stage, target), *box[5:]) for box in boxes])
    # SDXL was distilled with the final size as its size conditioning at every scale (upstream README, SDXL call).
    entry.setdefault("height", target[0] * pixels_per_latent)
    entry.setdefault("width", target[1] * pixels_per_latent)
    return entry


def scale_area(area: Sequence[int], stage: Size, target: Size) -> tuple[int, ...]:
    """An absolute area of the target at the size of a stage.

    `area`: (height, width, y, x) in latent pixels, or (frames, height, width, frame, y, x), whose frames stay.
    """
    half = len(area) // 2
    sizes, offsets = list(area[:half]), list(area[half:])
    for axis in (-2, -1):
        sizes[axis] = max(1, round(sizes[axis] * stage[axis] / target[axis]))
        offsets[axis] = min(round(offsets[axis] * stage[axis] / target[axis]), stage[axis] - 1)
    return (*sizes, *offsets)

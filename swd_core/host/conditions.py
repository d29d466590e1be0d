"""Conditions of a guider, brought to the size of a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

Size = Sequence[int]
Conditions = dict[str, list[dict[str, Any]]]


def texts_on(conditions: Conditions, device: torch.device) -> Conditions:
    """The same conditions with the embeddings of the texts on a device.

    Texts come on the CPU, and ComfyUI copies them at every forward pass: 10 MB for SD3.5, and from such memory the copy
    waits for the pass before. Entries without one, and all that they hold besides, stay as they are.
    """

    def moved(entry: dict[str, Any]) -> dict[str, Any]:
        text = entry.get("cross_attn")
        return {**entry, "cross_attn": text.to(device)} if isinstance(text, Tensor) else entry

    return {name: [moved(entry) for entry in entries] for name, entries in conditions.items()}


def stage_conditions(
    originals: Conditions, model_options: Mapping[str, Any], stage: Size, target: Size, pixels_per_latent: int
) -> Conditions:
    """Fresh, unprocessed copies of a guider's original conditions for a stage.

    `process_conds` binds conditions to one size (areas, masks, concat latents, size embeddings), so each stage needs
    copies that it has not touched. `stage` and `target`: (height, width) in latent pixels.
    """
    conditions = {
        name: [_for_stage(entry, stage, target, pixels_per_latent) for entry in entries]
        for name, entries in originals.items()
    }
    comfy.samplers.preprocess_conds_hooks(conditions)
    comfy.samplers.filter_registered_hooks_on_conds(conditions, model_options)
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

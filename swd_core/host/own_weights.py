"""What a model's weights are without the LoRAs on it, and what shapes these give them."""

from __future__ import annotations

from typing import Any

from comfy.weight_adapter import LoRAAdapter
from torch import Tensor


def own_weights(model: Any) -> dict[str, Tensor]:
    """The weights of a ModelPatcher by key, without any patch.

    ComfyUI puts patches into the weights, and leaves them there until the model is used with others.
    """
    weights: dict[str, Tensor] = model.model.state_dict()
    return {**weights, **{key: kept.weight for key, kept in model.backup.items()}}


def grown_shapes(model: Any) -> dict[str, list[int]]:
    """The shapes to which LoRAs on a ModelPatcher let weights grow, by key, as those of FLUX's controls do."""
    shapes: dict[str, list[int]] = {}
    for key, entries in model.patches.items():
        for _, patch, *_ in entries:
            reshape = patch.weights[5] if isinstance(patch, LoRAAdapter) else None
            if reshape is not None:
                shapes[key] = list(reshape)
    return shapes

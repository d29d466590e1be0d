"""A weight or bias that a LoRA file brings whole."""

from __future__ import annotations

from typing import Any

import comfy.model_management
from comfy.weight_adapter import WeightAdapterBase
from torch import Tensor


class WholeWeight(WeightAdapterBase):
    """Weight W becomes W + s (N - W): the new weight N at strength 1, the model's own at 0.

    PEFT trains such weights beside the pairs (modules_to_save=, bias=). ComfyUI's own patch of that kind, "set", puts N
    there at any strength. `weights`: N alone, in the shape of W.
    """

    name = "whole_weight"

    def __init__(self, loaded_keys: set[str], weights: tuple[Tensor]) -> None:
        self.loaded_keys = loaded_keys
        self.weights = weights

    def calculate_weight(
        self,
        weight: Tensor,
        key: str,
        strength: float,
        strength_model: float,
        offset: Any,
        function: Any,
        intermediate_dtype: Any = None,
        original_weight: Any = None,
    ) -> Tensor:
        """Patch `weight` in place and return it; called by `comfy.lora.calculate_weight`."""
        new = function(comfy.model_management.cast_to_device(self.weights[0], weight.device, intermediate_dtype))
        if strength == 1:
            return weight.copy_(new)
        weight += (strength * (new - weight.to(intermediate_dtype))).to(weight.dtype)
        return weight

"""DoRA as PEFT trains it."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import torch
from comfy.weight_adapter import LoRAAdapter
from torch import Tensor


class PeftDora(LoRAAdapter):
    """Weight W becomes m (W + s B A) / |W + s B A|, rows normalised (arXiv 2402.09353, equation 5).

    ComfyUI's own `dora_scale` normalises by |W| instead (comfy/weight_adapter/base.py, weight_decompose), which is
    another convention. `weights` are those of LoRAAdapter: up, down, alpha, none, magnitude m [out], none.
    """

    name = "peft_dora"

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
        """Patch `weight` [out, in, ...] in place and return it; called by `comfy.lora.calculate_weight`.

        In float32: lengths of rows in half precision are off by a percent.
        """
        up, down, alpha, _, magnitude, _ = self.weights
        up, down, magnitude = (
            comfy.model_management.cast_to_device(part, weight.device, torch.float32) for part in (up, down, magnitude)
        )
        scale = 1.0 if alpha is None else alpha / down.shape[0]
        base = weight.float()
        turned = base + function(scale * (up.flatten(1) @ down.flatten(1)).reshape(weight.shape))
        length = turned.flatten(1).norm(dim=1)
        rows = (function(magnitude) / length).reshape(-1, *[1] * (weight.ndim - 1))
        weight += (strength * (turned * rows - base)).to(weight.dtype)
        return weight

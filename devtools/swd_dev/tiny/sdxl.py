"""Build the SDXL-like model on ComfyUI's own classes.

ComfyUI recognises SDXL by its exact sizes, so no loader takes a small one. This module imports nothing from its own
package: the development node loads it by path inside ComfyUI.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import comfy.utils
import torch

# The counterpart of swd_dev.tiny.models: text width 768, and 768 pooled + 6 size numbers of 256 for the adm input.
UNET_CONFIG: dict[str, Any] = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 64,
    "channel_mult": [1, 2, 4],
    "num_res_blocks": [2, 2, 2],
    "transformer_depth": [0, 0, 1, 1, 2, 2],
    "transformer_depth_middle": 2,
    "transformer_depth_output": [0, 0, 0, 1, 1, 1, 2, 2, 2],
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "context_dim": 768,
    "num_classes": "sequential",
    "adm_in_channels": 768 + 6 * 256,
    "use_checkpoint": False,
    "legacy": False,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
}


def load_sdxl(state_dict: Mapping[str, torch.Tensor]) -> comfy.model_patcher.ModelPatcher:
    """A patcher around the SDXL-like model, from weights in diffusers layout; it runs in float32."""
    load_device = comfy.model_management.get_torch_device()
    offload_device = comfy.model_management.unet_offload_device()
    model_config = comfy.supported_models.SDXL(UNET_CONFIG)
    model_config.set_inference_dtype(torch.float32, None)
    model = comfy.model_base.SDXL(model_config, device=offload_device)
    names = comfy.utils.unet_to_diffusers(model_config.unet_config)
    model.diffusion_model.load_state_dict({names[name]: value for name, value in state_dict.items()}, strict=True)
    return comfy.model_patcher.ModelPatcher(model, load_device=load_device, offload_device=offload_device)

"""Tiny models that see a second picture beside the latent (extra input channels), built in process.

ComfyUI must be importable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_detection
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import torch
from diffusers import FluxTransformer2DModel

from swd_dev.tiny.models import CLIP_WIDTH, GAINS
from swd_dev.tiny.sdxl import UNET_CONFIG
from swd_dev.tiny.weights import build, seed_weights

__all__ = ["CONCAT_KINDS", "load_concat"]

# The names of the time and size embedding in ComfyUI's UNet, with the gains of the tiny SDXL.
UNET_GAINS = {"time_embed": GAINS["time_embedding"], "label_emb": GAINS["add_embedding"]}


def _flux_fill() -> Any:
    """FLUX.1-Fill-dev: 16 latent channels, 16 of the masked picture and 64 of the mask, in patches of 2 x 2."""
    twin = build(
        lambda: FluxTransformer2DModel(
            in_channels=384,
            out_channels=64,
            num_layers=2,
            num_single_layers=2,
            num_attention_heads=2,
            attention_head_dim=128,
            axes_dims_rope=(16, 56, 56),
            joint_attention_dim=CLIP_WIDTH,
            pooled_projection_dim=CLIP_WIDTH,
            guidance_embeds=True,
        )
    )
    source = {name: value.clone() for name, value in seed_weights(twin, 901, GAINS).state_dict().items()}
    weights = comfy.model_detection.convert_diffusers_mmdit(source)
    return comfy.sd.load_diffusion_model_state_dict(weights)


def _sdxl(config_class: Any, in_channels: int, seed: int) -> Any:
    config = config_class({**UNET_CONFIG, "in_channels": in_channels})
    config.set_inference_dtype(torch.float32, None)
    offload_device = comfy.model_management.unet_offload_device()
    model = build(lambda: config.get_model({}, "", device=offload_device))
    seed_weights(model.diffusion_model, seed, UNET_GAINS)
    load_device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(model, load_device=load_device, offload_device=offload_device)


_MAKERS: dict[str, Callable[[], Any]] = {
    "flux_fill": _flux_fill,
    "sdxl_inpaint": lambda: _sdxl(comfy.supported_models.SDXL, in_channels=9, seed=902),
    "sdxl_ip2p": lambda: _sdxl(comfy.supported_models.SDXL_instructpix2pix, in_channels=8, seed=903),
}
CONCAT_KINDS: tuple[str, ...] = tuple(_MAKERS)


def load_concat(kind: str) -> Any:
    """A ModelPatcher of ComfyUI around the tiny model, in float32."""
    return _MAKERS[kind]()

"""The same model in diffusers, with the very same weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.utils
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from swd_dev.tiny.models import make_model
from torch import Tensor, nn

from bench.models import Model

# Embeddings of two dimensions.
_POOLED = ("pooled_projections", "text_embeds")


class Twin(nn.Module):
    """A diffusers model that takes float32 latents and texts in its own precision, as ComfyUI's models do."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.dtype = next(module.parameters()).dtype

    def forward(self, *arguments: Any, **named: Any) -> Any:
        result = self.module(*map(self._cast, arguments), **self._cast(named))
        result.sample = result.sample.float()
        return result

    def _cast(self, value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {inner: self._cast(part, inner) for inner, part in value.items()}
        # Positions and times stay exact: bfloat16 has no 4095.
        computes = isinstance(value, Tensor) and (value.ndim > 2 or name in _POOLED)
        return value.to(self.dtype) if computes else value


def twin_of(model: Model) -> Twin:
    """A diffusers model that shares the weights of a ComfyUI model, on the same device."""
    if model.architecture is None:
        device = model.patcher.load_device
        return Twin(make_model(model.family).to(device))
    config = model.architecture.unet_config
    with torch.device("meta"):
        module = _MAKERS[model.architecture.config_class](config)
    weights, names = _diffusers_weights(model, config), module.state_dict().keys()
    # ComfyUI's maps also know the names of other models of a family.
    module.load_state_dict({name: weights[name] for name in names if name in weights}, strict=True, assign=True)
    return Twin(module.requires_grad_(False).eval())


def _sd3(config: Mapping[str, Any]) -> nn.Module:
    module: nn.Module = SD3Transformer2DModel(
        num_layers=config["depth"],
        num_attention_heads=config["depth"],
        attention_head_dim=64,
        caption_projection_dim=64 * config["depth"],
        joint_attention_dim=4096,
        pooled_projection_dim=config["adm_in_channels"],
        sample_size=128,
        pos_embed_max_size=config["pos_embed_max_size"],
        dual_attention_layers=tuple(config["x_block_self_attn_layers"]),
        qk_norm="rms_norm",
    )
    return module


def flux_module(config: Mapping[str, Any]) -> nn.Module:
    """FLUX in diffusers, for ComfyUI's configuration of it."""
    module: nn.Module = FluxTransformer2DModel(
        in_channels=64,
        num_layers=config["depth"],
        num_single_layers=config["depth_single_blocks"],
        num_attention_heads=config["num_heads"],
        attention_head_dim=128,
        axes_dims_rope=tuple(config["axes_dim"]),
        joint_attention_dim=config["context_in_dim"],
        pooled_projection_dim=config["vec_in_dim"],
        guidance_embeds=True,
    )
    return module


def _sdxl(config: Mapping[str, Any]) -> nn.Module:
    width, depths = config["model_channels"], config["transformer_depth"]
    module: nn.Module = UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(width, 2 * width, 4 * width),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, depths[2], depths[4]),
        # diffusers means the number of heads here: 64 channels a head, as ComfyUI forces for SDXL.
        attention_head_dim=(width // 64, width // 32, width // 16),
        cross_attention_dim=config["context_dim"],
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=config["adm_in_channels"],
    )
    return module


_MAKERS = {"SD3": _sd3, "Flux": flux_module, "SDXL": _sdxl}


def _diffusers_weights(model: Model, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """ComfyUI's weights under diffusers' names, by ComfyUI's own maps; slices of fused ones are views."""
    own = model.patcher.model.diffusion_model.state_dict()
    if model.family == "sdxl":
        return {name: own[key] for name, key in comfy.utils.unet_to_diffusers(dict(config)).items() if key in own}
    to_diffusers = comfy.utils.flux_to_diffusers if model.family == "flux" else comfy.utils.mmdit_to_diffusers
    found = {name: _part(own, place) for name, place in to_diffusers(dict(config)).items()}
    return {name: value for name, value in found.items() if value is not None}


def _part(own: Mapping[str, Tensor], place: Any) -> Tensor | None:
    key, cut, change = (place, None, None) if isinstance(place, str) else (*place, None, None)[:3]
    if key not in own:
        return None
    value = own[key] if cut is None else own[key].narrow(*cut)
    return value if change is None else change(value)

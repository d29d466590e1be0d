"""Tiny seeded models of the families that SwD was not trained for, on ComfyUI's own classes.

ComfyUI recognises most of them by exact sizes, so no loader takes a small one. The configurations follow
comfy/model_detection.py; only widths, depths and text widths are small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import torch
from torch import Tensor

from swd_dev.tiny.weights import build, seed_weights

TEXT_WIDTH = 32
TEXT_LENGTH = 12
LLAMA_LAYERS = 3


@dataclass(frozen=True)
class Family:
    """`config_class`: name in comfy.supported_models. `frames`: T of a 5-D latent, None for a 4-D one.

    `gains`: see `seed_weights`; set so that time and text count for something in the output.
    """

    config_class: str
    unet_config: Mapping[str, Any]
    channels: int
    frames: int | None = None
    gains: Mapping[str, float] = field(default_factory=dict)

    def latent_shape(self, batch: int, height: int, width: int) -> tuple[int, ...]:
        time = () if self.frames is None else (self.frames,)
        return (batch, self.channels, *time, height, width)


_FLUX_LIKE: dict[str, Any] = {
    "context_in_dim": TEXT_WIDTH,
    "depth": 1,
    "depth_single_blocks": 1,
    "hidden_size": 64,
    "num_heads": 2,
    "vec_in_dim": None,
}
_LUMINA: dict[str, Any] = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "dim": 48,
    "cap_feat_dim": TEXT_WIDTH,
    "n_layers": 2,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "qk_norm": True,
    "axes_dims": [8, 8, 8],
    "axes_lens": [300, 512, 512],
}

FAMILIES: dict[str, Family] = {
    "sd15": Family(
        "SD15",
        {
            "image_size": 32,
            "in_channels": 4,
            "out_channels": 4,
            "model_channels": 32,
            "channel_mult": [1, 1, 2, 2],
            "num_res_blocks": [1, 1, 1, 1],
            "transformer_depth": [1, 1, 1, 0],
            "transformer_depth_middle": 1,
            "transformer_depth_output": [1, 1, 1, 1, 1, 1, 0, 0],
            "use_spatial_transformer": True,
            "use_linear_in_transformer": False,
            "context_dim": TEXT_WIDTH,
            "adm_in_channels": None,
            "use_checkpoint": False,
            "legacy": False,
            "use_temporal_attention": False,
            "use_temporal_resblock": False,
        },
        channels=4,
        gains={"time_embed": 1.6, "to_v": 2.0},
    ),
    "auraflow": Family(
        "AuraFlow",
        {
            "cond_seq_dim": TEXT_WIDTH,
            "dim": 64,
            "global_conddim": 64,
            "n_layers": 2,
            "n_double_layers": 1,
            "n_heads": 2,
            "max_seq": 16 * 16,
        },
        channels=4,
        # Fan-in counts a whole table of positions where one position is added.
        gains={"positional_encoding": 16.0, "cond_seq_linear": 3.0, "w1v": 3.0},
    ),
    "chroma": Family(
        "Chroma",
        {
            **_FLUX_LIKE,
            "image_model": "chroma",
            "in_channels": 64,
            "out_channels": 64,
            "patch_size": 2,
            "mlp_ratio": 4.0,
            "axes_dim": [8, 12, 12],
            "theta": 10000,
            "qkv_bias": True,
            "txt_ids_dims": [],
            "in_dim": 64,
            "out_dim": 64,
            "hidden_dim": 64,
            "n_layers": 2,
        },
        channels=16,
    ),
    "flux2": Family(
        "Flux2",
        {
            **_FLUX_LIKE,
            "image_model": "flux2",
            "in_channels": 128,
            "out_channels": 128,
            "patch_size": 1,
            "mlp_ratio": 3.0,
            "axes_dim": [8, 8, 8, 8],
            "theta": 2000,
            "qkv_bias": False,
            "ops_bias": False,
            "guidance_embed": True,
            "global_modulation": True,
            "mlp_silu_act": True,
            "txt_ids_dims": [3],
            "default_ref_method": "index",
            "ref_index_scale": 10.0,
        },
        channels=128,
        gains={"txt_in": 8.0, "txt_attn": 4.0},
    ),
    "lumina2": Family(
        "Lumina2",
        {**_LUMINA, "n_kv_heads": 1, "rope_theta": 10000.0, "ffn_dim_multiplier": 4.0},
        channels=16,
    ),
    "z_image": Family(
        "ZImage",
        {
            **_LUMINA,
            # The modulation of this variant is 256 wide, and so the model has to be.
            "dim": 256,
            "axes_dims": [32, 48, 48],
            "n_kv_heads": 2,
            "rope_theta": 256.0,
            "ffn_dim_multiplier": 8.0 / 3.0,
            "z_image_modulation": True,
            "time_scale": 1000.0,
            "pad_tokens_multiple": 32,
        },
        channels=16,
    ),
    "hidream": Family(
        "HiDream",
        {
            "image_model": "hidream",
            "in_channels": 16,
            "out_channels": 16,
            "patch_size": 2,
            "attention_head_dim": 32,
            "num_attention_heads": 2,
            "axes_dims_rope": [16, 8, 8],
            "caption_channels": [TEXT_WIDTH, TEXT_WIDTH],
            "text_emb_dim": TEXT_WIDTH,
            "llama_layers": list(range(LLAMA_LAYERS - 1)),
            "num_layers": 1,
            "num_single_layers": 1,
            "num_routed_experts": 4,
            "num_activated_experts": 2,
            "max_resolution": [128, 128],
        },
        channels=16,
    ),
    "qwen_image": Family(
        "QwenImage",
        {
            "image_model": "qwen_image",
            "in_channels": 64,
            "num_layers": 2,
            "attention_head_dim": 32,
            "num_attention_heads": 2,
            "joint_attention_dim": TEXT_WIDTH,
            "axes_dims_rope": [8, 12, 12],
        },
        channels=16,
        frames=1,
    ),
    "wan": Family(
        "WAN21_T2V",
        {
            "image_model": "wan2.1",
            "model_type": "t2v",
            "in_dim": 16,
            "out_dim": 16,
            "dim": 48,
            "ffn_dim": 96,
            "text_dim": TEXT_WIDTH,
            "num_heads": 2,
            "num_layers": 2,
        },
        channels=16,
        frames=3,
    ),
}


def load_family(name: str, seed: int = 0) -> comfy.model_patcher.ModelPatcher:
    """A patcher around the tiny model of a family, with seeded weights; it runs in float32."""
    family = FAMILIES[name]
    patcher = make_patcher(family.config_class, family.unet_config, comfy.model_management.unet_offload_device())
    seed_weights(patcher.model.diffusion_model, seed, family.gains)
    return patcher


def make_patcher(
    config_class: str, unet_config: Mapping[str, Any], device: torch.device
) -> comfy.model_patcher.ModelPatcher:
    """A patcher around a model of one of comfy.supported_models' classes, with no weights to speak of."""
    model_config = getattr(comfy.supported_models, config_class)(dict(unet_config))
    model_config.set_inference_dtype(torch.float32, None)
    model = build(lambda: model_config.get_model({}, device=device))
    load_device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(model, load_device=load_device, offload_device=device)


def make_conditioning(name: str, seed: int = 0) -> list[Any]:
    """A CONDITIONING with the embeddings that a family's text encoders give."""
    generator = torch.Generator("cpu").manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    tokens = draw(1, TEXT_LENGTH, TEXT_WIDTH)
    if name == "hidream":
        llama = draw(1, LLAMA_LAYERS, TEXT_LENGTH, TEXT_WIDTH)
        return [[tokens, {"pooled_output": draw(1, TEXT_WIDTH), "conditioning_llama3": llama}]]
    # CLIPTextEncode writes the key for text encoders that pool nothing too.
    return [[tokens, {"pooled_output": None}]]

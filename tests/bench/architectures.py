"""Architectures of the four families by size, as ComfyUI configures its own model classes.

The true ones are what comfy/model_detection.py reads off the released weights. The middle ones keep their shape, with
few and narrow blocks and as much text in proportion to a 512 px picture: enough arithmetic for a CPU to show the curve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """`config_class`: name in comfy.supported_models. `text`: tokens, their width, and width of the pooled vector as
    the text encoders give it. `adm`: width of the vector that the model takes. `billions`: parameters, by the issue."""

    config_class: str
    unet_config: Mapping[str, Any]
    channels: int
    text: tuple[int, int, int]
    adm: int
    billions: float | None = None


def _mmdit(blocks: int, positions: int, dual: int, text: int, billions: float | None = None) -> Architecture:
    width = 64 * blocks
    config = {
        "in_channels": 16,
        "out_channels": 16,
        "patch_size": 2,
        "depth": blocks,
        "input_size": None,
        "adm_in_channels": 2048,
        "context_embedder_config": {
            "target": "torch.nn.Linear",
            "params": {"in_features": 4096, "out_features": width},
        },
        "num_patches": positions**2,
        "pos_embed_max_size": positions,
        "pos_embed_scaling_factor": None,
        "qk_norm": "rms",
        "x_block_self_attn_layers": list(range(dual)),
    }
    return Architecture("SD3", config, 16, (text, 4096, 2048), 2048, billions)


def _flux(width: int, double: int, single: int, text: int, billions: float | None = None) -> Architecture:
    config = {
        "image_model": "flux",
        "in_channels": 16,
        "out_channels": 16,
        "patch_size": 2,
        "vec_in_dim": 768,
        "context_in_dim": 4096,
        "hidden_size": width,
        "mlp_ratio": 4.0,
        "num_heads": width // 128,
        "depth": double,
        "depth_single_blocks": single,
        "axes_dim": [16, 56, 56],
        "theta": 10000,
        "qkv_bias": True,
        "guidance_embed": True,
        "txt_ids_dims": [],
    }
    return Architecture("Flux", config, 16, (text, 4096, 768), 768, billions)


def _sdxl(width: int, depths: tuple[int, int], text: int, billions: float | None = None) -> Architecture:
    middle, deep = depths
    config = {
        "use_checkpoint": False,
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": width,
        "num_res_blocks": [2, 2, 2],
        "channel_mult": [1, 2, 4],
        "num_head_channels": 64,
        "transformer_depth": [0, 0, middle, middle, deep, deep],
        "transformer_depth_middle": deep,
        "transformer_depth_output": [0, 0, 0, middle, middle, middle, deep, deep, deep],
        "use_spatial_transformer": True,
        "use_linear_in_transformer": True,
        "context_dim": 2048,
        "num_classes": "sequential",
        "adm_in_channels": 2816,
        "legacy": False,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
    }
    return Architecture("SDXL", config, 4, (text, 2048, 1280), 2816, billions)


ARCHITECTURES: Mapping[str, Mapping[str, Architecture]] = {
    "true": {
        "sd35_medium": _mmdit(24, 384, dual=13, text=77 + 512, billions=2.24),
        "sd35_large": _mmdit(38, 192, dual=0, text=77 + 512, billions=8.06),
        "flux": _flux(3072, 19, 38, text=512, billions=11.9),
        "sdxl": _sdxl(320, (2, 10), text=77, billions=2.57),
    },
    "middle": {
        "sd35_medium": _mmdit(6, 96, dual=3, text=147),
        "sd35_large": _mmdit(7, 96, dual=0, text=147),
        "flux": _flux(384, 2, 4, text=128),
        "sdxl": _sdxl(128, (1, 3), text=77),
    },
}

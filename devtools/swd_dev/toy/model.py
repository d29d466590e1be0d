"""The teacher: an SD3 transformer small enough for two CPU cores, in the layout that ComfyUI's UNETLoader detects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import SD3Transformer2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from swd_dev.tiny.weights import build
from swd_dev.toy.text import CLIP_L_WIDTH, CONTEXT_WIDTH, POOLED_WIDTH

# ComfyUI reads the number of blocks and of heads from the width: 64 channels for each.
DEPTH = 3
# 2 x 2 latent pixels to a position: latents of up to 32 x 32.
POSITIONS = 16
TIMESTEPS = 1000

CONTEXT_WEIGHT = "context_embedder.weight"
POOLED_WEIGHT = "time_text_embed.text_embedder.linear_1.weight"


def make_transformer(depth: int = DEPTH, *, context: int = CONTEXT_WIDTH, pooled: int = POOLED_WIDTH) -> Any:
    """An SD3 transformer of `depth` blocks with diffusers' own start weights."""
    return build(
        lambda: SD3Transformer2DModel(
            num_layers=depth,
            num_attention_heads=depth,
            attention_head_dim=64,
            caption_projection_dim=64 * depth,
            joint_attention_dim=context,
            pooled_projection_dim=pooled,
            # The sine tables are spaced as on a grid of this many latent pixels.
            sample_size=2 * POSITIONS,
            pos_embed_max_size=POSITIONS,
            qk_norm="rms_norm",
        )
    )


def make_trainee(depth: int, seed: int) -> Any:
    """The teacher before training, with text inputs of CLIP-L's width alone: the columns of the other encoders see only
    zeros. Each block starts as the identity (adaLN-Zero, Peebles and Xie 2023)."""
    torch.manual_seed(seed)
    model = SD3Transformer2DModel.from_config(
        {**make_transformer(depth).config, "joint_attention_dim": CLIP_L_WIDTH, "pooled_projection_dim": CLIP_L_WIDTH}
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".norm1" in name or name.startswith(("norm_out", "proj_out")):
                parameter.zero_()
    return model


def widen(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The trainee's weights in SD3's full shapes, with zeros in the columns of the other text encoders."""
    wide = dict(weights)
    for name, width in ((CONTEXT_WEIGHT, CONTEXT_WIDTH), (POOLED_WEIGHT, POOLED_WIDTH)):
        weight = weights[name]
        wide[name] = torch.nn.functional.pad(weight, (0, width - weight.shape[1]))
    return wide


def save_teacher(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write the trainee's weights in half precision under diffusers' names, which ComfyUI's UNETLoader converts."""
    file = {name: weight.half().contiguous() for name, weight in widen(weights).items()}
    save_file(file, path, metadata={"format": "pt"})


def load_teacher(path: Path) -> Any:
    """The diffusers model of a file of `save_teacher`: frozen, float32, weights exactly those of the file."""
    weights = {name: weight.float() for name, weight in load_file(path).items()}
    depth = weights["pos_embed.proj.weight"].shape[0] // 64
    model = make_transformer(depth)
    model.load_state_dict(weights)
    return model.requires_grad_(False).eval()

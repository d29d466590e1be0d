"""The diffusers, transformers and PEFT side of the tiny models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from peft import PeftModel
from transformers import CLIPTextConfig, CLIPTextModel

from swd_dev.tiny.vae import make_vae
from swd_dev.tiny.weights import build, seed_weights

__all__ = ["FAMILIES", "make_clip_l", "make_model", "make_peft_model", "make_vae"]

FAMILIES: tuple[str, ...] = ("sd35_medium", "sd35_large", "flux", "sdxl")

CLIP_WIDTH = 768
CLIP_SEED = 500

# Found by trial: a new timestep, text, pooled text or guidance changes the output by a tenth to a half, and the latents
# still decide most of it. At gain 1 the text hardly counts, and the modulation of the DiTs drowns the rest.
GAINS = {
    "time_text_embed": 0.8,
    "context_embedder": 2.0,
    "add_v_proj": 3.0,
    "time_embedding": 1.6,
    "add_embedding": 1.6,
}


def _sd3(depth: int, pos_embed_max_size: int, dual_attention_layers: tuple[int, ...]) -> SD3Transformer2DModel:
    """SD3.5 shape; ComfyUI reads the number of blocks and heads from the width, so all three go together."""
    return SD3Transformer2DModel(
        num_layers=depth,
        num_attention_heads=depth,
        attention_head_dim=64,
        caption_projection_dim=64 * depth,
        joint_attention_dim=4096,
        pooled_projection_dim=2048,
        sample_size=128,
        pos_embed_max_size=pos_embed_max_size,
        dual_attention_layers=dual_attention_layers,
        qk_norm="rms_norm",
    )


def _flux() -> FluxTransformer2DModel:
    """FLUX.1-dev shape, with text inputs of 768 so that a CLIP-L alone can feed it."""
    return FluxTransformer2DModel(
        in_channels=64,
        num_layers=2,
        num_single_layers=2,
        num_attention_heads=2,
        attention_head_dim=128,
        axes_dims_rope=(16, 56, 56),
        joint_attention_dim=CLIP_WIDTH,
        pooled_projection_dim=CLIP_WIDTH,
        guidance_embeds=True,
    )


def _sdxl() -> UNet2DConditionModel:
    """SDXL shape, with text inputs of 768; the sizes are those of ``sdxl.UNET_CONFIG``."""
    return UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(64, 128, 256),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2),
        # diffusers means the number of heads here: 64 channels per head, as ComfyUI forces for SDXL.
        attention_head_dim=(1, 2, 4),
        cross_attention_dim=CLIP_WIDTH,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=CLIP_WIDTH + 6 * 256,
    )


_MAKERS: dict[str, tuple[int, Callable[[], torch.nn.Module]]] = {
    "sd35_medium": (100, lambda: _sd3(depth=3, pos_embed_max_size=384, dual_attention_layers=(0, 1))),
    "sd35_large": (200, lambda: _sd3(depth=3, pos_embed_max_size=192, dual_attention_layers=())),
    "flux": (300, _flux),
    "sdxl": (400, _sdxl),
}


def make_model(family: str) -> torch.nn.Module:
    """The diffusers model of ``family`` in float32, frozen, with the weights of its file."""
    if family not in _MAKERS:
        raise ValueError(f"Unknown family {family!r}; choose one of {', '.join(FAMILIES)}.")
    seed, make = _MAKERS[family]
    return seed_weights(build(make), seed, GAINS)


def make_peft_model(family: str, lora_dir: Path) -> torch.nn.Module:
    """``make_model(family)`` with the adapter in ``lora_dir`` applied by PEFT itself."""
    model: torch.nn.Module = build(lambda: PeftModel.from_pretrained(make_model(family), str(lora_dir)))
    return model.eval()


def make_clip_l() -> torch.nn.Module:
    """A CLIP-L text encoder of the real shape in float32, its weights rounded to the float16 of the file."""
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=CLIP_WIDTH,
        intermediate_size=3072,
        projection_dim=CLIP_WIDTH,
        num_hidden_layers=12,
        num_attention_heads=12,
    )
    model: torch.nn.Module = seed_weights(build(lambda: CLIPTextModel(config)), CLIP_SEED)
    return model.half().float()

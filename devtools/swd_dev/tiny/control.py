"""Tiny control models for the tiny SD3.5, FLUX and SDXL, as files that ComfyUI's ControlNetLoader recognises.

ComfyUI must be importable: SD3.5, SDXL and the adapter are built on its own classes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import FluxControlNetModel, SD3ControlNetModel
from safetensors.torch import save_file

from swd_dev.tiny.models import CLIP_WIDTH
from swd_dev.tiny.weights import build, seed_weights

__all__ = ["CONTROL_KINDS", "make_control", "write_control"]

# How strongly the control speaks, found by trial: it changes the picture by a fifth to a half.
GAINS = {"controlnet_blocks": 0.5, "controlnet_single_blocks": 0.5, "zero_convs": 0.3, "middle_block_out": 0.3}


def _sd3() -> torch.nn.Module:
    """Like InstantX's for SD3: a few joint blocks, a hint in latent space. As wide as the tiny SD3.5."""
    network: torch.nn.Module = SD3ControlNetModel(
        num_layers=1,
        num_attention_heads=3,
        attention_head_dim=64,
        caption_projection_dim=192,
        joint_attention_dim=4096,
        pooled_projection_dim=2048,
        sample_size=128,
        pos_embed_max_size=192,
        qk_norm="rms_norm",
    )
    return network


def _sd35() -> torch.nn.Module:
    """Like Stability's for SD3.5 Large: no text, and the picture's embedder is taken from the model at run time."""
    from comfy.cldm.dit_embedder import ControlNetEmbedder
    from comfy.ops import disable_weight_init

    network: torch.nn.Module = ControlNetEmbedder(
        img_size=None,
        patch_size=2,
        in_chans=16,
        num_layers=1,
        main_model_double=3,
        double_y_emb=False,
        attention_head_dim=64,
        num_attention_heads=3,
        adm_in_channels=2048,
        device=None,
        dtype=torch.float32,
        operations=disable_weight_init,
    )
    return network


def _flux() -> torch.nn.Module:
    """Like InstantX's for FLUX.1-dev: a hint in latent space. One block of each kind, because ComfyUI spreads the
    blocks over the 19 and 38 of the real model."""
    network: torch.nn.Module = FluxControlNetModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        num_attention_heads=2,
        attention_head_dim=128,
        axes_dims_rope=[16, 56, 56],
        joint_attention_dim=CLIP_WIDTH,
        pooled_projection_dim=CLIP_WIDTH,
        guidance_embeds=True,
    )
    return network


def _sdxl() -> torch.nn.Module:
    """The encoder half of the tiny SDXL with a hint in image space."""
    from comfy.cldm.cldm import ControlNet
    from comfy.ops import disable_weight_init

    from swd_dev.tiny.sdxl import UNET_CONFIG

    config = {name: value for name, value in UNET_CONFIG.items() if name != "out_channels"}
    network: torch.nn.Module = ControlNet(
        **config, num_head_channels=64, hint_channels=3, dtype=torch.float32, operations=disable_weight_init
    )
    return network


def _t2i_sdxl() -> torch.nn.Module:
    """T2I-Adapter XL; it sees the hint alone, neither the latent nor the text."""
    from comfy.t2i_adapter.adapter import Adapter

    network: torch.nn.Module = Adapter(
        cin=768, channels=[64, 128, 256, 256], nums_rb=2, ksize=1, sk=True, use_conv=False, xl=True
    )
    return network


_MAKERS: dict[str, tuple[int, Callable[[], torch.nn.Module]]] = {
    "sd3": (801, _sd3),
    "sd35": (802, _sd35),
    "flux": (803, _flux),
    "sdxl": (804, _sdxl),
    "t2i_sdxl": (805, _t2i_sdxl),
}
CONTROL_KINDS: tuple[str, ...] = tuple(_MAKERS)


def make_control(kind: str, seed: int = 0) -> torch.nn.Module:
    """A control model in float32 with seeded weights. `seed` tells several of a kind apart.

    "sd3" and "flux" are diffusers models; the others are ComfyUI's networks.
    """
    base, make = _MAKERS[kind]
    return seed_weights(build(make), base + 100 * seed, GAINS)


def write_control(kind: str, path: Path, seed: int = 0) -> None:
    """`make_control` as a file under the names that the published models of its kind use."""
    weights = make_control(kind, seed).state_dict()
    save_file({name: value.contiguous() for name, value in weights.items()}, path, metadata={"format": "pt"})

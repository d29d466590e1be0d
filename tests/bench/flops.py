"""Floating-point operations, counted by torch on the very model and shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.ldm.modules.attention
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from bench.architectures import Architecture
from bench.forwards import Call, replay
from bench.models import build


def counter() -> FlopCounterMode:
    """A context that counts operations; torch leaves out its own attention on a CPU."""
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

    def count(query: Any, key: Any, value: Any, *options: Any, out_shape: Any = None, **named: Any) -> int:
        return sdpa_flop_count(query, key, value)

    return FlopCounterMode(display=False, custom_mapping={attention: count})


def flops_of(model: Any, calls: Sequence[Call]) -> int:
    """Operations of the forward passes that a run made: matrix products, convolutions and attention."""
    with torch.inference_mode(), counter() as counted:
        replay(model, calls)
    total: int = counted.get_total_flops()
    return total


def parameters_of(architecture: Architecture) -> int:
    """Parameters of an architecture, built without memory."""
    base_model = build(architecture, torch.device("meta"), torch.bfloat16).model
    return sum(value.numel() for value in base_model.diffusion_model.parameters())


def flops_of_architecture(architecture: Architecture, sides: Sequence[int]) -> list[int]:
    """Operations of one forward pass at batch 1 and square latents, on tensors without memory."""
    diffusion_model = build(architecture, torch.device("meta"), torch.bfloat16).model.diffusion_model
    return [_count_on_meta(diffusion_model, architecture, side) for side in sides]


def _count_on_meta(diffusion_model: torch.nn.Module, architecture: Architecture, side: int) -> int:
    tokens, width, _ = architecture.text
    with torch.device("meta"), torch.inference_mode():
        arguments: dict[str, Any] = {
            "context": torch.empty(1, tokens, width, dtype=torch.bfloat16),
            "y": torch.empty(1, architecture.adm, dtype=torch.bfloat16),
            "transformer_options": {"optimized_attention_override": _pytorch_attention},
        }
        if architecture.unet_config.get("guidance_embed"):
            arguments["guidance"] = torch.empty(1, dtype=torch.bfloat16)
        x = torch.empty(1, architecture.channels, side, side, dtype=torch.bfloat16)
        with counter() as counted:
            diffusion_model(x, torch.empty(1), **arguments)
    total: int = counted.get_total_flops()
    return total


def _pytorch_attention(attention: Any, *arguments: Any, **options: Any) -> Any:
    # ComfyUI's attention for the CPU asks how much memory the device has free, which a meta device cannot say.
    return comfy.ldm.modules.attention.attention_pytorch(*arguments, **options)

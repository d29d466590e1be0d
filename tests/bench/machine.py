"""What is printed before any figure."""

from __future__ import annotations

import platform
from typing import Any

import comfy.ldm.modules.attention
import comfyui_version
import diffusers
import torch

from bench.device import device_name
from bench.setting import Setting

SCOPE = (
    "around SamplerCustomAdvanced, from noise to latent; loading of the model, text encoders and VAE are outside; the "
    "device is waited for before and after"
)


def facts(setting: Setting) -> dict[str, Any]:
    """Hardware, versions, precision, attention, warm-up, and what is inside the timer."""
    attention = getattr(comfy.ldm.modules.attention.optimized_attention, "__name__", "unknown")
    true = f"true-size models with random weights in {str(setting.dtype).removeprefix('torch.')}"
    small = "tiny models of the tests and middle-size ones with random weights, in float32"
    return {
        "hardware": f"{device_name(setting.device)}; {platform.machine()}, {platform.system()}",
        "versions": f"ComfyUI {comfyui_version.__version__}, torch {torch.__version__}, diffusers "
        f"{diffusers.__version__}, Python {platform.python_version()}",
        "models": true if setting.true_size else small,
        "attention": f"{attention} in ComfyUI, scaled_dot_product_attention in diffusers",
        "method": f"{setting.runs} interleaved rounds in one process after one that warms up, medians of ratios",
        "timer": SCOPE,
    }

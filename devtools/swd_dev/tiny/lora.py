"""Tiny SwD-like LoRA folders, written by PEFT itself."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from swd_dev.tiny.models import make_model
from swd_dev.tiny.weights import BIAS_STD, build, fan_in

# Size of a LoRA's contribution to a layer against an output of unit variance.
STRENGTH = 0.08

_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_JOINT_ATTENTION = (*_ATTENTION, "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
_FEED_FORWARD = ("ff.net.0.proj", "ff.net.2")
_JOINT_BLOCK = (
    *_JOINT_ATTENTION,
    *_FEED_FORWARD,
    "ff_context.net.0.proj",
    "ff_context.net.2",
    "norm1.linear",
    "norm1_context.linear",
    "context_embedder",
    "proj_out",
)
_SD35 = (*_JOINT_BLOCK, "pos_embed.proj")

# The widest lists that a training script might use. PEFT matches the end of a module's name, so "to_q" takes attn2 too.
TARGETS: dict[str, tuple[str, ...]] = {
    "sd35_medium": _SD35,
    "sd35_large": _SD35,
    "flux": (*_JOINT_BLOCK, "norm.linear", "proj_mlp", "x_embedder"),
    "sdxl": (
        *_ATTENTION,
        *_FEED_FORWARD,
        "proj_in",
        "proj_out",
        "conv1",
        "conv2",
        "time_emb_proj",
        "conv_shortcut",
        "time_embedding.linear_1",
        "time_embedding.linear_2",
        "downsamplers.0.conv",
        "upsamplers.0.conv",
        "conv_in",
        "conv_out",
    ),
}


def write_lora(
    family: str,
    folder: Path,
    *,
    seed: int,
    rank: int,
    alpha: float,
    adapter_name: str = "default",
    **lora_config_overrides: Any,
) -> None:
    """Write adapter_model.safetensors and adapter_config.json of a LoRA for ``family`` into ``folder``.

    ``lora_config_overrides`` are fields of ``peft.LoraConfig`` (target_modules, use_rslora, bias, use_dora, ...).
    PEFT puts an adapter with another name than "default" into ``folder/<adapter_name>``.
    """
    fields: dict[str, Any] = {
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": list(TARGETS[family]),
        # As the SwD trainer does; PEFT refuses it together with lora_bias.
        "init_lora_weights": True if lora_config_overrides.get("lora_bias") else "gaussian",
        **lora_config_overrides,
    }
    model = build(lambda: get_peft_model(make_model(family), LoraConfig(**fields), adapter_name=adapter_name))
    _fill_adapter(model, adapter_name, seed)
    model.save_pretrained(str(folder))
    _sort_config(folder if adapter_name == "default" else folder / adapter_name)


def _fill_adapter(model: torch.nn.Module, adapter_name: str, seed: int) -> None:
    """Give every trained value of the adapter a seeded, non-zero value: PEFT's own start is B = 0, no effect at all."""
    generator = torch.Generator("cpu").manual_seed(seed)
    trained = sorted((name, value) for name, value in model.named_parameters() if value.requires_grad)
    with torch.no_grad():
        for name, value in trained:
            noise = torch.randn(value.shape, generator=generator)
            if ".lora_A." in name:
                value.copy_(noise / math.sqrt(fan_in(value)))
            elif ".lora_B." in name:
                layer: Any = model.get_submodule(name.partition(".lora_B.")[0])
                size = STRENGTH / math.sqrt(fan_in(value)) if value.ndim > 1 else BIAS_STD
                value.copy_(noise * (size / layer.scaling[adapter_name]))
            else:
                # Biases, DoRA magnitudes and fully trained modules start from the base's values.
                value.mul_(1.0 + 0.1 * noise).add_(0.01 * noise)


def _sort_config(folder: Path) -> None:
    """PEFT writes sets as lists in hash order, which differs from run to run."""
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in ("target_modules", "modules_to_save"):
        if isinstance(config.get(key), list):
            config[key].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")

"""Writing a trained LoRA as a PEFT folder, with its schedule in the metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..lora.file import CONFIG_NAME
from ..lora.metadata import schedule_metadata
from .files import write_json, write_tensors

FILE_NAME = "adapter_model.safetensors"
_PREFIX = "base_model.model."


@dataclass(frozen=True)
class LoraInfo:
    """What a LoRA file says of itself. `targets`: patterns as PEFT's `target_modules` takes them."""

    rank: int
    alpha: float
    targets: Sequence[str]
    scales: Sequence[float]
    timesteps: Sequence[float]


def write_peft_folder(
    folder: Path, weights: Mapping[str, tuple[Tensor, Tensor]], info: LoraInfo, dtype: torch.dtype = torch.float32
) -> Path:
    """Write `adapter_model.safetensors` and `adapter_config.json`; returns the path of the former.

    `weights`: A [rank, inputs] and B [outputs, rank] by diffusers layer name.
    """
    tensors: dict[str, Tensor] = {}
    for name, (a, b) in weights.items():
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = a.to(dtype)
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = b.to(dtype)
    # The configuration first: a file without it would be loaded at scale 1.
    write_json(folder / CONFIG_NAME, _config(info))
    metadata = {
        "format": "pt",
        "modelspec.title": folder.name,
        "r": str(info.rank),
        "lora_alpha": f"{info.alpha:g}",
        **schedule_metadata(info.scales, info.timesteps),
    }
    write_tensors(folder / FILE_NAME, tensors, metadata)
    return folder / FILE_NAME


def _config(info: LoraInfo) -> dict[str, object]:
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": info.rank,
        "lora_alpha": info.alpha,
        "lora_dropout": 0.0,
        "target_modules": list(info.targets),
        "init_lora_weights": "gaussian",
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
    }

"""The tiny models as ComfyUI MODELs, in a process that has ComfyUI on its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.sd
from safetensors.torch import load_file

from swd_dev.tiny.sdxl import load_sdxl

MODEL_FILES = {
    "sd35_medium": "checkpoints/sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors",
    "sd35_large": "checkpoints/sd3.5_large_fp8_scaled.safetensors",
    "flux": "diffusion_models/flux1-dev.safetensors",
    "sdxl": "checkpoints/sd_xl_base_1.0.safetensors",
}


def load_model(family: str, models: Path) -> Any:
    """The ModelPatcher of a family, by ComfyUI's own loaders; `models` is the folder of the tiny models.

    SDXL is built in process: ComfyUI recognises it by exact sizes.
    """
    path = models / MODEL_FILES[family]
    if family == "sdxl":
        return load_sdxl(load_file(path))
    if family == "flux":
        return comfy.sd.load_diffusion_model(str(path))
    return comfy.sd.load_checkpoint_guess_config(str(path), output_vae=False, output_clip=False)[0]

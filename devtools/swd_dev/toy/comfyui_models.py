"""Teacher and student as ComfyUI holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.sd
import folder_paths

from swd_dev.toy.pack import load_lora


def load_models(teacher: Path, student: Path) -> dict[str, Any]:
    """ModelPatchers by name; "student" only where the folder holds a LoRA (adapter_model.safetensors)."""
    models = {"teacher": comfy.sd.load_diffusion_model(str(teacher))}
    file = student / "adapter_model.safetensors"
    if file.is_file():
        folder_paths.add_model_folder_path("loras", str(student.parent))
        name = f"{student.name}/{file.name}"
        models["student"], report = load_lora(models["teacher"], name, 1.0)
        print(report, flush=True)
    return models

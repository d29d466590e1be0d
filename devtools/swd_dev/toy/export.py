"""The finished files, as the demo and the README use them."""

from __future__ import annotations

import shutil
from pathlib import Path

from swd_dev.toy_prompt import LORA, TEACHER, TOY_MODELS, VAE

# What belongs in the repository: a limit on all files together, in bytes.
LIMIT = 20_000_000


def export(folder: Path, out: Path = TOY_MODELS) -> int:
    """Copy the results of a run's folder to `out`, laid out like ComfyUI's models folder; returns their size.

    Raises:
        FileNotFoundError: a step before has not been run.
        RuntimeError: the files are larger than the repository should hold.
    """
    lora = Path(LORA).parent
    places = {
        "teacher.safetensors": f"diffusion_models/{TEACHER}",
        "vae.safetensors": f"vae/{VAE}",
        "student/adapter_model.safetensors": f"loras/{lora}/adapter_model.safetensors",
        "student/adapter_config.json": f"loras/{lora}/adapter_config.json",
        "classifier.safetensors": "classifier.safetensors",
        "evaluation.json": "evaluation.json",
        "evaluation.md": "evaluation.md",
        "evaluation.jpg": "evaluation.jpg",
    }
    size = sum((folder / name).stat().st_size for name in places)
    if size > LIMIT:
        raise RuntimeError(f"The files are {size / 1e6:.1f} MB together; {LIMIT / 1e6:.0f} MB are allowed.")
    for name, place in places.items():
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, out / place)
    return size

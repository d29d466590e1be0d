"""The base directory of a ComfyUI server: its custom nodes, its models, and folders for all it writes."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .paths import DEVTOOLS
from .toy_prompt import TOY_MODELS

MODEL_KINDS = ("checkpoints", "diffusion_models", "loras", "vae", "text_encoders", "controlnet")
FOLDERS = ("custom_nodes", "input", "models", "output", "temp", "user")
DEV_NODES = DEVTOOLS / "swd_dev" / "tiny" / "comfy_nodes"
NOT_COPIED = (".git", "__pycache__", "devtools", "tests", ".venv", ".*_cache")


def prepare(base: Path, pack: Path | None, tiny_models: Path, comfyui: Path) -> Path:
    """Fill `base` and return the file that names the folders of the tiny models and the toy world.

    The pack and the development nodes are linked, or copied where the system forbids links; without a pack the custom
    nodes stay as they are. ComfyUI's example picture, which templates load, is copied, and so is each tiny LoRA, under
    the name that templates give it.
    """
    for name in FOLDERS:
        (base / name).mkdir(parents=True, exist_ok=True)
    if pack:
        _link(pack, base / "custom_nodes" / "swd")
        if DEV_NODES.is_dir():
            _link(DEV_NODES, base / "custom_nodes" / "swd_tiny_models")
    example = comfyui / "input" / "example.png"
    if example.is_file():
        shutil.copy(example, base / "input")
    _name_loras(tiny_models / "loras", base / "models" / "loras")
    paths = base / "extra_model_paths.yaml"
    # JSON is YAML, and quotes what a path may contain.
    folders = {"swd_tiny_models": tiny_models.resolve(), "swd_toy_world": TOY_MODELS}
    kinds = {kind: kind for kind in MODEL_KINDS}
    entries = {name: {"base_path": str(folder), **kinds} for name, folder in folders.items()}
    paths.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    return paths


def _name_loras(folders: Path, out: Path) -> None:
    """Copy each PEFT folder's two files to `<folder>.safetensors` and `<folder>.adapter_config.json`."""
    out.mkdir(parents=True, exist_ok=True)
    for weights in folders.glob("*/adapter_model.safetensors"):
        repository = weights.parent.name
        shutil.copy(weights, out / f"{repository}.safetensors")
        shutil.copy(weights.with_name("adapter_config.json"), out / f"{repository}.adapter_config.json")


def _link(source: Path, link: Path) -> None:
    if link.is_symlink() or link.exists():
        # Also ends a junction, which is no symlink to Python; a real folder is a copy of an earlier run.
        try:
            link.unlink()
        except OSError:
            shutil.rmtree(link)
    with contextlib.suppress(OSError):
        os.symlink(source.resolve(), link, target_is_directory=True)
        return
    if sys.platform == "win32":
        # A junction needs no privilege.
        command = ["cmd", "/c", "mklink", "/J", str(link), str(source.resolve())]
        if subprocess.run(command, check=False, capture_output=True).returncode == 0:
            return
    shutil.copytree(source, link, ignore=shutil.ignore_patterns(*NOT_COPIED))

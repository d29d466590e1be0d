"""Make an unpacked ComfyUI importable in this process, on the CPU unless asked otherwise."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def use_comfyui(root: Path, cpu: bool = True, torch_attention: bool = False) -> None:
    """Put ``root`` on the path, and choose the CPU if asked to before ComfyUI looks for a device.

    `torch_attention`: as with ComfyUI's option --use-pytorch-cross-attention.
    """
    if not (root / "comfy" / "sd.py").is_file():
        raise FileNotFoundError(f"{root} holds no ComfyUI (comfy/sd.py is missing).")
    path = str(root.resolve())
    if path not in sys.path:
        sys.path.insert(0, path)
    import comfy.cli_args

    comfy.cli_args.args.cpu = cpu
    comfy.cli_args.args.use_pytorch_cross_attention = torch_attention
    # First, as in main.py: up to 0.24.1 the import of ComfyUI's `nodes` hides this package behind comfy/utils.py.
    importlib.import_module("utils.extra_config")

"""LoRA files written into ComfyUI's output folder."""

from __future__ import annotations

import logging
from pathlib import Path

import folder_paths

from ..errors import InputError
from ..lora.convert import convert_lora
from ..lora.file import read_lora
from .lora import lora_path

logger = logging.getLogger("swd")


def save_lora(name: str, filename_prefix: str) -> str:
    """Write a LoRA of `models/loras` in the form that every loader takes, under the output folder; say where.

    Raises:
        InputError: the file is not there or cannot be written in that form, or the prefix leads out of the folder.
    """
    lora = read_lora(lora_path(name), name)
    root = Path(folder_paths.get_output_directory()).resolve()
    if not (root / filename_prefix).resolve().is_relative_to(root):
        raise InputError(
            "filename_prefix: it leads out of the output folder.",
            found=repr(filename_prefix),
            allowed="a name, with or without sub-folders of the output folder",
            remedy="write for example loras/SwD.",
        )
    folder, stem, counter, subfolder, _ = folder_paths.get_save_image_path(filename_prefix, str(root))
    file = f"{stem}_{counter:05}_.safetensors"
    report = f"{convert_lora(lora, Path(folder) / file)}, in {Path('output', subfolder).as_posix()}"
    logger.info("%s", report)
    return report

"""LoRA files written into ComfyUI's output folder."""

from __future__ import annotations

import logging
from pathlib import Path

import folder_paths

from ..errors import InputError
from ..lora.convert import convert_lora
from ..lora.file import read_lora
from .lora import lora_path
from .progress import announce, errors_announced

logger = logging.getLogger("swd")

_NO_NAME = "it cannot be the name of a file."


@errors_announced()
def save_lora(name: str, filename_prefix: str) -> str:
    """Write a LoRA of `models/loras` in the form that every loader takes, under the output folder; say where.

    Raises:
        InputError: the file is not there or cannot be written in that form, or the prefix leads out of the folder.
    """
    lora = read_lora(lora_path(name), name)
    root = Path(folder_paths.get_output_directory()).resolve()
    if not _is_inside(root, filename_prefix):
        raise _refusal("it leads out of the output folder.", repr(filename_prefix)[:200])
    try:
        folder, stem, counter, subfolder, _ = folder_paths.get_save_image_path(filename_prefix, str(root))
    except OSError as error:
        raise _refusal(_NO_NAME, f"{filename_prefix[:100]!r}: {error.strerror}") from error
    file = Path(folder) / f"{stem}_{counter:05}_.safetensors"
    report = f"{convert_lora(lora, file)}, in {Path('output', subfolder).as_posix()}"
    logger.info("%s", report)
    announce(report)
    return report


def _is_inside(root: Path, prefix: str) -> bool:
    try:
        return (root / prefix).resolve().is_relative_to(root)
    except (OSError, ValueError) as error:
        raise _refusal(_NO_NAME, f"{prefix[:100]!r}: {error}"[:300]) from error


def _refusal(problem: str, found: str) -> InputError:
    return InputError(
        f"filename_prefix: {problem}",
        found=found,
        allowed="a name, with or without sub-folders of the output folder",
        remedy="write for example loras/SwD.",
    )

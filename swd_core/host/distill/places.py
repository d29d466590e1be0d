"""Where things are written: folders under ComfyUI's output folder, by names that are checked."""

from __future__ import annotations

from pathlib import Path

import folder_paths

from ...distill.names import check_name


def dataset_folder(name: str) -> Path:
    """output/swd/datasets/NAME. Raises InputError for a name that is no folder name."""
    return _output() / "swd" / "datasets" / check_name(name, "dataset_name")


def run_folder(name: str) -> Path:
    """output/swd/training/NAME, for checkpoints. Raises InputError for a name that is no folder name."""
    return _output() / "swd" / "training" / check_name(name, "lora_name")


def lora_folder(name: str) -> Path:
    """output/loras/NAME, which ComfyUI's server lists among the LoRAs. Raises InputError as the others do."""
    return _output() / "loras" / check_name(name, "lora_name")


def _output() -> Path:
    return Path(folder_paths.get_output_directory())

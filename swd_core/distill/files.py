"""Files that are either whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import InputError

PARTIAL = ".partial"
# What to do about a damaged file, by what it is part of.
_REMEDIES = {
    "dataset": "delete it and run SwD Teacher Dataset again, which makes only what is missing.",
    "checkpoint": "delete it and run again: the training starts over.",
}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file. A process that is killed meanwhile leaves the old file, or none.

    Raises:
        InputError: another program keeps the old file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    save_file({name: value.contiguous().cpu() for name, value in tensors.items()}, partial, dict(metadata or {}))
    _replace(partial, path)


def read_tensors(path: Path, whole: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file of a dataset or a checkpoint, which may be replaced while they are in
    use.

    Raises:
        InputError: a damaged file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            # What safetensors gives is the mapped file itself, and Windows refuses to replace a file that is mapped.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 - a safe_open is no dict
            return tensors, dict(file.metadata() or {})
    except SafetensorError as error:
        raise _damaged(path, whole, error) from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a dataset. Raises InputError for a damaged file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(path, "dataset", error) from error
    if not isinstance(value, dict):
        raise _damaged(path, "dataset", repr(value)[:100])
    return value


def _damaged(path: Path, whole: str, found: object) -> InputError:
    """What to say of a file that is not as it was written: the disk, a copy or a loss of power may have cut it off."""
    return InputError(
        f"{whole}: {path.name} is damaged.",
        found=f"{found}, in {path}",
        allowed="the file as it was written",
        remedy=_REMEDIES[whole],
    )


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file as `write_tensors` does it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    _replace(partial, path)


def _replace(partial: Path, path: Path) -> None:
    try:
        os.replace(partial, path)
    except PermissionError as error:
        # On Windows whoever has a file mapped keeps it, such as a model with this LoRA on it.
        partial.unlink(missing_ok=True)
        raise InputError(
            f"{path.parent.name}: {path.name} cannot be replaced.",
            found=error,
            allowed="a file that no program uses and that may be written",
            remedy="unload the models in ComfyUI, close what else uses the file, run again: it goes on where it was.",
        ) from error

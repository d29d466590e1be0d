"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
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
# What to do about one that is gone, or that ComfyUI may not read.
_UNREADABLE = {
    "dataset": "let ComfyUI read the folder, or run SwD Teacher Dataset again, which makes only what is missing.",
    "checkpoint": "let ComfyUI read it, or delete it and run again: the training starts over.",
}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file. A process that is killed meanwhile leaves the old file, or none.

    Raises:
        InputError: another program keeps the old file, or the disk takes no new one.
    """
    plain = {name: value.contiguous().cpu() for name, value in tensors.items()}
    _write(path, lambda partial: save_file(plain, partial, dict(metadata or {})))


def read_tensors(path: Path, whole: str, *needed: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file of a dataset or a checkpoint, which may be replaced while they are in
    use.

    Raises:
        InputError: a damaged file, one without the tensors that are `needed`, or one that is gone.
    """
    try:
        with safe_open(path, framework="pt") as file:
            # What safetensors gives is the mapped file itself, and Windows refuses to replace a file that is mapped.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 - a safe_open is no dict
            metadata = dict(file.metadata() or {})
    except SafetensorError as error:
        raise damaged(path, whole, error) from error
    except OSError as error:
        raise _unreadable(path, whole, error) from error
    lacking = [name for name in needed if name not in tensors]
    if lacking:
        raise damaged(path, whole, f"no {' and no '.join(lacking)}")
    return tensors, metadata


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a dataset. Raises InputError as `read_tensors` does."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _unreadable(path, "dataset", error) from error
    except ValueError as error:
        raise damaged(path, "dataset", error) from error
    if not isinstance(value, dict):
        raise damaged(path, "dataset", repr(value)[:100])
    return value


def damaged(path: Path, whole: str, found: object) -> InputError:
    """What to say of a file that is not as it was written: the disk, a copy or a loss of power may have cut it off."""
    return InputError(
        f"{whole}: {path.name} is damaged.",
        found=f"{found}, in {path}",
        allowed="the file as it was written",
        remedy=_REMEDIES[whole],
    )


def _unreadable(path: Path, whole: str, error: OSError) -> InputError:
    """What to say of a file that was there a moment ago: a run reads each picture when it is its turn."""
    return InputError(
        f"{whole}: {path.name} cannot be read.",
        found=f"{error}, at {path}",
        allowed="a file that is there and that ComfyUI may read",
        remedy=_UNREADABLE[whole],
    )


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file as `write_tensors` does it."""
    text = json.dumps(value, indent=2) + "\n"
    _write(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def _write(path: Path, write: Callable[[Path], object]) -> None:
    partial = path.with_name(path.name + PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
    # A full disk is an error of safetensors where safetensors writes.
    except (OSError, SafetensorError) as error:
        _forget(partial)
        raise InputError(
            f"{path.parent.name}: {path.name} cannot be written.",
            found=f"{error}, at {path}",
            allowed="a folder that ComfyUI may write to, on a disk with room for it",
            remedy="make room on the disk or let ComfyUI write there, and run again: it goes on from what was saved.",
        ) from error
    _replace(partial, path)


def _replace(partial: Path, path: Path) -> None:
    try:
        os.replace(partial, path)
    except PermissionError as error:
        # On Windows whoever has a file mapped keeps it, such as a model with this LoRA on it.
        _forget(partial)
        raise InputError(
            f"{path.parent.name}: {path.name} cannot be replaced.",
            found=error,
            allowed="a file that no program uses and that may be written",
            remedy="unload the models in ComfyUI, close what else uses the file, run again: it goes on where it was.",
        ) from error


def _forget(partial: Path) -> None:
    # What is left of it would keep room of a full disk; where nothing can be removed there is more to say of than this.
    with contextlib.suppress(OSError):
        partial.unlink(missing_ok=True)

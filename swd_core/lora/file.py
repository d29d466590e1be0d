"""LoRA files on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import InputError

CONFIG_NAME = "adapter_config.json"
_PEFT_STEM, _PEFT_PREFIX = "adapter_model", "base_model.model."
_SUFFIXES = (".safetensors", ".sft")
_PICKLE_STARTS = (b"\x80", b"PK")
_LARGEST_CONFIG = 1 << 20
# What safetensors raises for a file that is none, and torch for a shape that no tensor has.
_UNREADABLE = (SafetensorError, OSError, OverflowError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class LoraFile:
    """A LoRA as it was read: tensors by key, metadata of the header, and the PEFT configuration beside it, if any.

    `foreign_config`: there is a configuration in the folder, but nothing says that it is this file's.
    """

    name: str
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    config: dict[str, Any] | None
    foreign_config: bool = False


def read_lora(path: Path, name: str) -> LoraFile:
    """Read a safetensors LoRA and the PEFT configuration beside it. `name` is what messages call the file.

    Raises:
        InputError: not a safetensors file (a pickle is never opened), a damaged one, or a configuration that is no
        JSON.
    """
    pickle = _starts_like_pickle(path, name)
    if pickle or path.suffix.lower() not in _SUFFIXES:
        raise InputError(
            f"lora_name: {name} is not a safetensors file.",
            found="a file that only Python's pickle can read" if pickle else f"a {path.suffix} file",
            allowed="safetensors files, which cannot run code",
            remedy="download adapter_model.safetensors instead.",
        )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - a safe_open is no dict
            metadata = dict(file.metadata() or {})
    except _UNREADABLE as error:
        raise InputError(
            f"lora_name: {name} is damaged.",
            found=str(error)[:200],
            allowed="a complete safetensors file",
            remedy="download the file again.",
        ) from error
    config = config_path(path)
    if config.name == CONFIG_NAME and config.is_file() and not _owns_folder(path, tensors):
        return LoraFile(name, tensors, metadata, None, foreign_config=True)
    return LoraFile(name, tensors, metadata, _read_config(config, name))


def _owns_folder(path: Path, tensors: Mapping[str, Tensor]) -> bool:
    """Whether the configuration of a folder can be that of a LoRA file in it: the file has PEFT's name, or PEFT's
    names inside, or is the only one there. In a folder of many LoRAs it would change the scale of all others."""
    if path.stem == _PEFT_STEM or any(key.startswith(_PEFT_PREFIX) for key in tensors):
        return True
    return not any(other.suffix.lower() in _SUFFIXES and other.name != path.name for other in path.parent.iterdir())


def config_path(path: Path) -> Path:
    """Where the PEFT configuration of a LoRA file is, or would be: under the file's own name, else the folder's."""
    own = path.with_name(f"{path.stem}.{CONFIG_NAME}")
    return own if own.is_file() else path.with_name(CONFIG_NAME)


def _starts_like_pickle(path: Path, name: str) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise InputError(
            f"lora_name: {name} cannot be read.",
            found=str(error),
            allowed="a file that ComfyUI may open",
            remedy="check that it is still there and that ComfyUI may read it.",
        ) from error
    # A safetensors file starts with the size of its header, which may be any bytes, and then the header's bracket.
    return start.startswith(_PICKLE_STARTS) and start[8:] != b"{"


def read_json(text: str) -> object:
    """What a JSON text says, or the error that says why it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return error


def _read_config(path: Path, name: str) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    config = _read_text(path)
    if not isinstance(config, dict):
        raise InputError(
            f"lora_name: {CONFIG_NAME} beside {name} is not a PEFT configuration.",
            found=str(config)[:200],
            allowed="the JSON object that PEFT wrote",
            remedy="download the file again, or remove it to use scale 1.",
        )
    return config


def _read_text(path: Path) -> object:
    if path.stat().st_size > _LARGEST_CONFIG:
        return f"a file of {path.stat().st_size} bytes"
    try:
        return read_json(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        return error

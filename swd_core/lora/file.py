"""LoRA files on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import InputError

CONFIG_NAME = "adapter_config.json"
_SUFFIXES = (".safetensors", ".sft")
_PICKLE_STARTS = (b"\x80", b"PK")


@dataclass(frozen=True)
class LoraFile:
    """A LoRA as it was read: tensors by key, metadata of the header, and the PEFT configuration beside it, if any."""

    name: str
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    config: dict[str, Any] | None


def read_lora(path: Path, name: str) -> LoraFile:
    """Read a safetensors LoRA and the PEFT configuration beside it. `name` is what messages call the file.

    Raises:
        InputError: not a safetensors file (a pickle is never opened), a damaged one, or a configuration that is no
        JSON.
    """
    if path.suffix.lower() not in _SUFFIXES or _starts_like_pickle(path):
        raise InputError(
            f"lora_name: {name} is not a safetensors file.",
            found="a file that only Python's pickle can read" if _starts_like_pickle(path) else f"a {path.suffix} file",
            allowed="safetensors files, which cannot run code",
            remedy="download adapter_model.safetensors instead.",
        )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - a safe_open is no dict
            metadata = dict(file.metadata() or {})
    except SafetensorError as error:
        raise InputError(
            f"lora_name: {name} is damaged.",
            found=str(error),
            allowed="a complete safetensors file",
            remedy="download the file again.",
        ) from error
    return LoraFile(name, tensors, metadata, _read_config(config_path(path), name))


def config_path(path: Path) -> Path:
    """Where the PEFT configuration of a LoRA file is, or would be: under the file's own name, else the folder's."""
    own = path.with_name(f"{path.stem}.{CONFIG_NAME}")
    return own if own.is_file() else path.with_name(CONFIG_NAME)


def _starts_like_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2).startswith(_PICKLE_STARTS)


def _read_config(path: Path, name: str) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        config = error
    if not isinstance(config, dict):
        raise InputError(
            f"lora_name: {CONFIG_NAME} beside {name} is not a PEFT configuration.",
            found=str(config)[:200],
            allowed="the JSON object that PEFT wrote",
            remedy="download the file again, or remove it to use scale 1.",
        )
    return config

"""A LoRA file, written again in the form that every loader takes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file

from ..errors import InputError
from .file import LoraFile
from .metadata import HASH_KEY, standard_metadata
from .standard import standard_tensors

# As long as a hash, which takes its place once the tensors are on disk.
_NO_HASH = "0x" + "0" * 64
_CHUNK = 1 << 22


def convert_lora(lora: LoraFile, out: Path) -> str:
    """Write a LoRA in the common form and report what was written. A file is there whole or not at all.

    Raises:
        InputError: the LoRA cannot be written in that form, or `out` is no name for a new safetensors file.
    """
    _check_free(out)
    tensors = standard_tensors(lora)
    metadata = {**standard_metadata(lora), HASH_KEY: _NO_HASH}
    partial = out.with_name(f".{out.name}.partial")
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata)
        _write_hash(partial)
        os.replace(partial, out)
    except (SafetensorError, OSError) as error:
        raise _cannot_write(out, str(error)) from error
    finally:
        partial.unlink(missing_ok=True)
    pairs = sum(name.endswith(".alpha") for name in tensors)
    return f"{lora.name} -> {out.name}: {pairs} pairs with alpha, {metadata['modelspec.architecture']}"


def _check_free(out: Path) -> None:
    try:
        exists = out.exists()
    except OSError as error:
        raise _cannot_write(out, str(error)) from error
    if out.suffix != ".safetensors" or not out.parent.is_dir() or exists:
        raise _cannot_write(out, str(out), "exists already" if exists else "cannot be written")


def _cannot_write(out: Path, found: str, problem: str = "cannot be written") -> InputError:
    return InputError(
        f"{out.name[:100]} {problem}.",
        found=found[:300],
        allowed="the name of a new .safetensors file in a folder that exists, on a disk with room for it",
        remedy="choose another name, or make room.",
    )


def _write_hash(path: Path) -> None:
    """Put the SHA-256 of the tensor data into the header, where the model spec wants it."""
    with path.open("r+b") as file:
        header_size = int.from_bytes(file.read(8), "little")
        header = file.read(header_size)
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        file.seek(8 + header.index(_NO_HASH.encode()))
        file.write(f"0x{digest.hexdigest()}".encode())

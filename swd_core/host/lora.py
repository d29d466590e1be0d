"""LoRA files on a ComfyUI MODEL, as they were published."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import folder_paths

from ..errors import InputError
from ..lora.file import CONFIG_NAME, LoraFile, config_path, read_lora
from ..lora.metadata import trained_schedule
from ..presets import preset_of_lora
from .checks import check_numbers
from .facts import LORA_ATTACHMENT, SCHEDULE_ATTACHMENT, read_facts
from .lora_patches import LoraPatches, build_patches
from .progress import announce, errors_announced

logger = logging.getLogger("swd")


def lora_names() -> list[str]:
    """The LoRA files that ComfyUI lists."""
    return list(folder_paths.get_filename_list("loras"))


def lora_path(name: str) -> Path:
    """The file of a listed LoRA. A shared workflow may carry the path separator of another system.

    Raises:
        InputError: ComfyUI lists no such file; a path of any other kind is never opened.
    """
    wanted = str(name).replace("\\", "/")
    listed = next((listed for listed in lora_names() if listed.replace("\\", "/") == wanted), None)
    # A link that leads nowhere is listed too.
    path = folder_paths.get_full_path("loras", listed) if listed else None
    if path is None:
        raise InputError(
            f"lora_name: {str(name)[:200]} is not in models/loras.",
            found=repr(name)[:200],
            allowed=_listed() or "nothing yet: models/loras is empty",
            remedy="put the file there and press R in ComfyUI.",
        )
    return Path(path)


def _listed() -> str:
    names = lora_names()
    rest = f" and {len(names) - 8} more" if names[8:] else ""
    return ", ".join(names[:8]) + rest


def lora_fingerprint(name: str) -> str:
    """Changes whenever the LoRA file does, the configuration beside it, or whether that one counts for it."""
    path = lora_path(name)
    config = config_path(path)
    # That depends on what else is in the folder.
    others = [path.parent] if config.name == CONFIG_NAME and config.is_file() else []
    return " ".join(str(file.stat().st_mtime_ns) for file in (path, config, *others) if file.exists())


@errors_announced()
def load_lora(model: Any, name: str, strength: float) -> tuple[Any, str]:
    """Apply a LoRA of `models/loras` to a clone of a ModelPatcher and report what was loaded.

    The file may have PEFT's names (`base_model.model.*`) or any that ComfyUI itself takes. The clone remembers the
    name of an SwD LoRA and the schedule in its header, by which the preset `auto` finds its schedule.

    Raises:
        InputError: the file is not there or wrong, nothing in it fits the model, or a layer has another shape.
    """
    check_numbers(strength_model=strength)
    patched, report = apply_lora(model, read_lora(lora_path(name), name), strength)
    announce(report)
    return patched, report


def apply_lora(model: Any, lora: LoraFile, strength: float) -> tuple[Any, str]:
    """`load_lora` for a file that was read already."""
    name = lora.name
    family = read_facts(model.model).family
    built = build_patches(lora, model, family)
    clone = model.clone()
    missed = set(built.patches) - set(clone.add_patches(built.patches, strength))
    built.left_out += sorted(str(target) for target in missed)
    trained = trained_schedule(lora.metadata)
    is_swd = trained is not None or preset_of_lora(name) is not None
    # A style LoRA on top says nothing about the schedule.
    if is_swd:
        clone.set_attachments(LORA_ATTACHMENT, name)
        clone.set_attachments(SCHEDULE_ATTACHMENT, trained)
    report = _report(built, family)
    # Scale 1 is right for most files that tell none, but for no published SwD LoRA.
    doubtful = built.left_out or (is_swd and built.scale_assumed)
    logger.log(logging.WARNING if doubtful else logging.INFO, "%s: %s", name, report)
    return clone, report


def _report(built: LoraPatches, family: str) -> str:
    low, high = (f"{scale:.4g}" for scale in (min(built.scales, default=1.0), max(built.scales, default=1.0)))
    scale = f"scale {float(low)}" if low == high else f"scales {low} to {high}"
    parts = [f"loaded {built.loaded} of {built.total} pairs, {scale} {built.scale_source}, {family}"]
    parts += [f"{count} {kind}" for kind, count in built.extras.items()]
    if built.left_out:
        rest = f" and {len(built.left_out) - 3} more" if built.left_out[3:] else ""
        parts.append(f"NOT loaded: {', '.join(name[:100] for name in built.left_out[:3])}{rest}")
    return "; ".join(parts)

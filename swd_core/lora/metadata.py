"""What the header of a LoRA file says about it: the schedule it was trained for, and Stability AI's model spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..errors import InputError
from ..family import FLUX_DEV, SD35_LARGE, SD35_MEDIUM, SDXL
from ..parse import parse_numbers
from ..presets import Preset, preset_of_lora
from ..schedule import SCALES_EXAMPLE, TIMESTEPS_EXAMPLE, check_lists
from .file import LoraFile
from .layers import guess_family, parse_layers

SCALES_KEY = "swd.scales"
TIMESTEPS_KEY = "swd.timesteps"
SOURCE_KEY = "swd.source"
HASH_KEY = "modelspec.hash_sha256"

# Scale settings that no longer hold once the scale is in the weights.
_SPENT = ("lora_adapter_metadata", "lora_alpha", "r", "format")

# Ids of the model spec (github.com/Stability-AI/ModelSpec), as kohya's scripts and SwarmUI write them.
_ARCHITECTURES = {
    SD35_MEDIUM: "stable-diffusion-v3.5-medium/lora",
    SD35_LARGE: "stable-diffusion-v3.5-large/lora",
    FLUX_DEV: "flux-1-dev/lora",
    SDXL: "stable-diffusion-xl-v1-base/lora",
    "FLUX": "flux-1-dev/lora",
    "SD3.5": "stable-diffusion-3/lora",
    "SD3": "stable-diffusion-3/lora",
    "SDXL or SD1.5": "stable-diffusion-v1/lora",
}


@dataclass(frozen=True)
class TrainedSchedule:
    """Scales and timesteps that a LoRA says it was trained for; the numbers mean what they do in a schedule."""

    scales: tuple[float, ...]
    timesteps: tuple[float, ...]


def trained_schedule(metadata: Mapping[str, str]) -> TrainedSchedule | None:
    """The schedule in a LoRA's header; None if there is none. Raises InputError for lists that make none."""
    if SCALES_KEY not in metadata or TIMESTEPS_KEY not in metadata:
        return None
    names = f"{SCALES_KEY} in the file", f"{TIMESTEPS_KEY} in the file"
    scales = parse_numbers(metadata[SCALES_KEY], names[0], SCALES_EXAMPLE)
    timesteps = parse_numbers(metadata[TIMESTEPS_KEY], names[1], TIMESTEPS_EXAMPLE)
    return TrainedSchedule(scales, tuple(check_lists(scales, timesteps, *names)))


def schedule_metadata(scales: Sequence[float], timesteps: Sequence[float]) -> dict[str, str]:
    """The header entries from which `trained_schedule` reads a schedule again."""
    return {SCALES_KEY: _join(scales), TIMESTEPS_KEY: _join(timesteps)}


def standard_metadata(lora: LoraFile) -> dict[str, str]:
    """The header of a LoRA in the common form: what it had before, its source, its schedule and the model spec.

    Raises:
        InputError: the layers are of no known model.
    """
    preset = preset_of_lora(lora.name)
    kept = {key: value for key, value in lora.metadata.items() if key not in _SPENT}
    schedule = schedule_metadata(preset.scales, preset.timesteps) if preset else {}
    return {**_model_spec(lora, preset), **schedule, **kept, SOURCE_KEY: lora.name, "format": "pt"}


def _model_spec(lora: LoraFile, preset: Preset | None) -> dict[str, str]:
    family = preset.family if preset else guess_family(parse_layers(lora.tensors, lora.name))
    if family not in _ARCHITECTURES:
        raise InputError(
            f"lora_name: {lora.name} is not for a model that is known here.",
            found=f"layers of {family}",
            allowed="LoRAs for SD3.5, FLUX.1-dev or SDXL",
            remedy="keep using the file as it is.",
        )
    path = PurePosixPath(lora.name.replace("\\", "/"))
    plain = path.parent.name if path.stem == "adapter_model" and path.parent.name else path.stem
    spec = {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": _ARCHITECTURES[family],
        "modelspec.implementation": "diffusers",
        "modelspec.title": preset.lora if preset else plain,
    }
    if preset:
        spec["modelspec.author"] = "Yandex Research"
        spec["modelspec.description"] = (
            f"SwD (Scale-wise Distillation) LoRA for {family}, from the files of the hub repository {preset.lora}."
        )
        spec["modelspec.usage_hint"] = f"SwD Scale Schedule with the preset {preset.name}; cfg 1.0; strength 1.0"
        spec["modelspec.resolution"] = "1024x1024"
    return spec


def _join(numbers: Sequence[float]) -> str:
    # All digits: a scale that is rounded may make another size of a stage.
    return ", ".join(str(float(number)).removesuffix(".0") for number in numbers)

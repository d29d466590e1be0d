"""The schedule that a LoRA was trained for, in the metadata of its file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FAMILY_KEY = "swd.family"
SCALES_KEY = "swd.scales"
TIMESTEPS_KEY = "swd.timesteps"


@dataclass(frozen=True)
class LoraSchedule:
    """Scales and timesteps t in (0, 1] of a trained LoRA, and the family of the model it was trained on."""

    family: str
    scales: tuple[float, ...]
    timesteps: tuple[float, ...]


def schedule_metadata(family: str, scales: Sequence[float], timesteps: Sequence[float]) -> dict[str, str]:
    """Metadata entries that `read_schedule` finds again."""
    return {
        FAMILY_KEY: family,
        SCALES_KEY: json.dumps(list(scales)),
        TIMESTEPS_KEY: json.dumps(list(timesteps)),
    }


def read_schedule(metadata: Mapping[str, str]) -> LoraSchedule | None:
    """The schedule in the metadata of a LoRA file; None if there is none, or none that can be read."""
    scales, timesteps = (_numbers(metadata.get(key)) for key in (SCALES_KEY, TIMESTEPS_KEY))
    if not scales or not timesteps or len(scales) != len(timesteps):
        return None
    return LoraSchedule(metadata.get(FAMILY_KEY, ""), scales, timesteps)


def _numbers(text: str | None) -> tuple[float, ...]:
    try:
        values = json.loads(text) if text else []
    except json.JSONDecodeError:
        return ()
    plain = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    return tuple(map(float, values)) if plain else ()

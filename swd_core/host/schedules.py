"""Schedules for a ComfyUI MODEL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..family import ModelFacts
from ..parse import parse_numbers
from ..presets import AUTO, choose_preset, preset_of_schedule
from ..schedule import SCALES_EXAMPLE, TIMESTEPS_EXAMPLE, Schedule, custom_schedule, preset_schedule
from .facts import LORA_ATTACHMENT, SCHEDULE_ATTACHMENT, check_pictures, read_facts, sigma_of_timestep


def schedule_from_preset(model: Any, option: str) -> Schedule:
    """The schedule of a preset option for a ModelPatcher. Raises InputError as `choose_preset` does.

    `auto` believes the header of the LoRA on the model first: there a LoRA of one's own says what it was trained for.
    """
    facts, sigma_of = _time_axis(model)
    trained = model.attachments.get(SCHEDULE_ATTACHMENT) if option == AUTO else None
    if trained is None:
        preset = choose_preset(option, facts, model.attachments.get(LORA_ATTACHMENT))
        return preset_schedule(preset, facts, sigma_of)
    published = preset_of_schedule(trained.scales, trained.timesteps, facts.family)
    if published:
        return preset_schedule(published, facts, sigma_of)
    return custom_schedule(trained.scales, trained.timesteps, facts, sigma_of)


def schedule_from_text(model: Any, scales: str, timesteps: str) -> Schedule:
    """The schedule that two typed lists describe, for a ModelPatcher. Raises InputError for a wrong list."""
    return schedule_from_numbers(
        model,
        parse_numbers(scales, "scales", SCALES_EXAMPLE),
        parse_numbers(timesteps, "timesteps", TIMESTEPS_EXAMPLE),
    )


def schedule_from_numbers(model: Any, scales: Sequence[float], timesteps: Sequence[float]) -> Schedule:
    """The schedule of two lists, for a ModelPatcher. Raises InputError as `custom_schedule` does."""
    return custom_schedule(scales, timesteps, *_time_axis(model))


def sigmas_tensor(schedule: Schedule) -> Tensor:
    """The SIGMAS of a schedule: N + 1 float32 values on the CPU."""
    return torch.tensor(schedule.sigmas, dtype=torch.float32)


def _time_axis(model: Any) -> tuple[ModelFacts, Callable[[float], float]]:
    check_pictures(model.model)
    # Patches such as ModelSamplingDiscrete live on the patcher until the model is loaded.
    model_sampling = model.get_model_object("model_sampling")
    return read_facts(model.model), lambda timestep: sigma_of_timestep(model_sampling, timestep)

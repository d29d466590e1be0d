"""Schedules for a ComfyUI MODEL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..family import ModelFacts
from ..parse import parse_numbers
from ..presets import AUTO, choose_preset, preset_of_lora, preset_of_schedule
from ..schedule import CUSTOM, SCALES_EXAMPLE, TIMESTEPS_EXAMPLE, Schedule, custom_schedule, preset_schedule
from .facts import LORA_ATTACHMENT, SCHEDULE_ATTACHMENT, check_pictures, read_facts, sigma_of_timestep
from .progress import announce, errors_announced


@errors_announced()
def schedule_from_preset(model: Any, option: str) -> Schedule:
    """The schedule of a preset option for a ModelPatcher. Raises InputError as `choose_preset` does.

    The running node shows what `auto` chose and why, or that the LoRA on the model was made for another schedule.
    """
    facts, sigma_of = _time_axis(model)
    of_lora = schedule_of_lora(model)
    if option == AUTO and of_lora:
        announce(f"{_label(of_lora)}: made for {model.attachments[LORA_ATTACHMENT]}")
        return of_lora
    schedule = preset_schedule(choose_preset(option, facts), facts, sigma_of)
    if option == AUTO:
        announce(f"{schedule.name}: the default of {facts.family}; SwD LoRA Loader put no SwD LoRA on the model")
    else:
        announce(mismatch(model, schedule) or schedule.name)
    return schedule


def schedule_of_lora(model: Any) -> Schedule | None:
    """The schedule that the SwD LoRA on a ModelPatcher was made for; None if SwD LoRA Loader put none there.

    The header of the file counts before its name: there a LoRA of one's own says what it was trained for.
    """
    facts, sigma_of = _time_axis(model)
    name, trained = (model.attachments.get(key) for key in (LORA_ATTACHMENT, SCHEDULE_ATTACHMENT))
    if trained:
        published = preset_of_schedule(trained.scales, trained.timesteps, facts.family)
    else:
        published = preset_of_lora(name) if name else None
    if published and published.family == facts.family:
        return preset_schedule(published, facts, sigma_of)
    return custom_schedule(trained.scales, trained.timesteps, facts, sigma_of) if trained else None


def mismatch(model: Any, schedule: Schedule) -> str | None:
    """A sentence for a preset other than the one that the LoRA on a ModelPatcher was made for; None where all is well.

    A custom schedule is one's own choice.
    """
    of_lora = None if schedule.name == CUSTOM else schedule_of_lora(model)
    if of_lora is None or (of_lora.scales, of_lora.timesteps) == (schedule.scales, schedule.timesteps):
        return None
    return f"{schedule.name}, but {model.attachments[LORA_ATTACHMENT]} was made for {_label(of_lora)}"


def _label(schedule: Schedule) -> str:
    return "a schedule of its own" if schedule.name == CUSTOM else schedule.name


@errors_announced()
def schedule_from_text(model: Any, scales: str, timesteps: str) -> Schedule:
    """The schedule that two typed lists describe, for a ModelPatcher. Raises InputError for a wrong list.

    The running node shows how many steps they are.
    """
    schedule = schedule_from_numbers(
        model,
        parse_numbers(scales, "scales", SCALES_EXAMPLE),
        parse_numbers(timesteps, "timesteps", TIMESTEPS_EXAMPLE),
    )
    steps = len(schedule.scales)
    announce(f"{steps} step{'s' if steps > 1 else ''}")
    return schedule


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

"""What runs although it may not be what was meant: a warning in the log, and a line at the node."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from ..presets import PRESETS
from ..schedule import CUSTOM, Schedule
from ..stages import Stage
from .schedules import mismatch

logger = logging.getLogger("swd")


def remarks_on(
    model: Any, schedule: Schedule, stages: Sequence[Stage], knows_noise: bool, keeps_noise: bool
) -> list[str]:
    """Log what is odd about a run, and return it for the node.

    `knows_noise`: the noise that came in is ComfyUI's for the seed. `keeps_noise`: there was none, and a latent, which
    should hold it.
    """
    remarks = list(_find(model, schedule, stages, knows_noise, keeps_noise))
    for remark in remarks:
        logger.warning("SwD: %s", remark)
    return remarks


def _find(
    model: Any, schedule: Schedule, stages: Sequence[Stage], knows_noise: bool, keeps_noise: bool
) -> Iterator[str]:
    odd = mismatch(model, schedule)
    if odd:
        # The node shows the beginning of a long line alone.
        yield f"schedule: not that of the LoRA. It is {odd}."
    if schedule.name != CUSTOM and _has_published_lora(schedule) and not _may_have_lora(model):
        yield (
            "model: there is no LoRA on it. Without an SwD LoRA the picture comes out soft or wrong: connect SwD LoRA "
            "Loader, unless one is merged into the model."
        )
    if not knows_noise:
        yield (
            "noise: only its seed is used, as it is not what Random Noise draws for that seed, or its batch_index is "
            "too large to be found. Each step draws its own noise; pictures count by their place in the batch."
        )
    first = stages[0]
    if keeps_noise and first.size != stages[-1].size:
        yield (
            f"latent_image: the noise in it is averaged away as it shrinks to {first.width} x {first.height} for the "
            "first step. Connect Random Noise instead of DisableNoise, or begin with a step of full size."
        )


def _has_published_lora(schedule: Schedule) -> bool:
    return any(preset.family == schedule.model.family for preset in PRESETS)


def _may_have_lora(model: Any) -> bool:
    """Whether something changes the weights of a ModelPatcher, or may: other packs' models do not tell."""
    own = type(model.model.diffusion_model).__module__.startswith("comfy.")
    return not own or any((model.patches, model.injections, model.hook_patches))

"""A scale schedule: which size and which noise level each step runs at."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .errors import InputError
from .family import ModelFacts
from .presets import Preset

# The name of a schedule that is no preset.
CUSTOM = "custom"
SCALES_EXAMPLE = "64, 80, 96, 128"
TIMESTEPS_EXAMPLE = "1.0, 0.8959, 0.7371, 0.6022"
_LARGEST_SCALE = 1e6
# How many numbers of a list a message shows.
_SHOWN = 64


@dataclass(frozen=True)
class Schedule:
    """N steps: step i predicts the clean latent at scale `scales[i]` and noise level `sigmas[i]`.

    `scales`: only their ratios to the last one matter; the last one stands for the target size. `timesteps`: t in (0,
    1]. `sigmas`: N + 1 noise levels in the model's own terms, the last one 0.
    """

    name: str
    scales: tuple[float, ...]
    timesteps: tuple[float, ...]
    sigmas: tuple[float, ...]
    model: ModelFacts

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Height and width of each step in latent pixels, for a target of height x width latent pixels."""
        target = (height, width)
        sizes = [(self._side(height, scale), self._side(width, scale)) for scale in self.scales[:-1]]
        return [*sizes, target]

    def _side(self, target: int, scale: float) -> int:
        multiple = self.model.multiple
        return max(multiple, math.floor(target * scale / self.scales[-1] / multiple + 0.5) * multiple)

    def first_step(self, denoise: float) -> int:
        """The step that a run with this denoise starts at: the first whose timestep is not above it, else the last."""
        return next((i for i, t in enumerate(self.timesteps) if t <= denoise), len(self.timesteps) - 1)


def preset_schedule(preset: Preset, model: ModelFacts, sigma_of: Callable[[float], float]) -> Schedule:
    """The schedule of a preset for a model whose `sigma_of` maps a timestep t in (0, 1] to a sigma."""
    return _schedule(preset.name, preset.scales, preset.timesteps, model, sigma_of)


def custom_schedule(
    scales: Sequence[float], timesteps: Sequence[float], model: ModelFacts, sigma_of: Callable[[float], float]
) -> Schedule:
    """A schedule of one's own. A closing 0 in `timesteps` is allowed and means nothing more.

    Raises:
        InputError: lengths that differ, scales that fall or are not positive, timesteps that do not fall within (0, 1].
    """
    timesteps = check_lists(scales, timesteps)
    return _schedule(CUSTOM, scales, timesteps, model, sigma_of)


def check_lists(
    scales: Sequence[float], timesteps: Sequence[float], scales_name: str = "scales", timesteps_name: str = "timesteps"
) -> Sequence[float]:
    """Check the two lists of a schedule, under the names that messages call them; returns timesteps without closing 0.

    Raises:
        InputError: as `custom_schedule` does.
    """
    if len(timesteps) > 1 and timesteps[-1] == 0:
        timesteps = timesteps[:-1]
    _check_scales(scales, scales_name)
    _check_timesteps(timesteps, timesteps_name)
    if len(scales) != len(timesteps):
        raise InputError(
            f"{scales_name} and {timesteps_name}: their lengths differ, {len(scales)} and {len(timesteps)}.",
            found=f"scales {_show(scales)}; timesteps {_show(timesteps)}",
            allowed="one timestep for each scale (a closing 0 does not count)",
            remedy="make both lists equally long.",
        )
    return timesteps


def _schedule(
    name: str,
    scales: Sequence[float],
    timesteps: Sequence[float],
    model: ModelFacts,
    sigma_of: Callable[[float], float],
) -> Schedule:
    sigmas = (*(sigma_of(t) for t in timesteps), 0.0)
    return Schedule(name, tuple(map(float, scales)), tuple(map(float, timesteps)), sigmas, model)


def _check_scales(scales: Sequence[float], name: str) -> None:
    problem, remedy = None, "write sizes or factors, such as 1, 2, 4: only the ratios to the last number matter."
    if min(scales) <= 0:
        problem = f"{name}: {min(scales):g} is not above 0."
    elif max(scales) > _LARGEST_SCALE:
        problem = f"{name}: {max(scales):g} is above {_LARGEST_SCALE:.0f}."
    elif any(after < before for before, after in itertools.pairwise(scales)):
        problem, remedy = f"{name}: they must not fall.", "sort the list from small to large. Decimals have a point."
    if problem:
        raise InputError(
            problem,
            found=_show(scales),
            allowed=f"positive numbers from small to large, the last for the full size, such as {SCALES_EXAMPLE}",
            remedy=remedy,
        )


def _check_timesteps(timesteps: Sequence[float], name: str) -> None:
    problem, remedy = None, "divide timesteps such as 896 by 1000. Decimals have a point."
    outside = [t for t in timesteps if not 0 < t <= 1]
    if outside:
        problem = f"{name}: {outside[0]:g} is not above 0 and at most 1."
    elif any(after >= before for before, after in itertools.pairwise(timesteps)):
        problem = f"{name}: each must be below the one before."
        remedy = "list them from noisy to clean, each only once. Decimals have a point."
    if problem:
        raise InputError(
            problem,
            found=_show(timesteps),
            allowed=f"t in (0, 1], falling, such as {TIMESTEPS_EXAMPLE}; a closing 0 is allowed",
            remedy=remedy,
        )


def _show(values: Sequence[float]) -> str:
    shown = ", ".join(f"{value:g}" for value in values[:_SHOWN])
    return f"{shown} and {len(values) - _SHOWN} more" if values[_SHOWN:] else shown

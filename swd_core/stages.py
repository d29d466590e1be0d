"""The stages of one run: a schedule applied to a target size and to the sigmas that came in."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import InputError
from .schedule import Schedule

_REMEDY = "connect the sigmas output of the node that made the schedule."


@dataclass(frozen=True)
class Stage:
    """One step of a run: number `index` from 0, at `height` x `width` latent pixels and noise level `sigma`."""

    index: int
    height: int
    width: int
    sigma: float

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width


def plan_stages(schedule: Schedule, sigmas: Sequence[float], height: int, width: int) -> list[Stage]:
    """The stages of a run over `sigmas` for a target of height x width latent pixels.

    `sigmas` is the schedule's own list, a tail of it (img2img: the run starts at the stage that the tail starts at), or
    any other list of N + 1 noise levels for N steps, which is used as it is.

    Raises:
        InputError: any other length.
    """
    steps = len(sigmas) - 1
    first = _first_step(schedule, sigmas)
    sizes = schedule.sizes(height, width)[first:]
    return [Stage(i, *sizes[i], sigmas[i]) for i in range(steps)]


def check_sigmas(sigmas: Sequence[float], top: float) -> None:
    """Refuse sigmas that are no noise levels of a model whose highest one is `top`, falling from first to last.

    Raises:
        InputError
    """
    problem = None
    unsound = [sigma for sigma in sigmas if not math.isfinite(sigma) or sigma < 0]
    if unsound:
        problem = f"sigmas: {unsound[0]:.4g} is not a noise level."
    elif any(after > before for before, after in itertools.pairwise(sigmas)):
        problem = "sigmas: they must not rise."
    # Published lists round the highest level up or down.
    elif sigmas and sigmas[0] > 1.01 * top:
        problem = f"sigmas: {sigmas[0]:.4g} is above {top:.4g}, the highest noise level of this model."
    elif len(sigmas) > 1 and sigmas[0] == sigmas[-1]:
        problem = "sigmas: they must fall."
    if problem:
        raise InputError(
            problem,
            found=_show(sigmas),
            allowed=f"noise levels of this model, falling, from at most {top:.4g} down to 0",
            remedy=_REMEDY,
        )


def _first_step(schedule: Schedule, sigmas: Sequence[float]) -> int:
    own = schedule.sigmas
    first = len(own) - len(sigmas)
    # float32 sigmas differ from our floats in the seventh digit.
    is_tail = (
        first >= 0
        and len(sigmas) > 1
        and all(math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6) for a, b in zip(sigmas, own[first:], strict=True))
    )
    if first == 0 or is_tail:
        return first
    raise InputError(
        f"sigmas: {len(sigmas)} values for a schedule of {len(own)}.",
        found=_show(sigmas),
        allowed=f"the {len(own)} sigmas of the schedule ({schedule.name}), or its last ones",
        remedy=_REMEDY,
    )


def _show(sigmas: Sequence[float]) -> str:
    return ", ".join(f"{sigma:.4g}" for sigma in sigmas[:64]) or "nothing"

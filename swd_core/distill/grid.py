"""The grids of timesteps that noise levels are drawn from, as upstream trained with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError

Range = tuple[int, int]


@dataclass(frozen=True)
class TimestepGrid:
    """Falling timesteps t in (0, 1], and where on them the losses add their noise.

    `boundaries`: index of the timestep that each stage starts at, and the end. `mmd` and `dmd`: first and last index
    (not included) of the noise levels of these two losses.
    """

    name: str
    timesteps: tuple[float, ...]
    boundaries: tuple[int, ...]
    mmd: Range
    dmd: Range

    def stage_timesteps(self) -> tuple[float, ...]:
        """The timestep of each stage."""
        return tuple(self.timesteps[index] for index in self.boundaries[:-1])

    def values(self, span: Range | None = None) -> tuple[float, ...]:
        """The timesteps of a range of indices, all of them without one.

        Raises:
            InputError: a range that holds nothing or goes past the grid.
        """
        first, end = span or (0, len(self.timesteps))
        if not 0 <= first < end <= len(self.timesteps):
            raise InputError(
                "noise range: it does not lie on the grid.",
                found=f"{first} to {end}",
                allowed=f"first < end, within 0 to {len(self.timesteps)} ({self.name})",
                remedy="leave the range empty for upstream's own.",
            )
        return self.timesteps[first:end]


def shifted(values: Sequence[float], shift: float) -> list[float]:
    """The timestep shift of SD3 (arXiv 2403.03206, equation 23)."""
    return [shift * value / (1 + (shift - 1) * value) for value in values]


def _even(first: float, last: float, count: int) -> list[float]:
    return [first + (last - first) * index / (count - 1) for index in range(count)]


def _flow_grid(name: str, last: float) -> TimestepGrid:
    # yandex-research/swd @9c51e19: main.py and train_sd35_medium.sh.
    return TimestepGrid(name, tuple(shifted(_even(1.0, last, 28), 3.0)), (0, 7, 14, 18, 28), (18, 28), (12, 28))


# FlowMatchEulerDiscreteScheduler shifts its smallest sigma, 0.001, once when it is built and again with all the others.
SD3_GRID = _flow_grid("28 steps, shift 3", shifted([0.001], 3.0)[0])
FLUX_GRID = _flow_grid("28 steps, shift 3, FLUX", 0.001)
# Upstream published no SDXL training code. The paper adds MMD noise at t below 400 there (appendix A), and its stages
# start at t = 1000, 800, 600, 400; the DMD range is our own, for SDXL-SwD was trained without DMD.
DDPM_GRID = TimestepGrid("25 even steps", tuple(_even(1.0, 0.04, 25)), (0, 5, 10, 15, 25), (15, 25), (7, 25))

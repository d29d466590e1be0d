"""SIGMAS that do not belong to the schedule, or to no model at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from comfy_extras.nodes_custom_sampler import BasicScheduler, KarrasScheduler, SDTurboScheduler
from reference import make_text
from refusals import refused, same_picture, unchanged
from running import advanced, conditioning, empty_latent

THREE = ("64, 80, 128", "1.0, 0.7, 0.4")


@pytest.fixture(scope="module", autouse=True)
def as_before(swd, load) -> Iterator[None]:
    with same_picture(swd, load("flux"), "flux"):
        yield


def run(swd: dict[str, Any], model: Any, family: str, sigmas: torch.Tensor) -> torch.Tensor:
    positive = conditioning(family, make_text(family))
    return advanced(swd, model, positive, empty_latent(family, (16, 16)), 1, THREE, sigmas=sigmas)["samples"]


NUMBERS = [
    ([0.0], "sigmas: 1 values for a schedule of 4."),
    ([1.0, 0.0], "sigmas: 2 values for a schedule of 4."),
    ([1.0, 0.5, 0.0], "sigmas: 3 values for a schedule of 4."),
    ([0.7, 0.5, 0.0], "sigmas: 3 values for a schedule of 4."),
    ([0.7, 0.4, 0.1], "sigmas: 3 values for a schedule of 4."),
    ([1.0, 0.8, 0.6, 0.4, 0.0], "sigmas: 5 values for a schedule of 4."),
    ([1 - i / 64 for i in range(65)], "sigmas: 65 values for a schedule of 4."),
    ([math.nan, 0.7, 0.4, 0.0], "sigmas: nan is not a noise level."),
    ([1.0, 0.7, 0.4, math.nan], "sigmas: nan is not a noise level."),
    ([math.inf, 0.7, 0.4, 0.0], "sigmas: inf is not a noise level."),
    ([1.0, 0.7, -math.inf, 0.0], "sigmas: -inf is not a noise level."),
    ([1.0, -0.7, 0.4, 0.0], "sigmas: -0.7 is not a noise level."),
    ([1.0, 0.7, 0.4, -0.1], "sigmas: -0.1 is not a noise level."),
    ([0.0, 0.4, 0.7, 1.0], "sigmas: they must not rise."),
    ([0.4, 0.7, 0.2, 0.0], "sigmas: they must not rise."),
    ([1.0, 1.0, 1.0, 1.0], "sigmas: they must fall."),
    ([0.0, 0.0, 0.0, 0.0], "sigmas: they must fall."),
    ([14.6, 5.1, 2.3, 0.0], "sigmas: 14.6 is above 1, the highest noise level of this model."),
    ([1.02, 0.7, 0.4, 0.0], "sigmas: 1.02 is above 1, the highest noise level of this model."),
]


@pytest.mark.parametrize(("sigmas", "first_line"), NUMBERS)
def test_wrong_numbers(swd, load, sigmas: list[float], first_line: str) -> None:
    with unchanged(load("flux")):
        refused(lambda: run(swd, load("flux"), "flux", torch.tensor(sigmas)), first_line)


def test_no_list_at_all(swd, load) -> None:
    refused(lambda: run(swd, load("flux"), "flux", torch.ones(1, 4)), "sigmas: it is not a list of numbers.")


FOREIGN = [
    ("flux", "sdxl", lambda model: BasicScheduler.execute(model, "karras", 3, 1.0),
     "sigmas: 14.61 is above 1, the highest noise level of this model."),
    ("sd35_large", "sdxl", lambda model: SDTurboScheduler.execute(model, 3, 1.0),
     "sigmas: 14.61 is above 1, the highest noise level of this model."),
    ("flux", "flux", lambda model: KarrasScheduler.execute(3, 14.6, 0.03, 7.0),
     "sigmas: 14.6 is above 1, the highest noise level of this model."),
    ("sdxl", "sdxl", lambda model: KarrasScheduler.execute(3, 80.0, 0.03, 7.0),
     "sigmas: 80 is above 14.61, the highest noise level of this model."),
    ("flux", "flux", lambda model: BasicScheduler.execute(model, "simple", 20, 1.0),
     "sigmas: 21 values for a schedule of 4."),
    ("flux", "flux", lambda model: BasicScheduler.execute(model, "beta", 4, 0.5),
     "sigmas: 5 values for a schedule of 4."),
]  # fmt: skip


@pytest.mark.parametrize(("family", "model_of", "schedule", "first_line"), FOREIGN)
def test_sigmas_of_another_scheduler_or_model(swd, load, family: str, model_of: str, schedule, first_line: str) -> None:
    sigmas = schedule(load(model_of)).result[0]
    refused(lambda: run(swd, load(family), family, sigmas), first_line)


USED = {
    "another scheduler of the same length": ("flux", lambda model: BasicScheduler.execute(model, "simple", 3, 1.0)),
    "a list that does not end in 0": ("flux", lambda model: torch.tensor([1.0, 0.7, 0.4, 0.1])),
    "a repeated level": ("flux", lambda model: torch.tensor([1.0, 1.0, 0.4, 0.0])),
    "flow sigmas for SDXL": ("sdxl", lambda model: torch.tensor([1.0, 0.7, 0.4, 0.0])),
    "a published list that rounds up": ("sdxl", lambda model: torch.tensor([14.615, 6.475, 3.861, 0.0])),
    "half precision": ("flux", lambda model: torch.tensor([1.0, 0.7, 0.4, 0.0]).half()),
    "a tail of the schedule": ("flux", lambda model: torch.tensor([0.7, 0.4, 0.0])),
}


@pytest.mark.parametrize("name", USED)
def test_other_sigmas_that_a_model_can_use_are_used_as_they_are(swd, load, name: str) -> None:
    family, make = USED[name]
    made = make(load(family))
    sigmas = made if isinstance(made, torch.Tensor) else made.result[0]
    assert torch.isfinite(run(swd, load(family), family, sigmas)).all()


@pytest.mark.parametrize("family", ["sd35_large", "flux", "sdxl"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_sigmas_of_another_precision_are_numbers_like_others(swd, load, family: str, dtype: torch.dtype) -> None:
    """ComfyUI's own samplers make float32 of them, as they multiply them by a tensor of the latent's type."""
    sigmas = torch.tensor([1.0, 0.7, 0.4, 0.0], dtype=dtype)
    model = load(family)
    assert torch.equal(run(swd, model, family, sigmas), run(swd, model, family, sigmas.float()))

"""What stands for an empty latent at a stage: None only where nobody but ComfyUI itself looks at it."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from reference import make_text
from running import advanced, conditioning, empty_latent

from nodes import ConditioningSetArea

FAMILY, PRESET, SIZE = "sd35_large", "SD3.5 Large, 4 steps", (16, 24)


class Guider(comfy.samplers.CFGGuider):
    """A guider as other packs write them: with an `inner_sample` of its own that relies on a latent."""

    def __init__(self, model: Any, positive: Any) -> None:
        super().__init__(model)
        self.inner_set_conds({"positive": positive})
        self.shapes: list[tuple[int, ...]] = []

    def inner_sample(self, noise: torch.Tensor, latent_image: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        assert torch.count_nonzero(latent_image) == 0
        self.shapes.append(tuple(latent_image.shape[-2:]))
        return super().inner_sample(noise, latent_image, *arguments, **named)


@pytest.fixture(scope="module")
def positive() -> list[Any]:
    return conditioning(FAMILY, make_text(FAMILY))


@pytest.fixture
def plain(swd, load, positive) -> torch.Tensor:
    return advanced(swd, load(FAMILY), positive, empty_latent(FAMILY, SIZE), 1, PRESET)["samples"]


def test_a_guider_of_another_pack_gets_zeros(swd, load, positive, plain) -> None:
    guider = Guider(load(FAMILY), positive)
    found = advanced(swd, guider.model_patcher, positive, empty_latent(FAMILY, SIZE), 1, PRESET, guider=guider)
    assert torch.equal(found["samples"], plain)
    assert guider.shapes == [SIZE, (8, 12), (10, 16), (12, 18), SIZE], "the target, then each stage"


def test_a_wrapper_of_another_pack_gets_zeros(swd, load, positive, plain) -> None:
    seen: list[tuple[tuple[int, ...], int]] = []

    def look(executor: Any, *arguments: Any) -> Any:
        latent = arguments[5]
        seen.append((tuple(latent.shape[-2:]), int(torch.count_nonzero(latent))))
        return executor(*arguments)

    model = load(FAMILY).clone()
    model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, "another pack", look)
    found = advanced(swd, model, positive, empty_latent(FAMILY, SIZE), 1, PRESET)
    assert torch.equal(found["samples"], plain)
    assert seen == [(size, 0) for size in (SIZE, (8, 12), (10, 16), (12, 18), SIZE)]


def test_comfyui_alone_gets_none_so_that_it_need_not_look(swd, load, positive, monkeypatch) -> None:
    """It asks the device whether a latent that it is given is empty."""
    given: list[bool] = []
    process = comfy.samplers.process_conds

    def look(*arguments: Any, **named: Any) -> Any:
        given.append(arguments[4] is not None)
        return process(*arguments, **named)

    monkeypatch.setattr(comfy.samplers, "process_conds", look)
    # An area is prepared at each stage, text alone is not.
    region = ConditioningSetArea().append(positive, 64, 64, 0, 0, 1.0)[0]
    advanced(swd, load(FAMILY), [*positive, *region], empty_latent(FAMILY, SIZE), 1, PRESET)
    assert given == [True, False, False, False, False]

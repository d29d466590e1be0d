"""Prompts of text alone are prepared once a run; whatever depends on a size, a step or another pack, at each stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_hooks import CreateHookLoraModelOnly, SetModelHooksOnCond
from reference import make_text
from running import advanced, all_in_one, conditioning, empty_latent
from swd_pack.swd_core.host.text_conditions import prepared_texts

from nodes import ConditioningSetArea, ConditioningSetMask, ConditioningSetTimestepRange

PRESETS = {
    "sd35_medium": "SD3.5 Medium, 4 steps",
    "sd35_large": "SD3.5 Large, 4 steps",
    "flux": "FLUX.1-dev, 4 steps",
    "sdxl": "SDXL, 4 steps",
}
SIZE, STAGES = (16, 24), 4
# What the nodes CLIPTextEncodeSDXL and FluxGuidance write into a prompt.
VALUES = {
    "sdxl": {"width": 768, "height": 512, "crop_w": 8, "crop_h": 16, "target_width": 640, "target_height": 384},
    "flux": {"guidance": 2.0},
}


@pytest.fixture
def prepared(monkeypatch) -> list[tuple[int, ...]]:
    """The shape of the noise each time ComfyUI prepares conditions."""
    shapes: list[tuple[int, ...]] = []
    process = comfy.samplers.process_conds

    def note(model: Any, noise: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        shapes.append(tuple(noise.shape[-2:]))
        return process(model, noise, *arguments, **named)

    monkeypatch.setattr(comfy.samplers, "process_conds", note)
    return shapes


def wrapped(model: Any) -> Any:
    """A model with another pack's wrapper round the sampler, which has to see each stage."""
    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, "another pack", lambda executor, *values: executor(*values))
    return clone


@pytest.mark.parametrize("family", PRESETS)
def test_a_run_with_text_alone_is_the_same_as_stage_by_stage(swd, load, prepared, family: str) -> None:
    positive = conditioning(family, make_text(family), **VALUES.get(family, {}))
    latent = empty_latent(family, SIZE, batch=2)
    once = advanced(swd, load(family), positive, latent, 3, PRESETS[family])["samples"]
    assert prepared == [SIZE]
    prepared.clear()
    each = advanced(swd, wrapped(load(family)), positive, latent, 3, PRESETS[family])["samples"]
    assert len(prepared) == 1 + STAGES
    assert torch.equal(once, each)


def test_so_is_one_with_guidance_and_prompts_for_a_part_of_the_time(swd, load, prepared) -> None:
    family = "sdxl"
    early, late, negative = (conditioning(family, make_text(family, seed)) for seed in (1, 2, 3))
    early = ConditioningSetTimestepRange().set_range(early, 0.0, 0.3)[0]
    late = ConditioningSetTimestepRange().set_range(late, 0.3, 1.0)[0]
    results = [
        all_in_one(
            swd, model, [*early, *late], empty_latent(family, SIZE), 3, PRESETS[family], negative=negative, cfg=2.0
        )["samples"]
        for model in (load(family), wrapped(load(family)))
    ]
    assert len(prepared) == 1 + 1 + STAGES
    assert torch.equal(*results)


def test_what_the_model_is_given_goes_to_the_device_once_a_run(load) -> None:
    """A meta device stands for one that is not the CPU."""
    family = "sdxl"
    guider = comfy.samplers.CFGGuider(load(family))
    guider.inner_set_conds({"positive": conditioning(family, make_text(family))})
    guider.inner_model = load(family).model
    noise = torch.zeros(1, 4, *SIZE)
    guider.conds = comfy.samplers.process_conds(guider.inner_model, noise, dict(guider.original_conds), noise.device)
    given = prepared_texts(guider, torch.device("meta"))["positive"][0]["model_conds"]
    assert {name: value.cond.device.type for name, value in given.items()} == {"y": "meta", "c_crossattn": "meta"}
    assert guider.conds["positive"][0]["model_conds"]["y"].cond.device.type == "cpu"


def area(positive: Any) -> Any:
    return [*positive, *ConditioningSetArea().append(positive, 64, 64, 0, 0, 0.5)[0]]


def mask(positive: Any) -> Any:
    return ConditioningSetMask().append(positive, torch.ones(1, *SIZE), "default", 1.0)[0]


def hook(positive: Any) -> Any:
    name = "swd-medium-4-steps/adapter_model.safetensors"
    return SetModelHooksOnCond().attach_hook(positive, CreateHookLoraModelOnly().create_hook_model_only(name, 1.0)[0])[
        0
    ]


def unknown(positive: Any) -> Any:
    return [[tokens, {**values, "of_another_pack": 1}] for tokens, values in positive]


@pytest.mark.parametrize("change", [area, mask, hook, unknown])
def test_a_prompt_with_more_than_text_is_prepared_at_each_stage(swd, load, prepared, change: Callable) -> None:
    family = "sd35_medium"
    positive = change(conditioning(family, make_text(family)))
    advanced(swd, load(family), positive, empty_latent(family, SIZE), 3, PRESETS[family])
    assert len(prepared) == 1 + STAGES
    assert prepared[0] == prepared[-1] == SIZE


@pytest.mark.parametrize("latent", ["picture", "mask"])
def test_so_is_one_for_a_picture_or_with_a_mask(swd, load, prepared, latent: str) -> None:
    family = "sd35_large"
    given = empty_latent(family, SIZE)
    if latent == "picture":
        given["samples"] = given["samples"] + 0.5
    else:
        given["noise_mask"] = torch.ones(1, 1, 128, 192)
    advanced(swd, load(family), conditioning(family, make_text(family)), given, 3, PRESETS[family])
    assert len(prepared) == 1 + STAGES


def test_so_is_one_for_a_model_whose_preparation_another_pack_has_replaced(swd, load, prepared) -> None:
    family = "flux"
    model = load(family).clone()
    sizes: list[tuple[int, ...]] = []
    own = model.model.extra_conds

    def extra_conds(**values: Any) -> Any:
        sizes.append(tuple(values["noise"].shape[-2:]))
        return own(**values)

    model.add_object_patch("extra_conds", extra_conds)
    advanced(swd, model, conditioning(family, make_text(family)), empty_latent(family, SIZE), 3, PRESETS[family])
    assert sizes == prepared
    assert len(sizes) == 1 + STAGES
    prepared.clear()
    advanced(swd, load(family), conditioning(family, make_text(family)), empty_latent(family, SIZE), 3, PRESETS[family])
    assert prepared == [SIZE], "taken off again, it is forgotten"


class Guider(comfy.samplers.CFGGuider):
    """A guider as other packs write them, which prepares something of its own at the size of each stage."""

    def inner_sample(self, noise: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        self.sizes.append(tuple(noise.shape[-2:]))
        return super().inner_sample(noise, *arguments, **named)


def test_so_is_one_for_a_guider_with_an_inner_sample_of_its_own(swd, load, prepared) -> None:
    family = "sdxl"
    positive = conditioning(family, make_text(family))
    guider = Guider(load(family))
    guider.sizes = []
    guider.inner_set_conds({"positive": positive})
    advanced(swd, load(family), positive, empty_latent(family, SIZE), 3, PRESETS[family], guider=guider)
    assert guider.sizes == prepared
    assert len(prepared) == 1 + STAGES

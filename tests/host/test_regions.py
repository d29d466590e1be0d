"""Regional prompts: the region is the same part of the picture at every stage."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.sample import prepare_noise
from comfy_extras.nodes_mask import SolidMask
from reference import make_text, stage_sizes
from running import all_in_one, conditioning, empty_latent, relative_error, schedule_of
from swd_pack.swd_core.host.conditions import stage_conditions, texts_on
from torch import Tensor

from nodes import (
    ConditioningCombine,
    ConditioningSetArea,
    ConditioningSetAreaPercentage,
    ConditioningSetAreaStrength,
    ConditioningSetMask,
)

FAMILY, PRESET = "sd35_large", "SD3.5 Large, 4 steps"
SIZE = (32, 48)
SIZES = stage_sizes((64, 80, 96, 128), *SIZE, 2)
# The region of all tests: y, x, height, width as parts of the picture.
REGION = (0.25, 0.5, 0.5, 0.375)


def text(seed: int) -> Any:
    return conditioning(FAMILY, make_text(FAMILY, seed=seed))


def by_area(positive: Any) -> Any:
    y, x, height, width = (round(part * side * 8) for part, side in zip(REGION, (*SIZE, *SIZE), strict=True))
    return ConditioningSetArea().append(positive, width=width, height=height, x=x, y=y, strength=1.0)[0]


def by_percentage(positive: Any) -> Any:
    y, x, height, width = REGION
    return ConditioningSetAreaPercentage().append(positive, width=width, height=height, x=x, y=y, strength=1.0)[0]


def region_mask() -> Tensor:
    """The region as a mask [1, H, W] in image pixels."""
    mask = torch.zeros(1, SIZE[0] * 8, SIZE[1] * 8)
    y, x, height, width = (
        round(part * side) for part, side in zip(REGION, (*mask.shape[1:], *mask.shape[1:]), strict=True)
    )
    mask[:, y : y + height, x : x + width] = 1
    return mask


def by_mask(positive: Any) -> Any:
    return ConditioningSetMask().append(positive, region_mask(), set_cond_area="default", strength=1.0)[0]


def by_mask_bounds(positive: Any) -> Any:
    return ConditioningSetMask().append(positive, region_mask(), set_cond_area="mask bounds", strength=1.0)[0]


KINDS = [by_area, by_percentage, by_mask, by_mask_bounds]


def touched(swd: dict[str, Any], model: Any, regional: Any) -> list[Tensor]:
    """Where the regional prompt acts, per stage [h, w]: the model answers 1 for it and 0 for the other prompt."""
    marked = make_text(FAMILY, seed=0).tokens.mean()
    clone = model.clone()

    def answer(apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        tokens = arguments["c"]["c_crossattn"].flatten(1)[:, : make_text(FAMILY).tokens.numel()].mean(1)
        ours = torch.isclose(tokens, marked, atol=1e-6).float().reshape(-1, 1, 1, 1)
        return ours.expand_as(arguments["input"]).clone()

    clone.set_model_unet_function_wrapper(answer)
    guider = comfy.samplers.CFGGuider(clone)
    guider.inner_set_conds({"positive": ConditioningCombine().combine(regional, text(1))[0]})
    schedule, sigmas = schedule_of(swd, clone, PRESET)
    sampler = swd["SamplerSWD"].execute(schedule=schedule, upscale_method="nearest-exact").result[0]
    maps: list[Tensor] = []
    latent = torch.zeros(1, 16, *SIZE)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    guider.sample(noise, latent, sampler, sigmas, callback=lambda i, x0, x, total: maps.append(x0[0, 0]), seed=0)
    return maps


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_region_is_the_same_part_of_the_picture_at_every_stage(swd, load, figure, kind: Any) -> None:
    maps = touched(swd, load(FAMILY), kind(text(0)))
    assert [tuple(region.shape) for region in maps] == SIZES
    for region in maps:
        rows, columns = (region > 1e-3).any(1).nonzero().flatten(), (region > 1e-3).any(0).nonzero().flatten()
        height, width = region.shape
        measured = (
            float(rows[0]) / height, float(columns[0]) / width,
            float(len(rows)) / height, float(len(columns)) / width,
        )  # fmt: skip
        error = max(
            abs(part - wanted) * side
            for part, wanted, side in zip(measured, REGION, (height, width, height, width), strict=True)
        )
        figure(f"{kind.__name__} at {width} x {height}: off by latent pixels", error, 1.0)
        # A mask is resized bilinearly and so bleeds into the next latent pixel on both sides.
        assert error <= (2.0 if "mask" in kind.__name__ else 1.0)


@pytest.mark.parametrize("parts", [(48, 48, 56), (38, 38, 38, 38)], ids=["three columns", "four columns"])
@pytest.mark.parametrize("absolute", [True, False], ids=["area", "percentage"])
def test_areas_that_meet_in_the_picture_meet_at_every_stage(swd, load, absolute: bool, parts: tuple[int, ...]) -> None:
    """ComfyUI takes 0 for the prediction where no prompt acts; a strip of it would grow with the latent."""
    height, width = 104, 152
    clone = load(FAMILY).clone()
    clone.set_model_unet_function_wrapper(lambda apply_model, arguments: torch.ones_like(arguments["input"]))
    columns: list[Any] = []
    for number, part in enumerate(parts):
        x = sum(parts[:number])
        if absolute:
            columns += ConditioningSetArea().append(text(number), part * 8, height * 8, x * 8, 0, 1.0)[0]
        else:
            columns += ConditioningSetAreaPercentage().append(text(number), part / width, 1.0, x / width, 0, 1.0)[0]
    guider = comfy.samplers.CFGGuider(clone)
    guider.inner_set_conds({"positive": columns})
    schedule, sigmas = schedule_of(swd, clone, PRESET)
    sampler = swd["SamplerSWD"].execute(schedule=schedule, upscale_method="bicubic").result[0]
    predicted: list[Tensor] = []
    noise = prepare_noise(torch.zeros(1, 16, height, width), 0)
    guider.sample(
        noise,
        torch.zeros_like(noise),
        sampler,
        sigmas,
        callback=lambda index, x0, x, total: predicted.append(x0),
        seed=0,
    )
    assert len(predicted) == 4
    assert all(bool((x0 != 0).all()) for x0 in predicted)


def test_absolute_and_percentage_forms_of_one_region_agree(swd, load) -> None:
    latent, model = empty_latent(FAMILY, SIZE), load(FAMILY)
    results = [
        all_in_one(swd, model, ConditioningCombine().combine(kind(text(0)), text(1))[0], latent, 4, PRESET)["samples"]
        for kind in (by_area, by_percentage)
    ]
    assert torch.equal(*results)


@pytest.mark.parametrize(
    "everywhere",
    [
        lambda positive: ConditioningSetArea().append(positive, SIZE[1] * 8, SIZE[0] * 8, 0, 0, 1.0)[0],
        lambda positive: ConditioningSetAreaPercentage().append(positive, 1.0, 1.0, 0.0, 0.0, 1.0)[0],
        lambda positive: ConditioningSetMask().append(positive, torch.ones(1, *SIZE), "default", 1.0)[0],
    ],
    ids=["area", "percentage", "mask"],
)
def test_a_region_over_everything_is_no_region(swd, load, figure, everywhere: Any) -> None:
    latent = empty_latent(FAMILY, SIZE)
    regional = all_in_one(swd, load(FAMILY), everywhere(text(0)), latent, 4, PRESET)["samples"]
    plain = all_in_one(swd, load(FAMILY), text(0), latent, 4, PRESET)["samples"]
    figure("relative error", relative_error(regional, plain), 1e-6)
    assert relative_error(regional, plain) <= 1e-6


@pytest.mark.parametrize("strength", [0.25, 3.0])
def test_strengths_weigh_two_prompts_at_every_stage(swd, load, strength: float) -> None:
    """Two prompts over everything with weights s and 1: the answer 1 of the first counts s / (s + 1)."""
    by_mask_strength = ConditioningSetMask().append(text(0), torch.ones(1, *SIZE), "default", strength)[0]
    by_strength = ConditioningSetAreaStrength().append(text(0), strength)[0]
    for regional in (by_mask_strength, by_strength):
        for region in touched(swd, load(FAMILY), regional):
            assert torch.allclose(region, torch.full_like(region, strength / (strength + 1)), atol=1e-6)


def test_the_prompts_given_in_stay_as_they_are(swd, load) -> None:
    """Areas and sizes are written into copies: ComfyUI caches conditionings and hands them to other nodes."""
    positive = by_area(text(0))
    before = [dict(entry[1]) for entry in positive]
    all_in_one(swd, load(FAMILY), positive, empty_latent(FAMILY, SIZE), 4, PRESET)
    assert [dict(entry[1]) for entry in positive] == before


def test_a_mask_node_of_comfyui_works_as_a_region(swd, load) -> None:
    mask = (
        SolidMask.execute(value=1.0, width=64, height=64)
        if hasattr(SolidMask, "execute")
        else SolidMask().solid(1.0, 64, 64)
    )
    mask = getattr(mask, "result", mask)[0]
    positive = ConditioningSetMask().append(text(0), mask, "default", 1.0)[0]
    latent = empty_latent(FAMILY, SIZE)
    result = all_in_one(swd, load(FAMILY), positive, latent, 4, PRESET)["samples"]
    assert relative_error(result, all_in_one(swd, load(FAMILY), text(0), latent, 4, PRESET)["samples"]) <= 1e-6


def test_only_texts_and_masks_go_to_the_device_and_the_prompts_stay_as_they_are() -> None:
    """A meta device stands for one that is not the CPU: what is on it can be told without one."""
    tokens, pooled, mask = torch.zeros(1, 3, 4), torch.zeros(1, 4), torch.ones(1, 8, 8)
    texts = {"positive": [{"cross_attn": tokens, "pooled_output": pooled, "mask": mask}, {"cross_attn": None}, {}]}
    moved = texts_on(texts, torch.device("meta"))
    first, second, third = moved["positive"]
    assert first["cross_attn"].device.type == first["mask"].device.type == "meta"
    # ComfyUI joins the pooled vector of SDXL with numbers that are on the CPU.
    assert first["pooled_output"] is pooled
    assert (second, third) == ({"cross_attn": None}, {})
    entry = texts["positive"][0]
    assert entry["cross_attn"] is tokens and entry["mask"] is mask


def test_gligen_boxes_are_the_same_part_of_the_picture_at_every_stage(load) -> None:
    """ComfyUI divides a box by the size of the latent, so a box of the target has to shrink with the stage."""
    box = ("text", 16, 12, 8, 24)
    entry = {"gligen": ("position", "model", [box])}
    options = comfy.samplers.CFGGuider(load(FAMILY)).model_options
    for height, width in SIZES:
        conditions = stage_conditions({"positive": [entry]}, options, (height, width), SIZE, 8)
        kind, model, ((text_of_box, *numbers),) = conditions["positive"][0]["gligen"]
        assert (kind, model, text_of_box) == ("position", "model", "text")
        wanted = (16 * height / SIZE[0], 12 * width / SIZE[1], 8 * height / SIZE[0], 24 * width / SIZE[1])
        assert all(abs(number - part) <= 0.5 for number, part in zip(numbers, wanted, strict=True))
    assert entry == {"gligen": ("position", "model", [box])}

"""Guiders and guidance functions while the latent grows, each against its own formula in the reference loop."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import comfyui_version
import pytest
import torch
from comfy_extras import nodes_custom_sampler
from comfy_extras.nodes_custom_sampler import CFGGuider, DualCFGGuider
from comfy_extras.nodes_perpneg import PerpNegGuider
from reference import ItemNoise, make_text, sample
from running import advanced, all_in_one, conditioning, empty_latent, recorded, relative_error
from torch import Tensor

from nodes import ConditioningSetArea

VERSION = tuple(map(int, comfyui_version.__version__.split(".")[:3]))
# Of the versions that are tested.
HAS_DUAL_MODEL = (0, 24, 1)
# Guidance multiplies the rounding of single predictions.
BAR = 5e-6
SIZE = (32, 24)
FAMILIES = {
    "sd35_large": ("SD3.5 Large, 4 steps", (64, 80, 96, 128), (1.0, 0.8959, 0.7371, 0.6022)),
    "sdxl": ("SDXL, 4 steps", (64, 80, 96, 128), (1.0, 0.8, 0.6, 0.4)),
}


def texts(family: str) -> tuple[Any, ...]:
    return tuple(make_text(family, seed=seed) for seed in range(3))


def expected(family: str, diffusers_model: Any, guide: Any) -> Tensor:
    _, scales, timesteps = FAMILIES[family]
    with torch.inference_mode():
        return sample(
            family, diffusers_model(family), texts(family)[0], scales, timesteps, SIZE, ItemNoise(2, (0,)), guide=guide
        )


def check(figure: Any, actual: dict[str, Any], reference: Tensor) -> None:
    error = relative_error(actual["samples"], reference)
    figure("relative error", error, BAR)
    assert error <= BAR


@pytest.mark.parametrize("family", FAMILIES)
def test_cfg_with_a_negative_prompt(swd, load, diffusers_model, figure, family: str) -> None:
    first, second, _ = texts(family)
    reference = expected(family, diffusers_model, lambda x0: x0(second) + 2.5 * (x0(first) - x0(second)))
    model, calls = recorded(load(family))
    positive, negative = conditioning(family, first), conditioning(family, second)
    guider = CFGGuider.execute(model=model, positive=positive, negative=negative, cfg=2.5).result[0]
    preset, latent = FAMILIES[family][0], empty_latent(family, SIZE)
    check(figure, advanced(swd, model, positive, latent, 2, preset, guider=guider), reference)
    assert sum(call.shape[0] for call in calls) == 2 * 4, "two forward passes a stage"
    check(figure, all_in_one(swd, model, positive, latent, 2, preset, negative=negative, cfg=2.5), reference)


@pytest.mark.parametrize("style", ["regular", "nested"])
def test_dual_cfg(swd, load, diffusers_model, figure, style: str) -> None:
    family = "sd35_large"
    first, second, third = texts(family)

    def guide(x0: Any) -> Tensor:
        one, two, negative = x0(first), x0(second), x0(third)
        if style == "nested":
            inner = two + 2.0 * (one - two)
            return negative + 1.5 * (inner - negative)
        return negative + 1.5 * (two - negative) + 2.0 * (one - two)

    model = load(family)
    guider = DualCFGGuider.execute(
        model=model, cond1=conditioning(family, first), cond2=conditioning(family, second),
        negative=conditioning(family, third), cfg_conds=2.0, cfg_cond2_negative=1.5, style=style,
    ).result[0]  # fmt: skip
    result = advanced(swd, model, None, empty_latent(family, SIZE), 2, FAMILIES[family][0], guider=guider)
    check(figure, result, expected(family, diffusers_model, guide))


@pytest.fixture
def dual() -> Any:
    if VERSION < HAS_DUAL_MODEL:
        # On a version that should have it, a missing class fails below instead.
        assert not hasattr(nodes_custom_sampler, "DualModelGuider")
        pytest.skip(f"ComfyUI has the Dual Model CFG Guider from {'.'.join(map(str, HAS_DUAL_MODEL))} on")
    return nodes_custom_sampler.DualModelGuider


@pytest.mark.parametrize("family", FAMILIES)
def test_dual_model_cfg_with_one_model_is_cfg(swd, load, figure, dual, family: str) -> None:
    """It keeps the conditions of its second model itself: they too have to follow the latent."""
    first, second, third = (conditioning(family, text) for text in texts(family))
    area = ConditioningSetArea().append(third, width=SIZE[1] * 4, height=SIZE[0] * 8, x=SIZE[1] * 4, y=0, strength=1.0)
    negative, model = [*second, *area[0]], load(family)
    guiders = (
        dual.execute(model=model, positive=first, cfg=3.0, model_negative=model, negative=negative).result[0],
        CFGGuider.execute(model=model, positive=first, negative=negative, cfg=3.0).result[0],
    )
    preset, latent = FAMILIES[family][0], empty_latent(family, SIZE)
    results = [advanced(swd, model, first, latent, 2, preset, guider=guider) for guider in guiders]
    check(figure, results[0], results[1]["samples"])


def guided_by(dual: Any, load: Any, first: str, second: str) -> Any:
    """A guider with the positive prompt on one model and the negative on another."""
    positive, negative = (conditioning(family, texts(family)[0]) for family in (first, second))
    return dual.execute(
        model=load(first), positive=positive, cfg=3.0, model_negative=load(second), negative=negative
    ).result[0]


def test_dual_model_cfg_takes_two_sizes_of_one_model(swd, load, dual) -> None:
    guider = guided_by(dual, load, "sd35_large", "sd35_medium")
    latent = empty_latent("sd35_large", SIZE)
    samples = [
        advanced(swd, load("sd35_large"), None, latent, 2, FAMILIES["sd35_large"][0], guider=chosen)["samples"]
        for chosen in (guider, guided_by(dual, load, "sd35_large", "sd35_large"))
    ]
    assert samples[0].isfinite().all() and relative_error(*samples) > 1e-3


@pytest.mark.parametrize("second", ["flux", "sdxl"])
def test_dual_model_cfg_with_another_kind_of_model_is_a_sentence(swd, load, dual, second: str) -> None:
    guider = guided_by(dual, load, "sd35_large", second)
    latent = empty_latent("sd35_large", SIZE)
    with pytest.raises(ValueError, match=r"^model_negative: it is .*, but the model is SD3.5 Large\."):
        advanced(swd, load("sd35_large"), None, latent, 2, FAMILIES["sd35_large"][0], guider=guider)


def test_perp_neg(swd, load, diffusers_model, figure) -> None:
    """Perp-Neg (arXiv 2304.04968): only the part of the negative that is at right angles to the positive counts."""
    family = "sd35_large"
    first, second, third = texts(family)

    def guide(x0: Any) -> Tensor:
        empty = x0(third)
        positive, negative = x0(first) - empty, x0(second) - empty
        across = negative - (negative * positive).sum() / positive.norm() ** 2 * positive
        return empty + 2.0 * (positive - 0.8 * across)

    model = load(family)
    guider = PerpNegGuider.execute(
        model=model, positive=conditioning(family, first), negative=conditioning(family, second),
        empty_conditioning=conditioning(family, third), cfg=2.0, neg_scale=0.8,
    ).result[0]  # fmt: skip
    result = advanced(swd, model, None, empty_latent(family, SIZE), 2, FAMILIES[family][0], guider=guider)
    check(figure, result, expected(family, diffusers_model, guide))


def test_functions_before_and_after_cfg(swd, load, diffusers_model, figure) -> None:
    family = "sd35_large"
    first, second, _ = texts(family)
    model = load(family).clone()
    model.set_model_sampler_pre_cfg_function(lambda args: [args["conds_out"][0] * 0.9, *args["conds_out"][1:]])
    model.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * 0.8 + args["uncond_denoised"] * 0.2)
    result = all_in_one(
        swd, model, conditioning(family, first), empty_latent(family, SIZE), 2, FAMILIES[family][0],
        negative=conditioning(family, second), cfg=2.0,
    )  # fmt: skip

    def guide(x0: Any) -> Tensor:
        positive, negative = x0(first) * 0.9, x0(second)
        return (negative + 2.0 * (positive - negative)) * 0.8 + negative * 0.2

    check(figure, result, expected(family, diffusers_model, guide))


def test_a_function_that_needs_the_negative_at_cfg_1_gets_it(swd, load, diffusers_model, figure) -> None:
    """As CFG++ does: it asks ComfyUI not to skip the negative at cfg 1, and goes on from the unconditional guess."""
    family = "sd35_large"
    first, second, _ = texts(family)
    model, calls = recorded(load(family))
    model.set_model_sampler_post_cfg_function(
        lambda args: args["uncond_denoised"] + 0.6 * (args["cond_denoised"] - args["uncond_denoised"]),
        disable_cfg1_optimization=True,
    )
    result = all_in_one(
        swd, model, conditioning(family, first), empty_latent(family, SIZE), 2, FAMILIES[family][0],
        negative=conditioning(family, second),
    )  # fmt: skip
    assert sum(call.shape[0] for call in calls) == 2 * 4
    check(figure, result, expected(family, diffusers_model, lambda x0: x0(second) + 0.6 * (x0(first) - x0(second))))


@pytest.mark.parametrize("run", [advanced, all_in_one])
def test_a_pack_that_replaces_ksamplers_sample_sees_the_run(swd, load, monkeypatch, run: Any) -> None:
    """smZNodes and TiledDiffusion learn the sigmas there; the picture is the same."""
    positive, latent = conditioning("sdxl", make_text("sdxl")), empty_latent("sdxl", SIZE, 2)
    expected = run(swd, load("sdxl"), positive, latent, 2, FAMILIES["sdxl"][0])["samples"]
    seen: list[tuple[int, list[int]]] = []
    own = comfy.samplers.KSAMPLER.sample

    def replaced(self: Any, model_wrap: Any, sigmas: Tensor, extra_args: Any, callback: Any, noise: Tensor, *rest: Any):
        seen.append((len(sigmas), list(noise.shape[-2:])))
        return own(self, model_wrap, sigmas, extra_args, callback, noise, *rest)

    monkeypatch.setattr(comfy.samplers.KSAMPLER, "sample", replaced)
    result = run(swd, load("sdxl"), positive, latent, 2, FAMILIES["sdxl"][0])["samples"]
    assert torch.equal(result, expected)
    assert seen == [(5, list(SIZE))]

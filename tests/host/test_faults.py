"""Interrupts and exceptions leave nothing behind, and progress tells the truth."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_hooks import CreateHookModelAsLoraModelOnly, SetModelHooksOnCond
from reference import make_text, stage_sizes
from running import advanced, all_in_one, conditioning, empty_latent, schedule_of

from nodes import ConditioningSetMask, SetLatentNoiseMask

FAMILY, PRESET = "sd35_large", "SD3.5 Large, 4 steps"
Interrupted = comfy.model_management.InterruptProcessingException


def guider_of(model: Any) -> comfy.samplers.CFGGuider:
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"positive": conditioning(FAMILY, make_text(FAMILY))})
    return guider


def run(swd: dict[str, Any], guider: Any, callback: Any = None, size: tuple[int, int] = (16, 16)) -> torch.Tensor:
    schedule, sigmas = schedule_of(swd, guider.model_patcher, PRESET)
    sampler = swd["SamplerSWD"].execute(schedule=schedule, upscale_method="bicubic").result[0]
    noise = torch.randn(1, 16, *size, generator=torch.Generator().manual_seed(1))
    return guider.sample(noise, torch.zeros(1, 16, *size), sampler, sigmas, callback=callback, seed=1)


def snapshot(guider: Any) -> dict[str, Any]:
    """Everything of a guider and its model that a run could leave changed."""
    patcher = guider.model_patcher
    # ComfyUI itself leaves these behind when a run breaks off.
    own = {name: value for name, value in vars(guider).items() if name not in ("conds", "inner_model", "loaded_models")}
    return {
        "guider": own,
        "options": repr(patcher.model_options),
        "patches": dict(patcher.patches),
        "attachments": dict(patcher.attachments),
        "hook_mode": patcher.hook_mode,
        "conditions": {name: [dict(entry) for entry in entries] for name, entries in guider.original_conds.items()},
    }


@pytest.mark.parametrize("step", range(4))
@pytest.mark.parametrize("fault", [Interrupted, KeyError, torch.cuda.OutOfMemoryError])
def test_a_run_that_breaks_off_at_any_stage_leaves_nothing_behind(
    swd, load, fault: type[BaseException], step: int
) -> None:
    guider = guider_of(load(FAMILY))
    expected = run(swd, guider)
    before = snapshot(guider)

    def break_off(index: int, *rest: Any) -> None:
        if index == step:
            raise fault("broken off")

    with pytest.raises(fault):
        run(swd, guider, break_off)
    assert snapshot(guider) == before
    assert torch.equal(run(swd, guider), expected)


def test_an_exception_inside_the_model_passes_unchanged(swd, load) -> None:
    model = load(FAMILY).clone()

    def fail(apply_model: Any, arguments: dict[str, Any]) -> torch.Tensor:
        if arguments["input"].shape[-1] == 12:
            raise ZeroDivisionError("inside the model")
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    model.set_model_unet_function_wrapper(fail)
    guider = guider_of(model)
    before = snapshot(guider)
    with pytest.raises(ZeroDivisionError, match="inside the model"):
        run(swd, guider)
    assert snapshot(guider) == before
    assert torch.equal(run(swd, guider_of(load(FAMILY))), run(swd, guider_of(load(FAMILY))))


def hook_of_a_larger_model(positive: Any) -> Any:
    checkpoint = "sd3.5_large_fp8_scaled.safetensors"
    (hooks,) = CreateHookModelAsLoraModelOnly().create_hook_model_only(ckpt_name=checkpoint, strength_model=1.0)
    return SetModelHooksOnCond().attach_hook(positive, hooks)[0]


def masks_of_two_pictures(positive: Any) -> Any:
    return ConditioningSetMask().append(positive, torch.ones(2, 16, 16), "default", 1.0)[0]


def text_of_another_width(positive: Any) -> Any:
    return [[tokens[..., :100], values] for tokens, values in positive]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (hook_of_a_larger_model, "The size of tensor"),
        (masks_of_two_pictures, "The size of tensor"),
        (text_of_another_width, "mat1 and mat2 shapes cannot be multiplied"),
    ],
)
def test_what_fits_at_no_size_is_not_laid_to_the_size(swd, load, change: Any, said: str) -> None:
    """ComfyUI's sampler says the same; to take Adaptive Projected Guidance off would help nobody."""
    family = "sd35_medium"
    guider = comfy.samplers.CFGGuider(load(family))
    guider.inner_set_conds({"positive": change(conditioning(family, make_text(family)))})
    latent = empty_latent(family, (16, 16), 3)
    samples, sigmas = latent["samples"], torch.tensor([1.0, 0.5, 0.0])
    with pytest.raises(RuntimeError, match=f"^{said}") as own:
        guider.sample(samples + 1, samples, comfy.samplers.ksampler("lcm"), sigmas, seed=0)
    with pytest.raises(RuntimeError) as error:
        advanced(swd, guider.model_patcher, None, latent, 0, "auto", guider=guider)
    assert str(error.value) == str(own.value)


@pytest.mark.parametrize("first", [False, True])
def test_one_picture_for_a_batch_is_not_laid_to_the_size(swd, load, first: bool) -> None:
    """As USO Style Reference, which joins its one picture to the text of each."""

    def join(arguments: dict[str, Any]) -> dict[str, Any]:
        parts = [torch.zeros_like(arguments["txt"][:1]), arguments["txt"]]
        return {**arguments, "txt": torch.cat(parts if first else parts[::-1], dim=1)}

    model = load("flux").clone()
    model.set_model_post_input_patch(join)
    positive, latent = conditioning("flux", make_text("flux")), empty_latent("flux", (16, 16), 2)
    with pytest.raises(RuntimeError, match=r"^Sizes of tensors must match except in dimension 1\."):
        advanced(swd, model, positive, latent, 0, "auto")


def test_the_callback_sees_every_step_once_with_growing_previews(swd, load) -> None:
    seen: list[tuple[int, tuple[int, ...], tuple[int, ...], int]] = []
    last: list[torch.Tensor] = []

    def note(step: int, x0: torch.Tensor, x: torch.Tensor, total: int) -> None:
        seen.append((step, tuple(x0.shape[-2:]), tuple(x.shape[-2:]), total))
        last.append(x0)

    guider = guider_of(load(FAMILY))
    result = run(swd, guider, note, (38, 26))
    sizes = stage_sizes((64, 80, 96, 128), 38, 26, 2)
    assert seen == [(step, size, size, 4) for step, size in enumerate(sizes)]
    assert torch.allclose(guider.model_patcher.model.process_latent_out(last[-1]), result, atol=1e-6)


def test_the_output_keeps_the_metadata_of_the_latent(swd, load) -> None:
    latent = empty_latent(FAMILY, (16, 16), 2, batch_index=[5, 7], downscale_ratio_spacial=8)
    latent = SetLatentNoiseMask().set_mask(latent, torch.ones(1, 16, 16))[0]
    result = all_in_one(swd, load(FAMILY), conditioning(FAMILY, make_text(FAMILY)), latent, 0, PRESET)
    assert result["batch_index"] == [5, 7]
    assert torch.equal(result["noise_mask"], latent["noise_mask"])
    assert "downscale_ratio_spacial" not in result
    assert latent["downscale_ratio_spacial"] == 8, "the input stays as it was"

"""NaN and infinity, from the model, the prompt or the input, are named where they arise."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import comfy.ops
import comfy.sd
import pytest
import torch
from reference import make_text
from running import advanced, all_in_one, conditioning, empty_latent
from waits import Waits

FAMILY, PRESET, SIZE = "sd35_large", "SD3.5 Large, 4 steps", (16, 24)
SIDES = ("12 x 8", "16 x 10", "18 x 12", "24 x 16")
RUNS = [pytest.param(advanced, id="SamplerCustomAdvanced"), pytest.param(all_in_one, id="SWDSampler")]


def spoilt(model: Any, width: int, value: float) -> Any:
    """A clone of the model that answers with one number of `value` at one size."""
    clone = model.clone()

    def spoil(apply_model: Any, arguments: dict[str, Any]) -> torch.Tensor:
        out = apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
        if out.shape[-1] == width:
            out[0, 3, 1, 2] = value
        return out

    clone.set_model_unet_function_wrapper(spoil)
    return clone


@pytest.fixture(scope="module")
def positive() -> list[Any]:
    return conditioning(FAMILY, make_text(FAMILY))


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("step", range(4))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_stage_is_named_with_the_remedy_and_the_next_run_is_as_before(
    swd, load, positive, run, step: int, value: float
) -> None:
    expected = run(swd, load(FAMILY), positive, empty_latent(FAMILY, SIZE), 1, PRESET)["samples"]
    model = spoilt(load(FAMILY), (12, 16, 18, 24)[step], value)
    with pytest.raises(ValueError, match="is not finite") as error:
        run(swd, model, positive, empty_latent(FAMILY, SIZE), 1, PRESET)
    first, found, _, remedy = str(error.value).splitlines()
    assert first == f"model: the latent of step {step + 1} of 4, at {SIDES[step]}, is not finite."
    assert found == "Found: NaN or infinity from a model that computes in float32"
    assert "strength_model" in remedy
    assert torch.equal(run(swd, load(FAMILY), positive, empty_latent(FAMILY, SIZE), 1, PRESET)["samples"], expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_a_real_overflow_of_float16_is_told_of_other_types(swd, tiny_models: Path, dtype: torch.dtype) -> None:
    """Weights whose products no float16 can hold, but any wider type."""
    model = comfy.sd.load_diffusion_model(
        str(tiny_models / "diffusion_models/flux1-dev.safetensors"),
        model_options={"dtype": dtype, "custom_operations": comfy.ops.disable_weight_init},
    )
    # On a CPU ComfyUI casts float16 to float32 for each product; on a GPU it does not.
    model.model.manual_cast_dtype = None
    weight = model.model.state_dict()["diffusion_model.final_layer.linear.weight"]
    model.add_patches({"diffusion_model.final_layer.linear.weight": ("diff", (weight.clone(),))}, 6e4)
    arguments = (swd, model, conditioning("flux", make_text("flux")), empty_latent("flux", SIZE), 1, "auto")
    if dtype == torch.float32:
        assert torch.isfinite(all_in_one(*arguments)["samples"]).all()
        return
    with pytest.raises(ValueError, match=r"^model: the latent of step 1 of 4, at 12 x 8, is not finite\.") as error:
        all_in_one(*arguments)
    assert "computes in float16\n" in str(error.value)
    assert "--bf16-unet, or with --fp32-unet." in str(error.value)


def test_a_lora_at_a_senseless_strength_is_told_of_strength(swd, load, positive) -> None:
    model = load(FAMILY).clone()
    key = "diffusion_model.final_layer.linear.weight"
    model.add_patches({key: ("diff", (torch.full_like(model.model.state_dict()[key], 1e30),))}, 1e30)
    with pytest.raises(ValueError, match=r"^model: the latent of step 1 of 4, at 12 x 8, .*\n.*\n.*\n.*strength_model"):
        all_in_one(swd, model, positive, empty_latent(FAMILY, SIZE), 1, PRESET)


@pytest.mark.parametrize("kind", ["adapter", "difference"])
def test_a_lora_that_is_not_finite_is_named_whoever_loaded_it(swd, load, positive, kind: str) -> None:
    """ComfyUI's own loader looks at no number, this pack's at a part of a large file."""
    name = "joint_blocks.1.x_block.attn.proj"
    weight = load(FAMILY).model.state_dict()[f"diffusion_model.{name}.weight"]
    down, up = torch.ones(2, weight.shape[1]), torch.ones(weight.shape[0], 2)
    up[3, 1] = math.nan
    key = f"diffusion_model.{name}"
    pair = {f"{key}.lora_A.weight": down, f"{key}.lora_B.weight": up}
    whole = {f"{key}.diff": torch.full_like(weight, math.inf)}
    model = comfy.sd.load_lora_for_models(load(FAMILY), None, pair if kind == "adapter" else whole, 1.0, 0)[0]
    with pytest.raises(ValueError, match="not finite") as error:
        advanced(swd, model, positive, empty_latent(FAMILY, SIZE), 1, PRESET)
    first, found, _, remedy = str(error.value).splitlines()
    assert first == "model: a LoRA on it is not finite."
    assert found == f"Found: NaN or infinity in what changes diffusion_model.{name}.weight"
    assert "one by one" in remedy


@pytest.mark.parametrize("part", ["tokens", "pooled"])
def test_a_prompt_that_is_not_finite_is_named_and_not_the_model(swd, load, part: str) -> None:
    text = make_text(FAMILY)
    getattr(text, part).view(-1)[5] = math.nan
    with pytest.raises(ValueError, match=r"^positive: the prompt is not finite\.\n.*\n.*\n.*--fp32-text-enc"):
        all_in_one(swd, load(FAMILY), conditioning(FAMILY, text), empty_latent(FAMILY, SIZE), 1, PRESET)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_latent_that_is_not_finite_is_named_before_the_model_runs(swd, load, positive, run, value: float) -> None:
    latent = empty_latent(FAMILY, SIZE)
    latent["samples"][0, 0, 3, 3] = value
    model = spoilt(load(FAMILY), 0, 0)
    model.set_model_unet_function_wrapper(lambda *_: pytest.fail("the model ran"))
    with pytest.raises(ValueError, match=r"^latent_image: it is not finite\."):
        run(swd, model, positive, latent, 1, PRESET)


def test_between_the_stages_this_pack_never_waits_for_the_device(swd, load, positive, pack: Path) -> None:
    model = load(FAMILY).clone()
    with Waits() as waits:

        def count(apply_model: Any, arguments: dict[str, Any]) -> torch.Tensor:
            out = apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
            waits.pass_done()
            return out

        model.set_model_unet_function_wrapper(count)
        all_in_one(swd, model, positive, empty_latent(FAMILY, SIZE), 1, PRESET)
    by_us = waits.by(pack / "swd_core")
    assert waits.passes == 4
    assert {name for forwards, name in by_us if forwards == 0} >= {"read_extremes", "read_sigmas"}, "it notices them"
    assert not [entry for entry in by_us if 0 < entry[0] < 4], by_us


def test_nor_does_comfyui_because_of_it(swd, load, positive) -> None:
    """Whoever asks: from the end of one forward pass to the beginning of the next, no tensor is read."""
    model, between = load(FAMILY).clone(), []
    with Waits() as waits:

        def count(apply_model: Any, arguments: dict[str, Any]) -> torch.Tensor:
            between.extend(read for read in waits.reads if waits.passes > 0)
            out = apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
            waits.pass_done()
            waits.reads.clear()
            return out

        model.set_model_unet_function_wrapper(count)
        all_in_one(swd, model, positive, empty_latent(FAMILY, SIZE), 1, PRESET)
    assert waits.passes == 4
    assert between == []

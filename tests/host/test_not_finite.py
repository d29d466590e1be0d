"""NaN and infinity, from the model, the prompt or the input, are named where they arise."""

from __future__ import annotations

import math
import traceback
from pathlib import Path
from typing import Any

import comfy.ops
import comfy.sd
import pytest
import torch
from reference import make_text
from running import advanced, all_in_one, conditioning, empty_latent
from torch.utils._python_dispatch import TorchDispatchMode

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


class Waits(TorchDispatchMode):
    """Notes where tensors are read by Python, which on a GPU waits for the device, and how often the model is done."""

    def __init__(self, pack: Path) -> None:
        super().__init__()
        self.pack = str(pack)
        self.forwards = 0
        self.by_us: list[tuple[int, str]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.__name__.split(".")[0] in ("_local_scalar_dense", "nonzero", "equal", "is_nonzero"):
            # The torch frames between are this mode's own; who asked is the first frame outside.
            asked = [f for f in traceback.extract_stack()[:-1] if "/torch/" not in f.filename][-1]
            if asked.filename.startswith(f"{self.pack}/swd_core"):
                self.by_us.append((self.forwards, asked.name))
        return function(*args, **(kwargs or {}))


def test_between_the_stages_this_pack_never_waits_for_the_device(swd, load, positive, pack: Path) -> None:
    model = load(FAMILY).clone()
    with Waits(pack) as waits:

        def count(apply_model: Any, arguments: dict[str, Any]) -> torch.Tensor:
            out = apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
            waits.forwards += 1
            return out

        model.set_model_unet_function_wrapper(count)
        all_in_one(swd, model, positive, empty_latent(FAMILY, SIZE), 1, PRESET)
    assert waits.forwards == 4
    assert {name for forwards, name in waits.by_us if forwards == 0} >= {"check_finite", "sample"}, "it notices them"
    assert not [entry for entry in waits.by_us if 0 < entry[0] < 4], waits.by_us

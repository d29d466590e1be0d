"""Latents, masks and numbers that no run can start from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from comfy.nested_tensor import NestedTensor
from reference import make_text
from refusals import refused, same_picture, unchanged
from running import advanced, all_in_one, conditioning, empty_latent
from torch import Tensor

NAN, INF = math.nan, math.inf
GROW = "latent_image: this kind of latent cannot grow."
OTHER = "latent_image: it is made for another kind of model."
EMPTY = "latent_image: it is empty."
NOT_FINITE = "latent_image: it is not finite."
MASK = "latent_image: its mask cannot be used."
INDEX = "latent_image: its batch_index does not have one number for each picture."


@pytest.fixture(scope="module", autouse=True)
def as_before(swd, load) -> Iterator[None]:
    with same_picture(swd, load("flux"), "flux"):
        yield


def noise(*shape: int, **where: float) -> Tensor:
    """Normal noise; `where` puts a value at the middle."""
    made = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for value in where.values():
        made.view(-1)[made.numel() // 2] = value
    return made


def latent(samples: Any, **values: Any) -> dict[str, Any]:
    return {"samples": samples, **values}


def mask(made: Tensor) -> dict[str, Any]:
    return latent(noise(2, 16, 16, 16), noise_mask=made)


# Name: family, the latent, the first line, and whether ComfyUI's own nodes let it come as far as the sampler.
LATENTS = {
    "4 channels for FLUX": ("flux", latent(noise(1, 4, 16, 16)), OTHER, True),
    "128 channels for FLUX": ("flux", latent(noise(1, 128, 16, 16)), OTHER, True),
    "4 channels for SD3.5": ("sd35_large", latent(noise(1, 4, 16, 16)), OTHER, True),
    "16 channels for SDXL": ("sdxl", latent(noise(1, 16, 16, 16)), OTHER, True),
    "3 channels, a picture": ("sdxl", latent(noise(1, 3, 64, 64)), OTHER, True),
    "1 channel, a mask": ("flux", latent(noise(1, 1, 16, 16)), OTHER, True),
    "a video for a model of pictures": ("flux", latent(noise(1, 16, 3, 16, 16)), OTHER, True),
    "an empty video for a model of pictures": ("flux", latent(torch.zeros(1, 16, 3, 16, 16)), OTHER, True),
    "a picture of channels last": ("flux", latent(noise(1, 16, 24, 16).movedim(1, -1)), OTHER, True),
    "sound [B, C, L]": ("flux", latent(noise(1, 16, 64)), GROW, True),
    "packed [B, L, C]": ("flux", latent(noise(1, 64, 64)), GROW, True),
    "packed and empty": ("flux", latent(torch.zeros(1, 16, 64)), GROW, True),
    "six dimensions": ("flux", latent(torch.zeros(1, 16, 1, 1, 16, 16)), GROW, True),
    "video and sound together": ("flux", latent(NestedTensor([noise(1, 16, 1, 16, 16), noise(1, 8, 16)])), GROW, True),
    "two dimensions": ("flux", latent(noise(16, 16)), GROW, False),
    "one number": ("flux", latent(torch.tensor(1.0)), GROW, False),
    "no samples": ("flux", {}, GROW, False),
    "samples that are None": ("flux", latent(None), GROW, False),
    "no pictures": ("flux", latent(torch.zeros(0, 16, 16, 16)), EMPTY, False),
    "no channels": ("flux", latent(torch.zeros(1, 0, 16, 16)), EMPTY, False),
    "no height": ("flux", latent(torch.zeros(1, 16, 0, 16)), EMPTY, False),
    "no width": ("flux", latent(torch.zeros(1, 16, 16, 0)), EMPTY, False),
    "NaN": ("flux", latent(noise(1, 16, 16, 16, at=NAN)), NOT_FINITE, True),
    "infinity": ("flux", latent(noise(1, 16, 16, 16, at=INF)), NOT_FINITE, True),
    "minus infinity": ("sdxl", latent(noise(1, 4, 16, 16, at=-INF)), NOT_FINITE, True),
    "NaN alone": ("sd35_large", latent(torch.full((1, 16, 16, 16), NAN)), NOT_FINITE, True),
    "NaN in a mask": ("flux", mask(torch.full((1, 16, 16), NAN)), "latent_image: its mask is not finite.", True),
    "infinity in a mask": ("flux", mask(torch.full((2, 8, 8), INF)), "latent_image: its mask is not finite.", True),
    "a mask of one dimension": ("flux", mask(torch.ones(16)), MASK, False),
    "a mask of no pictures": ("flux", mask(torch.ones(0, 16, 16)), MASK, False),
    "a mask without height": ("flux", mask(torch.ones(1, 0, 16)), MASK, False),
    "a mask of true and false": ("flux", mask(torch.ones(1, 16, 16) > 0), MASK, False),
    "a mask of several tensors": (
        "flux",
        latent(noise(1, 16, 16, 16), noise_mask=NestedTensor([torch.ones(1, 1, 16, 16)])),
        MASK,
        False,
    ),
    "video and sound together, and their masks": (
        "flux",
        latent(
            NestedTensor([noise(1, 16, 1, 16, 16), noise(1, 8, 16)]),
            noise_mask=NestedTensor([torch.ones(1, 1, 1, 16, 16), torch.ones(1, 1, 16)]),
        ),
        GROW,
        True,
    ),
    "too few numbers of pictures": ("flux", latent(torch.zeros(3, 16, 16, 16), batch_index=[0]), INDEX, True),
    "too many numbers of pictures": ("flux", latent(torch.zeros(1, 16, 16, 16), batch_index=[0, 1]), INDEX, True),
}


def never(*_: Any) -> Tensor:
    pytest.fail("the model ran")


@pytest.mark.parametrize("name", LATENTS)
def test_a_wrong_latent(swd, load, name: str) -> None:
    family, given, first_line, reaches_the_sampler = LATENTS[name]
    model = load(family).clone()
    model.set_model_unet_function_wrapper(never)
    positive = conditioning(family, make_text(family))
    runs = (all_in_one, advanced) if reaches_the_sampler else (all_in_one,)
    before = dict(given)
    for run in runs:
        with unchanged(model):
            refused(lambda run=run: run(swd, model, positive, given, 1, "auto"), first_line)
    assert given.keys() == before.keys()
    assert all(given[key] is before[key] for key in before), "the latent stays as it was"


ODD = {
    "odd sides": (latent(torch.zeros(1, 16, 17, 13)), (1, 16, 17, 13)),
    "smaller than the patch": (latent(torch.zeros(1, 16, 1, 1)), (1, 16, 1, 1)),
    "a strip": (latent(torch.zeros(1, 16, 1, 64)), (1, 16, 1, 64)),
    "4 empty channels": (latent(torch.zeros(1, 4, 16, 16)), (1, 16, 16, 16)),
    "double precision": (latent(noise(1, 16, 16, 16).double()), (1, 16, 16, 16)),
    "a smaller mask": (mask(torch.ones(1, 3, 5)), (2, 16, 16, 16)),
    "a larger mask": (mask(torch.ones(2, 300, 500)), (2, 16, 16, 16)),
    "a mask of more pictures": (mask(torch.ones(3, 16, 16)), (2, 16, 16, 16)),
    "a mask [H, W]": (mask(torch.ones(16, 16)), (2, 16, 16, 16)),
    "a mask [B, 1, H, W]": (mask(torch.ones(2, 1, 16, 16)), (2, 16, 16, 16)),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_latent_that_is_right(swd, load, name: str) -> None:
    given, shape = ODD[name]
    for run in (all_in_one, advanced):
        samples = run(swd, load("flux"), conditioning("flux", make_text("flux")), given, 1, "auto")["samples"]
        assert samples.shape == shape
        assert torch.isfinite(samples).all()


NUMBERS = [
    ({"cfg": NAN}, "cfg: nan is not a finite number."),
    ({"cfg": INF}, "cfg: inf is not a finite number."),
    ({"denoise": NAN}, "denoise: nan is not a finite number."),
    ({"denoise": -INF}, "denoise: -inf is not a finite number."),
    ({"cfg": 3.0}, "negative: cfg needs a negative prompt."),
    ({"negative": []}, "negative: there is no prompt in it."),
    ({"upscale_method": "lanczos"}, "upscale_method: no such method."),
    ({"upscale_method": ""}, "upscale_method: no such method."),
]


@pytest.mark.parametrize(("options", "first_line"), NUMBERS, ids=str)
def test_wrong_options(swd, load, options: dict[str, Any], first_line: str) -> None:
    positive = conditioning("flux", make_text("flux"))
    with unchanged(load("flux")):
        refused(
            lambda: all_in_one(swd, load("flux"), positive, empty_latent("flux", (16, 16)), 1, "auto", **options),
            first_line,
        )


def test_a_prompt_without_content(swd, load) -> None:
    refused(
        lambda: all_in_one(swd, load("flux"), [], empty_latent("flux", (16, 16)), 1, "auto"),
        "positive: there is no prompt in it.",
    )


SAMPLES = noise(1, 16, 8, 8)
UPSCALES = [
    (latent(SAMPLES), 2.0, "lanczos", "upscale_method: no such method."),
    (latent(SAMPLES), NAN, "bicubic", "scale_by: nan is not a finite number."),
    (latent(SAMPLES), INF, "bicubic", "scale_by: inf is not a finite number."),
    (latent(SAMPLES), 0.0, "bicubic", "scale_by: 0 is not above 0."),
    (latent(SAMPLES), -2.0, "bicubic", "scale_by: -2 is not above 0."),
    (latent(noise(1, 16, 64)), 2.0, "bicubic", "samples: this kind of latent cannot grow."),
    (latent(noise(16, 16)), 2.0, "area", "samples: this kind of latent cannot grow."),
    (latent(torch.tensor(1.0)), 2.0, "bislerp", "samples: this kind of latent cannot grow."),
    (latent(NestedTensor([SAMPLES])), 2.0, "bicubic", "samples: this kind of latent cannot grow."),
    ({}, 2.0, "bicubic", "samples: this kind of latent cannot grow."),
    (latent(torch.zeros(0, 16, 8, 8)), 2.0, "bicubic", "samples: it is empty."),
    (latent(torch.zeros(1, 16, 0, 8)), 2.0, "bicubic", "samples: it is empty."),
    (latent(noise(1, 16, 8, 8, at=NAN)), 2.0, "bicubic", "samples: it is not finite."),
]


@pytest.mark.parametrize(("given", "scale_by", "method", "first_line"), UPSCALES)
def test_a_wrong_upscale(swd, given: dict[str, Any], scale_by: float, method: str, first_line: str) -> None:
    execute = swd["SWDLatentUpscale"].execute
    refused(lambda: execute(samples=given, upscale_method=method, scale_by=scale_by), first_line)

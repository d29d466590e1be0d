"""Wrong schedules and presets, and odd ones that are right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import comfy.samplers
import pytest
import torch
from reference import make_text
from refusals import refused, same_picture, unchanged
from running import all_in_one, conditioning, empty_latent, schedule_of

FAMILY = "flux"


@pytest.fixture(scope="module", autouse=True)
def as_before(swd, load) -> Iterator[None]:
    with same_picture(swd, load(FAMILY), FAMILY):
        yield


LISTS = [
    ("", "1.0, 0.5", "scales: the list is empty."),
    ("64, 128", "", "timesteps: the list is empty."),
    (" ,; \n\t", "1.0", "scales: the list is empty."),
    ("64, 128", "0.0", "timesteps: 0 is not above 0 and at most 1."),
    ("128, 64", "1.0, 0.5", "scales: they must not fall."),
    ("64, 128, 96", "1.0, 0.7, 0.5", "scales: they must not fall."),
    ("256, 128", "1.0, 0.5", "scales: they must not fall."),
    ("64, 128", "0.5, 1.0", "timesteps: each must be below the one before."),
    ("64, 128", "0.5, 0.5", "timesteps: each must be below the one before."),
    ("-64, 128", "1.0, 0.5", "scales: -64 is not above 0."),
    ("0, 128", "1.0, 0.5", "scales: 0 is not above 0."),
    ("64, -0", "1.0, 0.5", "scales: -0 is not above 0."),
    ("64, 128", "1.0, -0.5", "timesteps: -0.5 is not above 0 and at most 1."),
    ("64, 96, 128", "1.0, 0, 0.5", "timesteps: 0 is not above 0 and at most 1."),
    ("64, 128", "1.0, 0.0, 0.0", "timesteps: 0 is not above 0 and at most 1."),
    ("64, 128", "1000, 500", "timesteps: 1000 is not above 0 and at most 1."),
    ("64, 128", "1.0001, 0.5", "timesteps: 1.0001 is not above 0 and at most 1."),
    ("nan, 128", "1.0, 0.5", "scales: 'nan' is not a number."),
    ("64, inf", "1.0, 0.5", "scales: 'inf' is not a number."),
    ("64, 1e999", "1.0, 0.5", "scales: '1e999' is not a number."),
    ("64, 128", "1.0, NaN", "timesteps: 'NaN' is not a number."),
    ("64, 128", "Infinity, 0.5", "timesteps: 'Infinity' is not a number."),
    ("64, 1e308", "1.0, 0.5", "scales: 1e+308 is above 1000000."),
    ("1e308, 1e308", "1.0, 0.5", "scales: 1e+308 is above 1000000."),
    ("small, large", "1.0, 0.5", "scales: 'small' is not a number."),
    ("64, 128px", "1.0, 0.5", "scales: '128px' is not a number."),
    ("0x40, 128", "1.0, 0.5", "scales: '0x40' is not a number."),
    ("1_0, 128", "1.0, 0.5", "scales: '1_0' is not a number."),
    ("[64, 128]", "1.0, 0.5", "scales: '[64' is not a number."),
    ("64x64, 128x128", "1.0, 0.5", "scales: '64x64' is not a number."),
    ("64, 128", "100%, 50%", "timesteps: '100%' is not a number."),
    ("64, 128", "None", "timesteps: 'None' is not a number."),
    ("x" * 5000, "1.0", f"scales: '{'x' * 40}' is not a number."),
    ("64, 96, 128", "1.0, 0.5", "scales and timesteps: their lengths differ, 3 and 2."),
    ("128", "1.0, 0.5", "scales and timesteps: their lengths differ, 1 and 2."),
    (", ".join(["8"] * 64), "1.0", "scales and timesteps: their lengths differ, 64 and 1."),
]


@pytest.mark.parametrize(("scales", "timesteps", "first_line"), LISTS)
def test_a_wrong_list(swd, load, scales: str, timesteps: str, first_line: str) -> None:
    with unchanged(load(FAMILY)):
        refused(lambda: schedule_of(swd, load(FAMILY), (scales, timesteps)), first_line)


PRESETS = [
    ("flux", "SD3.5 Medium, 6 steps", "preset: SD3.5 Medium, 6 steps is not for FLUX.1-dev."),
    ("flux", "SDXL, 4 steps", "preset: SDXL, 4 steps is not for FLUX.1-dev."),
    ("sd35_medium", "SD3.5 Large, 4 steps", "preset: SD3.5 Large, 4 steps is not for SD3.5 Medium."),
    ("sd35_large", "SD3.5 Medium, 4 steps", "preset: SD3.5 Medium, 4 steps is not for SD3.5 Large."),
    ("sdxl", "FLUX.1-dev, 4 steps", "preset: FLUX.1-dev, 4 steps is not for SDXL."),
    ("flux", "", "preset: no such preset."),
    ("flux", "flux.1-dev, 4 steps", "preset: no such preset."),
    ("flux", "../auto", "preset: no such preset."),
]


@pytest.mark.parametrize(("family", "preset", "first_line"), PRESETS)
def test_a_wrong_preset(swd, load, family: str, preset: str, first_line: str) -> None:
    with unchanged(load(family)):
        refused(lambda: schedule_of(swd, load(family), preset), first_line)


MODELS = [("flux", "sd35_large"), ("sd35_large", "sd35_medium"), ("sd35_medium", "sdxl"), ("sdxl", "flux")]
NAMES = {"flux": "FLUX.1-dev", "sd35_large": "SD3.5 Large", "sd35_medium": "SD3.5 Medium", "sdxl": "SDXL"}


@pytest.mark.parametrize(("made_for", "family"), MODELS)
def test_a_schedule_of_another_model(swd, load, made_for: str, family: str) -> None:
    schedule, _ = schedule_of(swd, load(made_for), "auto")
    first_line = f"schedule: made for {NAMES[made_for]}, but the model is {NAMES[family]}."
    options = {"seed": 0, "cfg": 1.0, "denoise": 1.0, "upscale_method": "bicubic"}
    positive, latent = conditioning(family, make_text(family)), empty_latent(family, (16, 16))
    execute = swd["SWDSampler"].execute
    with unchanged(load(family)), same_picture(swd, load(family), family):
        text = refused(
            lambda: execute(model=load(family), positive=positive, latent_image=latent, schedule=schedule, **options),
            first_line,
        )
    assert f"\nFound: a schedule for {NAMES[made_for]}; a model that is {NAMES[family]}\n" in text


def test_a_schedule_of_another_model_of_the_family_names_what_differs(swd, load) -> None:
    schedule, _ = schedule_of(swd, load(FAMILY), "auto")
    other = replace(schedule, model=replace(schedule.model, multiple=4))
    sampler = swd["SamplerSWD"].execute(schedule=other, upscale_method="bicubic").result[0]
    noise, sigmas = torch.zeros(1, 16, 16, 16), torch.tensor(schedule.sigmas)
    guider = comfy.samplers.CFGGuider(load(FAMILY))
    guider.set_conds(*[conditioning(FAMILY, make_text(FAMILY))] * 2)
    with pytest.raises(ValueError, match=r"Found: .* multiple of 4 latent .* multiple of 2 latent"):
        guider.sample(noise, noise, sampler, sigmas, disable_pbar=True)


def steps(count: int) -> tuple[str, str]:
    return ", ".join(["8"] * count), ", ".join(f"{1 - i / (count + 1):.6f}" for i in range(count))


ODD = {
    "one step": (("1", "1.0"), 1),
    "a closing zero": (("64, 128", "1.0, 0.5, 0"), 2),
    "64 steps": (steps(64), 64),
    "spaces, semicolons and new lines": ((" 64 ;\n96\t128 ", "1.0 0.7;0.5"), 3),
    "full-width digits": (("６４, 128", "1.0, 0.5"), 2),  # noqa: RUF001
    "scales far apart": (("1e-300, 1", "1.0, 0.5"), 2),
    "a timestep that float32 takes for 0": (("64, 128", "1.0, 1e-300"), 2),
    "two timesteps that float32 takes for one": (("64, 128", "1.0, 0.99999999999"), 2),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("size", [(8, 8), (1, 1), (3, 5)], ids=str)
def test_an_odd_schedule_that_is_right(swd, load, name: str, size: tuple[int, int]) -> None:
    """Also for a target that is smaller than the patch of the model."""
    lists, count = ODD[name]
    schedule, sigmas = schedule_of(swd, load(FAMILY), lists)
    assert len(schedule.scales) == len(sigmas) - 1 == count
    positive = conditioning(FAMILY, make_text(FAMILY))
    samples = all_in_one(swd, load(FAMILY), positive, empty_latent(FAMILY, size), 0, lists)["samples"]
    assert samples.shape == (1, 16, *size)
    assert torch.isfinite(samples).all()

"""What the sampler promises, seen from the outside on real ComfyUI objects."""

from __future__ import annotations

import random
from typing import Any

import comfy.k_diffusion.sampling
import comfy.samplers
import numpy as np
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_custom_sampler import BasicGuider, DisableNoise, RandomNoise, SamplerCustomAdvanced
from diffusers import FlowMatchLCMScheduler
from reference import ItemNoise, make_text, predict, sample, stage_sizes
from running import advanced, all_in_one, conditioning, empty_latent, recorded, relative_error, schedule_of

from nodes import LatentFromBatch, RepeatLatentBatch

FOUR = "SD3.5 Large, 4 steps"
RUNS = [pytest.param(advanced, id="SamplerCustomAdvanced"), pytest.param(all_in_one, id="SWDSampler")]


@pytest.fixture(scope="module")
def large(load) -> Any:
    return load("sd35_large")


@pytest.fixture(scope="module")
def positive() -> list[Any]:
    return conditioning("sd35_large", make_text("sd35_large"))


@pytest.mark.parametrize(
    ("preset", "family", "scales", "sigmas"),
    [
        (
            "SD3.5 Medium, 6 steps",
            "sd35_medium",
            (32, 48, 64, 80, 96, 128),
            (1.0, 0.9454, 0.8959, 0.7904, 0.7371, 0.6022),
        ),
        ("SD3.5 Medium, 4 steps", "sd35_medium", (64, 80, 96, 128), (1.0, 0.8959, 0.7371, 0.6022)),
        (FOUR, "sd35_large", (64, 80, 96, 128), (1.0, 0.8959, 0.7371, 0.6022)),
    ],
)
def test_diffusers_own_scheduler_gives_the_same_latent(
    swd, load, diffusers_model, figure, preset: str, family: str, scales, sigmas
) -> None:
    """FlowMatchLCMScheduler with `scale_factors`, stepped with the same noise; factors count from the first size."""
    text = make_text(family)
    generator = torch.Generator("cpu").manual_seed(3)
    first = stage_sizes(scales, 32, 32, 2)[0]
    x = torch.randn(1, 16, *first, generator=generator)
    scheduler = FlowMatchLCMScheduler(shift=1.0, scale_factors=[scale / scales[0] for scale in scales[1:]])
    scheduler.set_timesteps(sigmas=list(sigmas))
    with torch.inference_mode():
        for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
            x0 = predict(family, diffusers_model(family), float(sigma), x, (0, 0), text)
            x = scheduler.step((x - x0) / sigma, timestep, x, generator=generator, return_dict=False)[0]
    latent = all_in_one(swd, load(family), conditioning(family, text), empty_latent(family, (32, 32)), 3, preset)
    error = relative_error(latent["samples"], x / 1.5305 + 0.0609)
    figure("relative error", error, 2e-6)
    assert error <= 2e-6


@pytest.mark.parametrize("family", ["sd35_large", "flux", "sdxl"])
def test_one_scale_repeated_is_comfyui_lcm(swd, load, figure, family: str) -> None:
    model, seed = load(family), 5
    positive = conditioning(family, make_text(family))
    custom = ("1, 1, 1, 1", "1.0, 0.9, 0.75, 0.6")
    latent = advanced(swd, model, positive, empty_latent(family, (16, 24), 2), seed, custom)["samples"]

    noise = ItemNoise(seed, (0, 1))
    channels = empty_latent(family, (1, 1))["samples"].shape[1]
    given = type("Given", (), {"seed": seed, "generate_noise": lambda self, latent: noise(channels, (16, 24))})()
    lcm = comfy.samplers.KSAMPLER(
        comfy.k_diffusion.sampling.sample_lcm, {"noise_sampler": lambda sigma, sigma_next: noise(channels, (16, 24))}
    )
    expected = SamplerCustomAdvanced.execute(
        noise=given,
        guider=BasicGuider.execute(model=model, conditioning=positive).result[0],
        sampler=lcm,
        sigmas=schedule_of(swd, model, custom)[1],
        latent_image=empty_latent(family, (16, 24), 2),
    ).result[0]["samples"]
    figure("largest difference", float((latent - expected).abs().max()), 0.0)
    assert torch.equal(latent, expected)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("family", ["sd35_medium", "sd35_large", "flux", "sdxl"])
def test_the_model_sees_the_sizes_and_timesteps_of_the_schedule(swd, load, run, family: str) -> None:
    model, calls = recorded(load(family))
    run(swd, model, conditioning(family, make_text(family)), empty_latent(family, (38, 26), 2), 0, "auto")
    schedule, sigmas = schedule_of(swd, model, "auto")
    sizes = stage_sizes(schedule.scales, 38, 26, 4 if family == "sdxl" else 2)
    assert [call.shape[-2:] for call in calls] == sizes
    assert [call.shape[0] for call in calls] == [2] * len(sizes), "one forward pass a picture and stage"
    assert [call.timestep for call in calls] == sigmas[:-1].tolist()


@pytest.mark.parametrize("run", RUNS)
def test_same_seed_same_bits(swd, large, positive, run) -> None:
    first, second, other = (
        run(swd, large, positive, empty_latent("sd35_large", (16, 16)), seed, FOUR)["samples"] for seed in (7, 7, 8)
    )
    assert torch.equal(first, second)
    assert relative_error(other, first) > 0.1


@pytest.mark.parametrize("run", RUNS)
def test_picture_k_of_a_batch_is_a_single_picture_with_seed_plus_k(swd, large, positive, figure, run) -> None:
    batch = run(swd, large, positive, empty_latent("sd35_large", (16, 24), 3), 100, FOUR)["samples"]
    alone = torch.cat(
        [run(swd, large, positive, empty_latent("sd35_large", (16, 24)), 100 + k, FOUR)["samples"] for k in range(3)]
    )
    figure("relative error", relative_error(batch, alone), 1e-6)
    assert relative_error(batch, alone) <= 1e-6


@pytest.mark.parametrize("run", RUNS)
def test_a_picture_taken_from_a_batch_keeps_its_number(swd, large, positive, figure, run) -> None:
    whole = empty_latent("sd35_large", (16, 16), 6)
    part = LatentFromBatch().frombatch(whole, 3, 2)[0]
    # As Rebatch Latents numbers on: any number may come.
    late = LatentFromBatch().frombatch(empty_latent("sd35_large", (16, 16), 400), 300, 2)[0]
    repeated = RepeatLatentBatch().repeat(empty_latent("sd35_large", (16, 16), batch_index=[4]), 2)[0]
    for latent, items in ((part, (3, 4)), (late, (300, 301)), (repeated, (4, 5))):
        assert latent["batch_index"] == list(items)
        taken = run(swd, large, positive, latent, 100, FOUR)["samples"]
        alone = torch.cat(
            [run(swd, large, positive, empty_latent("sd35_large", (16, 16)), 100 + k, FOUR)["samples"] for k in items]
        )
        figure("relative error", relative_error(taken, alone), 1e-6)
        assert relative_error(taken, alone) <= 1e-6


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize(
    ("seed", "index"),
    [(np.int64(7), [1, 4]), (np.uint64(7), list(np.array([1, 4]))), (7.0, np.array([1, 4])), (7, torch.tensor([1, 4]))],
    ids=str,
)
def test_numbers_of_numpy_and_torch_are_numbers(swd, large, positive, run, seed: Any, index: Any) -> None:
    """Seeds and batch_index of other packs, which ComfyUI's own samplers take."""
    given = run(swd, large, positive, empty_latent("sd35_large", (8, 8), 2, batch_index=index), seed, FOUR)
    plain = run(swd, large, positive, empty_latent("sd35_large", (8, 8), 2, batch_index=[1, 4]), 7, FOUR)
    assert torch.equal(given["samples"], plain["samples"])


def test_global_generators_are_untouched(swd, large, positive) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    state = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    all_in_one(swd, large, positive, empty_latent("sd35_large", (16, 16), 2), 5, FOUR)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.array_equal(np.random.get_state()[1], state[1])
    assert random.getstate() == state[2]


def test_at_cfg_1_the_negative_prompt_costs_nothing_and_changes_nothing(swd, large, positive) -> None:
    model, calls = recorded(large)
    negative = conditioning("sd35_large", make_text("sd35_large", seed=1))
    latent = empty_latent("sd35_large", (16, 16))
    with_negative = all_in_one(swd, model, positive, latent, 0, FOUR, negative=negative)
    assert [call.shape[0] for call in calls] == [1, 1, 1, 1]
    assert torch.equal(with_negative["samples"], all_in_one(swd, large, positive, latent, 0, FOUR)["samples"])


def test_cfg_without_a_negative_prompt_is_an_error(swd, large, positive) -> None:
    with pytest.raises(ValueError, match=r"^negative: cfg needs a negative prompt\."):
        all_in_one(swd, large, positive, empty_latent("sd35_large", (16, 16)), 0, FOUR, cfg=2.0)


def test_so_is_one_that_a_patch_of_the_model_sets_for_a_part_of_the_steps(swd, large, positive) -> None:
    """As ComfyUI's CFG Override (0.30) does. The picture would be made of three times the prediction."""

    def override(executor: Any, *arguments: Any) -> Any:
        executor.class_obj.cfg = 3.0 if float(arguments[1][0]) < 0.8 else 1.0
        return executor(*arguments)

    model = large.clone()
    model.add_wrapper(WrappersMP.PREDICT_NOISE, override)
    latent = empty_latent("sd35_large", (16, 16))
    with pytest.raises(ValueError, match=r"^negative: cfg needs a negative prompt\.\nFound: cfg 3 and nothing"):
        all_in_one(swd, model, positive, latent, 0, FOUR)
    negative = conditioning("sd35_large", make_text("sd35_large", seed=1))
    assert torch.isfinite(all_in_one(swd, model, positive, latent, 0, FOUR, negative=negative)["samples"]).all()


def test_sdxl_sigmas_come_from_the_model(swd, load) -> None:
    _, sigmas = schedule_of(swd, load("sdxl"), "auto")
    assert sigmas.tolist() == pytest.approx([14.614641, 5.111028, 2.28464, 1.164391, 0.0], rel=1e-6)
    assert sigmas.dtype == torch.float32


@pytest.mark.parametrize("told", [None, (512, 768)], ids=["target", "set by the user"])
def test_sdxl_size_conditioning_is_the_same_at_every_stage(swd, load, diffusers_model, figure, told) -> None:
    """The target's size, as in the authors' call, unless the prompt carries a size (CLIPTextEncodeSDXL)."""
    text = make_text("sdxl")
    size = {} if told is None else {"height": told[0], "width": told[1]}
    with torch.inference_mode():
        expected = sample(
            "sdxl", diffusers_model("sdxl"), text, (64, 80, 96, 128), (1.0, 0.8, 0.6, 0.4), (40, 24),
            ItemNoise(2, (0,)), size_condition=told,
        )  # fmt: skip
    model, calls = recorded(load("sdxl"))
    latent = all_in_one(swd, model, conditioning("sdxl", text, **size), empty_latent("sdxl", (40, 24)), 2, "auto")
    assert all(torch.equal(call.conditions["y"], calls[0].conditions["y"]) for call in calls)
    figure("relative error", relative_error(latent["samples"], expected), 2e-6)
    assert relative_error(latent["samples"], expected) <= 2e-6


def test_a_sampler_object_and_a_guider_serve_again(swd, large, positive) -> None:
    """ComfyUI caches both between prompts."""
    schedule, sigmas = schedule_of(swd, large, FOUR)
    sampler = swd["SamplerSWD"].execute(schedule=schedule, upscale_method="bicubic").result[0]
    guider = BasicGuider.execute(model=large, conditioning=positive).result[0]
    before = {key: value for key, value in vars(guider).items() if key != "conds"}
    results = []
    for size in ((16, 16), (24, 16), (16, 16)):
        latent, denoised = SamplerCustomAdvanced.execute(
            noise=RandomNoise.execute(noise_seed=3).result[0],
            guider=guider,
            sampler=sampler,
            sigmas=sigmas,
            latent_image=empty_latent("sd35_large", size),
        ).result
        assert latent["samples"].shape[-2:] == size
        assert torch.allclose(latent["samples"], denoised["samples"], atol=1e-6)
        results.append(latent["samples"])
    assert torch.equal(results[0], results[2])
    assert vars(guider) == before


def test_without_noise_the_first_stage_adds_none(swd, large, positive) -> None:
    """DisableNoise gives an all-zero noise: the input is the same whatever the batch position, later stages differ."""
    model, _ = recorded(large)
    result = advanced(
        swd,
        model,
        positive,
        empty_latent("sd35_large", (16, 16), 2),
        0,
        ("1", "1.0"),
        noise=DisableNoise.execute().result[0],
    )["samples"]
    assert torch.allclose(result[0], result[1], atol=1e-6)
    grown = advanced(
        swd, model, positive, empty_latent("sd35_large", (16, 16), 2), 0, FOUR, noise=DisableNoise.execute().result[0]
    )["samples"]
    assert relative_error(grown[0], grown[1]) > 0.1


def test_a_schedule_for_another_model_is_refused(swd, load, positive) -> None:
    schedule, _ = schedule_of(swd, load("flux"), "auto")
    with pytest.raises(ValueError, match=r"^schedule: made for FLUX.1-dev, but the model is SD3.5 Large\."):
        swd["SWDSampler"].execute(
            model=load("sd35_large"), positive=positive, latent_image=empty_latent("sd35_large", (16, 16)),
            schedule=schedule, seed=0, cfg=1.0, denoise=1.0, upscale_method="bicubic",
        )  # fmt: skip


def test_a_node_that_wraps_the_sampler_function_gets_one_clear_error(swd, large) -> None:
    schedule, _ = schedule_of(swd, large, FOUR)
    sampler = swd["SamplerSWD"].execute(schedule=schedule, upscale_method="bicubic").result[0]
    with pytest.raises(RuntimeError, match=r"^Sampler SwD cannot run inside a node that wraps another sampler\."):
        sampler.sampler_function(None, torch.zeros(1), torch.zeros(1), **sampler.extra_options)


def test_the_latent_upscale_is_the_step_between_two_stages(swd) -> None:
    latent = {"samples": torch.randn(1, 16, 10, 14), "batch_index": [3]}
    grown = swd["SWDLatentUpscale"].execute(samples=latent, upscale_method="bicubic", scale_by=1.5).result[0]
    expected = torch.nn.functional.interpolate(latent["samples"], size=(15, 21), mode="bicubic")
    assert torch.equal(grown["samples"], expected)
    assert grown["batch_index"] == [3]

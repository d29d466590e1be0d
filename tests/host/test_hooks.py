"""LoRA hooks, their keyframes, and context windows: as in one run of ComfyUI's own sampler."""

from __future__ import annotations

from typing import Any

import comfy.k_diffusion.sampling
import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_custom_sampler import CFGGuider
from comfy_extras.nodes_hooks import CreateHookKeyframe, CreateHookLoraModelOnly, SetHookKeyframes, SetModelHooksOnCond
from reference import CHANNELS, ItemNoise, make_text
from running import advanced, all_in_one, conditioning, empty_latent, relative_error, schedule_of
from stepwise import one_run_a_stage

from nodes import ConditioningSetArea

FAMILY, SIZE, SEED = "sd35_medium", (16, 16), 5
REPEATED = ("1, 1, 1, 1", "1.0, 0.9, 0.75, 0.6")
LORA = "swd-medium-6-steps/adapter_model.safetensors"


def hooked(*keyframes: tuple[float, float], seed: int = 0) -> Any:
    """A prompt whose LoRA has these keyframes (start_percent, strength), made by ComfyUI's own nodes."""
    (hooks,) = CreateHookLoraModelOnly().create_hook_model_only(lora_name=LORA, strength_model=1.0)
    frames = None
    for start, strength in keyframes:
        (frames,) = CreateHookKeyframe().create_hook_keyframe(strength, start, prev_hook_kf=frames)
    if frames is not None:
        (hooks,) = SetHookKeyframes().set_hook_keyframes(hooks, frames)
    return SetModelHooksOnCond().attach_hook(conditioning(FAMILY, make_text(FAMILY, seed)), hooks)[0]


def lcm(model: Any, positive: Any, sigmas: torch.Tensor) -> torch.Tensor:
    """ComfyUI's own sampler at one size, with our noise."""
    noise = ItemNoise(SEED, (0,))
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"positive": positive})
    first = noise(CHANNELS[FAMILY], SIZE)
    sampler = comfy.samplers.KSAMPLER(
        comfy.k_diffusion.sampling.sample_lcm, {"noise_sampler": lambda *_: noise(CHANNELS[FAMILY], SIZE)}
    )
    return guider.sample(first, torch.zeros_like(first), sampler, sigmas, seed=SEED)


KEYFRAMES = {
    "no keyframes": (),
    "switched on": ((0.0, 0.0), (0.3, 1.0)),
    "switched off": ((0.0, 1.0), (0.5, 0.0)),
    "three": ((0.0, 0.2), (0.2, 0.6), (0.6, 1.0)),
}


@pytest.mark.parametrize("name", KEYFRAMES)
def test_keyframes_advance_with_sigma_as_in_one_run(swd, load, name: str) -> None:
    positive, model = hooked(*KEYFRAMES[name]), load(FAMILY)
    _, sigmas = schedule_of(swd, model, REPEATED)
    ours = advanced(swd, model, positive, empty_latent(FAMILY, SIZE), SEED, REPEATED)["samples"]
    assert torch.equal(ours, lcm(model, hooked(*KEYFRAMES[name]), sigmas))


def test_a_lora_hook_without_keyframes_is_the_lora(swd, load) -> None:
    model = load(FAMILY)
    patched = swd["SWDLoraLoader"].execute(model=model, lora_name=LORA, strength_model=1.0).result[0]
    plain = conditioning(FAMILY, make_text(FAMILY))
    latent, preset = empty_latent(FAMILY, SIZE), "SD3.5 Medium, 4 steps"
    # ComfyUI's own hook reads no adapter_config.json: it applies scale 1, the loader 2.5.
    weaker = swd["SWDLoraLoader"].execute(model=model, lora_name=LORA, strength_model=1 / 2.5).result[0]
    by_hook = all_in_one(swd, model, hooked(), latent, SEED, preset)["samples"]
    assert relative_error(by_hook, all_in_one(swd, weaker, plain, latent, SEED, preset)["samples"]) <= 1e-5
    assert relative_error(by_hook, all_in_one(swd, patched, plain, latent, SEED, preset)["samples"]) > 1e-2


def test_keyframes_reach_every_stage_of_a_growing_latent(swd, load) -> None:
    """Switched on from the second step on, the LoRA leaves the first step alone and changes the others."""
    model, latent, preset = load(FAMILY), empty_latent(FAMILY, SIZE), "SD3.5 Medium, 4 steps"
    x0: dict[str, list[torch.Tensor]] = {"with": [], "without": []}
    for name, positive in (
        ("with", hooked((0.0, 0.0), (0.05, 1.0))),
        ("without", conditioning(FAMILY, make_text(FAMILY))),
    ):
        schedule, sigmas = schedule_of(swd, model, preset)
        guider = comfy.samplers.CFGGuider(model)
        guider.inner_set_conds({"positive": positive})
        sampler = swd["SamplerSWD"].execute(schedule=schedule, upscale_method="bicubic").result[0]
        noise = torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(1))
        keep = x0[name]
        guider.sample(
            noise, latent["samples"], sampler, sigmas, callback=lambda i, x, *_, keep=keep: keep.append(x), seed=1
        )
    differences = [relative_error(a, b) for a, b in zip(x0["with"], x0["without"], strict=True)]
    assert differences[0] <= 1e-6
    assert all(difference > 1e-2 for difference in differences[1:])


def test_keyframes_keep_apart_where_areas_are_the_same_at_small_stages_alone(swd, load, figure) -> None:
    """ComfyUI copies an entry with an area to the other prompt unless that has the very area; so the order in which
    the hooks come differs between stages whose rounding makes two areas one and those where they differ."""
    model, target, sizes, timesteps = load(FAMILY), (12, 12), ((4, 4), (4, 4), (12, 12)), (1.0, 0.8, 0.6)

    def guider(whole: Any, part: Any, size: tuple[int, int] = target) -> Any:
        def area(prompt: Any, height: int, width: int) -> Any:
            pixels = (round(side * extent / 12) * 8 for side, extent in zip((width, height), size, strict=True))
            return ConditioningSetArea().append(prompt, *pixels, 0, 0, 1.0)[0]

        plain = conditioning(FAMILY, make_text(FAMILY))
        positive, negative = [*plain, *area(plain, 6, 6)], [*whole, *area(part, 6, 7)]
        return CFGGuider.execute(model=model, positive=positive, negative=negative, cfg=2.0).result[0]

    # Half of the steps of SD3.5 lie above the sigma 0.75.
    keyed = guider(hooked((0.0, 1.0), (0.1, -1.0), seed=1), hooked((0.0, 0.0), (0.5, 1.0), seed=2))
    strengths = ((1.0, 0.0), (-1.0, 0.0), (-1.0, 1.0))

    def guider_of(stage: int) -> Any:
        whole, part = strengths[stage]
        return guider(hooked((0.0, whole), seed=1), hooked((0.0, part), seed=2), sizes[stage])

    grown = advanced(swd, model, None, empty_latent(FAMILY, target), SEED, ("4, 4, 12", "1.0, 0.8, 0.6"), guider=keyed)[
        "samples"
    ]
    error = relative_error(grown, one_run_a_stage(FAMILY, guider_of, sizes, timesteps, ItemNoise(SEED, (0,))))
    figure("relative error", error, 2e-6)
    assert error <= 2e-6

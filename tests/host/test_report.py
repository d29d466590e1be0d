"""The line that a run leaves in the log."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
import torch
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from comfy_extras.nodes_custom_sampler import DisableNoise, RandomNoise
from comfy_extras.nodes_hooks import CreateHookLoraModelOnly, SetModelHooksOnCond
from comfy_extras.nodes_lora_debug import LoraLoaderBypassModelOnly
from reference import make_text
from running import advanced, all_in_one, conditioning, empty_latent
from swd_dev.tiny.families import load_family, make_conditioning

import nodes as comfy_nodes

LORA = "swd-medium-6-steps/adapter_model.safetensors"
SECONDS = r"\d+\.\d\d s"

ONLY_ITS_SEED = (
    "SwD: noise: only its seed is used, as it is not what Random Noise draws for that seed, or its batch_index is too "
    "large to be found. Each step draws its own noise; pictures count by their place in the batch."
)
AVERAGED = (
    "SwD: latent_image: the noise in it is averaged away as it shrinks to 8 x 8 for the first step. Connect Random "
    "Noise instead of DisableNoise, or begin with a step of full size."
)

NO_LORA = (
    "SwD: model: there is no LoRA on it. Without an SwD LoRA the picture comes out soft or wrong: connect SwD LoRA "
    "Loader, unless one is merged into the model."
)


def log_of(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    return [record.message for record in caplog.records if record.name == "swd" and record.levelno == level]


def test_a_run_logs_model_schedule_sizes_and_seconds(swd, load, caplog) -> None:
    schedule, _ = swd["SWDScaleSchedule"].execute(model=load("sd35_large"), preset="SD3.5 Large, 4 steps").result
    caplog.set_level(logging.INFO, "swd")
    positive = conditioning("sd35_large", make_text("sd35_large"))
    swd["SWDSampler"].execute(
        model=load("sd35_large"), positive=positive, latent_image=empty_latent("sd35_large", (16, 24), 2),
        schedule=schedule, seed=1, cfg=1.0, denoise=1.0, upscale_method="bicubic",
    )  # fmt: skip
    (line,) = log_of(caplog)
    steps = ", ".join(f"{size} {SECONDS}" for size in ("12 x 8", "16 x 10", "18 x 12", "24 x 16"))
    expected = rf"SwD: SD3\.5 Large, 4 steps, 2 pictures: {steps}; {SECONDS} in total"
    assert re.fullmatch(expected, line), line
    *stages, total = (float(text) for text in re.findall(r"(\d+\.\d\d) s", line))
    assert sum(stages) == pytest.approx(total, abs=0.03)


def test_a_custom_schedule_and_a_run_that_starts_late_are_named_as_they_are(swd, load, caplog) -> None:
    caplog.set_level(logging.INFO, "swd")
    positive = conditioning("flux", make_text("flux"))
    latent = {"samples": torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(0))}
    all_in_one(swd, load("flux"), positive, latent, 1, ("1, 2, 2", "1, 0.8, 0.5"), denoise=0.8)
    (line,) = log_of(caplog)
    assert re.fullmatch(
        rf"SwD: FLUX\.1-dev, custom schedule, 1 picture: 16 x 16 {SECONDS}, 16 x 16 {SECONDS}; {SECONDS} in total", line
    )


def test_the_log_costs_nothing_where_nobody_reads_it(swd, load, caplog) -> None:
    caplog.set_level(logging.WARNING, "swd")
    positive = conditioning("flux", make_text("flux"))
    all_in_one(swd, load("flux"), positive, empty_latent("flux", (16, 16)), 1, ("1, 2", "1, 0.5"))
    assert not log_of(caplog)


class OtherNoise:
    """Noise of another pack: its numbers are its own."""

    seed = 3

    def generate_noise(self, latent: dict[str, Any]) -> torch.Tensor:
        return torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(99))


@pytest.mark.parametrize(
    ("noise", "filled", "scales", "expected"),
    [
        (RandomNoise.execute(noise_seed=3).result[0], False, "1, 2", []),
        (RandomNoise.execute(noise_seed=3).result[0], True, "1, 2", []),
        (OtherNoise(), False, "1, 2", [ONLY_ITS_SEED]),
        (DisableNoise.execute().result[0], False, "1, 2", []),
        (DisableNoise.execute().result[0], True, "1, 2", [AVERAGED]),
        (DisableNoise.execute().result[0], True, "2, 2", []),
    ],
)
def test_noise_that_is_not_used_is_told(swd, load, caplog, noise: Any, filled: bool, scales: str, expected) -> None:
    latent = empty_latent("sd35_large", (16, 16))
    if filled:
        latent["samples"] = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    positive = conditioning("sd35_large", make_text("sd35_large"))
    advanced(swd, load("sd35_large"), positive, latent, 3, (scales, "0.9, 0.5"), noise=noise)
    assert log_of(caplog, logging.WARNING) == expected


def by_swd(swd: dict[str, Any], model: Any) -> tuple[Any, Any]:
    patched = swd["SWDLoraLoader"].execute(model=model, lora_name=LORA, strength_model=1.0).result[0]
    return patched, conditioning("sd35_medium", make_text("sd35_medium"))


def by_comfyui(swd: dict[str, Any], model: Any) -> tuple[Any, Any]:
    patched = comfy_nodes.LoraLoaderModelOnly().load_lora_model_only(model, LORA, 1.0)[0]
    return patched, conditioning("sd35_medium", make_text("sd35_medium"))


def by_bypass(swd: dict[str, Any], model: Any) -> tuple[Any, Any]:
    patched = LoraLoaderBypassModelOnly().load_lora_model_only(model, LORA, 1.0)[0]
    return patched, conditioning("sd35_medium", make_text("sd35_medium"))


def by_hook(swd: dict[str, Any], model: Any) -> tuple[Any, Any]:
    hooks = CreateHookLoraModelOnly().create_hook_model_only(lora_name=LORA, strength_model=1.0)[0]
    return model, SetModelHooksOnCond().attach_hook(conditioning("sd35_medium", make_text("sd35_medium")), hooks)[0]


def by_nobody(swd: dict[str, Any], model: Any) -> tuple[Any, Any]:
    return model, conditioning("sd35_medium", make_text("sd35_medium"))


@pytest.mark.parametrize(
    ("load_lora", "preset", "expected"),
    [
        (by_nobody, "SD3.5 Medium, 4 steps", [NO_LORA]),
        (by_nobody, ("1, 2", "1, 0.5"), []),
        (by_swd, "SD3.5 Medium, 6 steps", []),
        (by_comfyui, "SD3.5 Medium, 4 steps", []),
        (by_bypass, "SD3.5 Medium, 4 steps", []),
        (by_hook, "SD3.5 Medium, 4 steps", []),
    ],
)
def test_a_published_schedule_without_any_lora_is_told(swd, load, caplog, load_lora, preset: Any, expected) -> None:
    model, positive = load_lora(swd, load("sd35_medium"))
    all_in_one(swd, model, positive, empty_latent("sd35_medium", (16, 16)), 1, preset)
    assert log_of(caplog, logging.WARNING) == expected


def test_a_family_without_swd_loras_borrows_a_schedule_in_silence(swd, caplog) -> None:
    positive = make_conditioning("sd15")
    all_in_one(swd, load_family("sd15"), positive, {"samples": torch.zeros(1, 4, 16, 16)}, 1, "SDXL, 4 steps")
    assert not log_of(caplog, logging.WARNING)


@pytest.mark.parametrize(
    ("dim", "length", "size", "index"), [(3, 16, (8, 64), [2]), (2, 2, (32, 16), [2]), (0, 2, (8, 8), [2, 5, 0])]
)
def test_noise_that_freenoise_has_rearranged_is_known(
    swd, load, caplog, dim: int, length: int, size: Any, index: list[int]
) -> None:
    """Context windows over the width, the height or the batch copy noise about before a sampler sees it."""
    model = ContextWindowsManualNode.execute(
        model=load("sd35_large"), context_length=length, context_overlap=1, context_schedule="standard_static",
        context_stride=1, closed_loop=False, fuse_method="flat", dim=dim, freenoise=True,
    ).result[0]  # fmt: skip
    latent = empty_latent("sd35_large", size, len(index), batch_index=index)
    positive = conditioning("sd35_large", make_text("sd35_large"))
    first, second = (run(swd, model, positive, latent, 3, "auto")["samples"] for run in (advanced, all_in_one))
    assert torch.equal(first, second)
    assert ONLY_ITS_SEED not in log_of(caplog, logging.WARNING)

"""The line that a run leaves in the log."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
import torch
from comfy_extras.nodes_custom_sampler import DisableNoise, RandomNoise
from reference import make_text
from running import advanced, all_in_one, conditioning, empty_latent

SECONDS = r"\d+\.\d\d s"


ONLY_ITS_SEED = (
    "SwD: noise: only its seed is used, as it is not what Random Noise draws for that seed, or its batch_index is too "
    "large to be found. Each step draws its own noise; pictures count by their place in the batch."
)
AVERAGED = (
    "SwD: latent_image: the noise in it is averaged away as it shrinks to 8 x 8 for the first step. Connect Random "
    "Noise instead of DisableNoise, or begin with a step of full size."
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
    expected = rf"SwD: SD3\.5 Large, SD3\.5 Large, 4 steps, 2 pictures: {steps}; {SECONDS} in total"
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

"""The authors' way: the same method as a loop over diffusers' model, with the same weights, precision and noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from reference import ItemNoise, Text, sample
from torch import Tensor

from bench.forwards import ready
from bench.models import Model, models_of
from bench.rows import Bar, Row
from bench.runs import job_of, swd_plan
from bench.setting import Setting
from bench.timing import interleave, ratio, seconds
from bench.twins import Twin, twin_of

EAGER = Bar(1.0, least=True)


def measure(setting: Setting) -> Iterator[Row]:
    """Time of the diffusers loop / time of SwD here."""
    for preset, model in models_of(setting, "authors' way", "middle"):
        with ready(model.patcher):
            yield _row(setting, model, preset)


def authors_loop(setting: Setting, model: Model, twin: Twin, preset: str, side: int) -> Callable[[], Tensor]:
    """A job: the loop of tests/host/reference.py, over the schedule of a preset."""
    schedule = setting.swd["SWDScaleSchedule"].execute(model=model.patcher, preset=preset).result[0]
    device = setting.device

    def job() -> Tensor:
        # Texts come from the CPU, as those of a ComfyUI prompt do.
        text = Text(model.text.tokens.to(device), model.text.pooled.to(device))
        drawn = ItemNoise(0, (0,))
        with torch.inference_mode():
            latent = sample(
                model.family,
                twin,
                text,
                schedule.scales,
                schedule.timesteps,
                (side, side),
                lambda channels, size: drawn(channels, size).to(device),
            )
        return latent.cpu()

    return job


def _row(setting: Setting, model: Model, preset: str) -> Row:
    side = setting.target(64)
    jobs = {
        "SwD": job_of(model, swd_plan(setting, model, preset), side)(model.patcher),
        "diffusers": authors_loop(setting, model, twin_of(model), preset, side),
    }
    difference = relative_difference(jobs["SwD"](), jobs["diffusers"]())
    times = interleave(jobs, setting.runs, setting.device)
    note = f"diffusers loop / SwD, {side * 8} px; latents differ by {difference:.1e}"
    if setting.device.type == "cuda":
        note += f"; {seconds(times, 'diffusers'):.3f} s against {seconds(times, 'SwD'):.3f} s"
    numbers = {"difference": difference, **{name: seconds(times, name) for name in jobs}}
    bar = EAGER if setting.counts else None
    value = ratio(times, "diffusers", "SwD")
    return Row("authors' way", f"{preset}, {model.size}", value, bar, note, details=numbers)


def relative_difference(actual: Tensor, expected: Tensor) -> float:
    return float((actual.double() - expected.double()).norm() / expected.double().norm())

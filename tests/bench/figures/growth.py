"""How the time grows with the batch and with the picture, beside the growth of the bare forward passes."""

from __future__ import annotations

from collections.abc import Iterator

from bench.forwards import bare, ready, record
from bench.models import Model, model_of
from bench.rows import Bar, Row
from bench.runs import job_of, swd_plan
from bench.setting import Setting
from bench.timing import Times, interleave, ratio

# No worse than the model's own growth; the two hundredths are what repeated runs differ by.
OF_GROWTH = Bar(1.02)
PRESET = "SD3.5 Medium, 4 steps"
BATCHES = (1, 2, 4, 8)


def measure(setting: Setting) -> Iterator[Row]:
    """For each batch and target: (run / run of the smallest) / (forward passes / those of the smallest)."""
    if PRESET not in setting.presets or not setting.has_time("growth"):
        return
    with model_of(setting, setting.presets[PRESET], setting.size("tiny")) as model, ready(model.patcher):
        base = setting.target(32)
        yield from _rows(setting, model, "batch", [(batch, base) for batch in BATCHES])
        sides = (base // 2, base, base * 3 // 2, base * 2)
        yield from _rows(setting, model, "target", [(1, side) for side in sides])


def _rows(setting: Setting, model: Model, kind: str, sizes: list[tuple[int, int]]) -> Iterator[Row]:
    plan = swd_plan(setting, model, PRESET)
    first: float | None = None
    for batch, side in sizes:
        case = f"{PRESET}, {model.size}, " + (f"batch {batch}" if kind == "batch" else f"{side * 8} px")
        if not setting.has_time(f"growth, {case}"):
            continue
        times = _times(setting, model, plan, batch, side)
        overhead = ratio(times, "SwD", "bare")
        if first is None:
            first = overhead
            continue
        value = overhead / first
        bar = OF_GROWTH if setting.counts else None
        note = f"growth of the run / growth of its forward passes, from {_name(kind, sizes[0])}"
        yield Row("growth", case, value, bar, note, details={"overhead": overhead, "overhead_of_first": first})


def _name(kind: str, size: tuple[int, int]) -> str:
    return f"batch {size[0]}" if kind == "batch" else f"{size[1] * 8} px"


def _times(setting: Setting, model: Model, plan: object, batch: int, side: int) -> Times:
    job = job_of(model, plan, side, batch)
    jobs = {"SwD": job(model.patcher), "bare": bare(model.patcher, record(model.patcher, job))}
    return interleave(jobs, setting.runs, setting.device)

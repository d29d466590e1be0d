"""The compiled path: how much faster it is, what the first run costs, and after how many runs that is paid back."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from comfy_extras.nodes_torch_compile import TorchCompileModel

from bench.device import synchronize
from bench.figures.authors import authors_loop
from bench.forwards import ready
from bench.models import Model, model_of
from bench.rows import Bar, Row
from bench.runs import job_of, swd_plan
from bench.setting import Setting
from bench.timing import Times, interleave, ratio, seconds
from bench.twins import twin_of

OF_AUTHORS = Bar(1.2, least=True)
# One preset: compiling takes a minute a size, and a GPU may be there for ten.
PRESET = "SD3.5 Medium, 4 steps"


def measure(setting: Setting) -> Iterator[Row]:
    """Time of SwD as it is, of the diffusers loop and of ComfyUI's own node / time of SwD compiled."""
    if PRESET not in setting.presets or not setting.has_time(f"compiled, {PRESET}"):
        return
    with model_of(setting, setting.presets[PRESET], setting.size("tiny")) as model, ready(model.patcher):
        for cuda_graphs in (False, True) if setting.device.type == "cuda" else (False,):
            if setting.has_time(f"compiled, {PRESET}, CUDA graphs {cuda_graphs}"):
                yield from _rows(setting, model, cuda_graphs)


def _rows(setting: Setting, model: Model, cuda_graphs: bool) -> Iterator[Row]:
    side = setting.target(16)
    job = job_of(model, swd_plan(setting, model, PRESET), side)
    compiled = _compile_stages(setting)(model.patcher, cuda_graphs, setting.backend)
    jobs: dict[str, Callable[[], object]] = {
        "SwD": job(model.patcher),
        "compiled": job(compiled),
        "diffusers": authors_loop(setting, model, twin_of(model), PRESET, side),
    }
    first = {"compiled": _seconds(setting, jobs["compiled"])}
    _check_compiled(setting, compiled, cuda_graphs)
    if not cuda_graphs:
        _add_comfyuis(setting, jobs, first, job(TorchCompileModel.execute(model.patcher, setting.backend).result[0]))
    times = interleave(jobs, setting.runs, setting.device)
    case = f"{PRESET}, {model.size}" + (", CUDA graphs" if cuda_graphs else "")
    details = {"first_run": first, **{name: seconds(times, name) for name in jobs}}

    def row(name: str, bar: Bar | None, note: str) -> Row:
        return Row("compiled", case, ratio(times, name, "compiled"), bar, note, details=details)

    yield row("SwD", None, f"SwD as it is / compiled; {_warm_up(times, first, 'compiled')}")
    yield row("diffusers", OF_AUTHORS if setting.counts else None, "diffusers loop / SwD compiled")
    if "TorchCompileModel" in jobs:
        note = f"ComfyUI's TorchCompileModel / SwD compiled; there {_warm_up(times, first, 'TorchCompileModel')}"
        yield row("TorchCompileModel", None, note)


def _warm_up(times: Times, first: dict[str, float], name: str) -> str:
    """What the first run costs, and when that is paid back."""
    gain = seconds(times, "SwD") - seconds(times, name)
    pays = f"pays after {math.ceil(first[name] / gain)} runs" if gain > 0 else "never pays"
    return f"the first run took {first[name] / seconds(times, 'SwD'):.0f} runs' time, {pays}"


def _add_comfyuis(
    setting: Setting, jobs: dict[str, Callable[[], object]], first: dict[str, float], job: Callable[[], object]
) -> None:
    """ComfyUI's node beside ours, if it works."""
    name = "TorchCompileModel"
    try:
        first[name] = _seconds(setting, job)
    except Exception as error:
        setting.failed.append(f"compiled, {name}: {type(error).__name__}: {error}")
    else:
        jobs[name] = job


def _compile_stages(setting: Setting) -> Callable[..., Any]:
    """What the node SwD Compile calls; the node itself has no choice of backend."""
    function: Callable[..., Any] = _module(setting).compile_stages
    return function


def _check_compiled(setting: Setting, compiled: Any, cuda_graphs: bool) -> None:
    """Raise where the model ran as it is: that is no figure of the compiled path."""
    graphs = _module(setting)._graphs_of(compiled.model.diffusion_model, setting.backend, cuda_graphs)
    if graphs.told or not graphs.by_shapes:
        raise RuntimeError("; ".join(graphs.told) or "nothing was compiled")


def _module(setting: Setting) -> Any:
    return importlib.import_module(
        f"{setting.swd['SWDCompile'].__module__.rpartition('.nodes.')[0]}.swd_core.host.compiled"
    )


def _seconds(setting: Setting, job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    synchronize(setting.device)
    return time.perf_counter() - start

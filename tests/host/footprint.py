"""Loads the pack into a ComfyUI of its own, runs every node, and prints what that changed; run by test_footprint.py.

`python footprint.py COMFYUI TINY_MODELS OUTPUT FOLDER...`: the pack is loaded from each folder in turn. Prints JSON:
what differs after loading and after a run, and what was written, started or asked for meanwhile.
"""

from __future__ import annotations

import asyncio
import builtins
import gc
import json
import locale
import logging
import os
import random
import signal
import sys
import threading
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COMFYUI, TINY_MODELS, OUTPUT = sys.argv[1], sys.argv[2], Path(sys.argv[3])
FOLDERS = [Path(folder) for folder in sys.argv[4:]]
TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS.parents[1] / "devtools"), COMFYUI, str(TESTS)]

from swd_dev.tiny.comfyui import use_comfyui  # noqa: E402

use_comfyui(Path(COMFYUI))

import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402
import comfy_config.config_parser  # noqa: E402, F401 (these three: as in main.py, before any pack)
import execution  # noqa: E402, F401
import folder_paths  # noqa: E402
import numpy as np  # noqa: E402
import server  # noqa: E402, F401
import torch  # noqa: E402
from running import advanced, all_in_one, conditioning, empty_latent, schedule_of  # noqa: E402
from swd_dev.tiny.loading import load_model  # noqa: E402

import nodes as comfy_nodes  # noqa: E402

# Modules whose names, functions, classes and tables are compared.
OTHERS = ("comfy", "comfy_api", "comfy_execution", "comfy_extras", "nodes", "execution", "folder_paths", "server",
          "latent_preview", "node_helpers", "safetensors", "einops", "PIL", "numpy.random", "torch.nn.functional",
          "torch.random", "json", "logging", "random", "os", "sys", "builtins", "pickle", "struct")  # fmt: skip
NETWORK = ("socket", "subprocess", "urllib", "pickle", "http")
# An event loop makes a pair of sockets for itself; that is no network.
SILENT = ("socket.__new__",)
FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.putenv", "os.unsetenv",
             "ctypes.dlopen", "sys.addaudithook", "cpython.run_command")  # fmt: skip
PLAIN = (int, float, str, bytes, bool, type(None))


def value_of(value: Any) -> Any:
    """What a change shows by: the value where it is plain, the parts of a table, else the object itself."""
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, dict):
        return {repr(key)[:80]: id(entry) for key, entry in list(value.items())}
    if isinstance(value, (list, tuple, set, frozenset)):
        return sorted(map(id, value))
    return id(value)


def names_of(module: types.ModuleType) -> Iterator[tuple[str, Any]]:
    for name, value in list(vars(module).items()):
        yield name, value_of(value)
        if isinstance(value, type) and value.__module__ == module.__name__:
            for part, entry in list(vars(value).items()):
                # Python itself keeps these up to date.
                if part not in ("__subclasshook__", "_abc_impl", "__weakref__"):
                    yield f"{name}.{part}", value_of(entry)
        if isinstance(value, types.FunctionType):
            yield f"{name}()", [id(value.__code__), repr(value.__defaults__), repr(value.__kwdefaults__)]


def comfyui_state() -> dict[str, Any]:
    state = {}
    for module in list(sys.modules.values()):
        name = getattr(module, "__name__", "")
        if any(name == other or name.startswith(f"{other}.") for other in OTHERS):
            state |= {f"{name}.{part}": value for part, value in names_of(module)}
    return state


def torch_state() -> dict[str, Any]:
    backends = torch.backends
    return {
        "dtype": str(torch.get_default_dtype()),
        "device": str(torch.get_default_device()),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), backends.cudnn.deterministic),
        "cudnn": (backends.cudnn.enabled, backends.cudnn.benchmark, backends.cudnn.allow_tf32),
        "matmul": (torch.get_float32_matmul_precision(), backends.cuda.matmul.allow_tf32),
        "sdp": (backends.cuda.flash_sdp_enabled(), backends.cuda.mem_efficient_sdp_enabled(),
                backends.cuda.math_sdp_enabled()),
        "autocast": (torch.is_autocast_enabled(), torch.is_autocast_enabled("cpu")),
        "mkldnn": (backends.mkldnn.enabled, backends.mkldnn.deterministic),
        "anomaly": torch.is_anomaly_enabled(),
        "rng": hash(torch.get_rng_state().numpy().tobytes()),
    }  # fmt: skip


def loggers() -> dict[str, Any]:
    known = {name: logger for name, logger in logging.root.manager.loggerDict.items()
             if isinstance(logger, logging.Logger) and name != "swd"}  # fmt: skip
    return {
        name: (logger.level, logger.disabled, logger.propagate, list(map(id, logger.handlers + logger.filters)))
        for name, logger in {**known, "root": logging.root}.items()
    }


def process_state() -> dict[str, Any]:
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "import hooks": [list(map(id, hooks)) for hooks in (sys.meta_path, sys.path_hooks)],
        "python hooks": list(map(id, (sys.excepthook, sys.displayhook, sys.stdout, sys.stderr, threading.excepthook))),
        "tracing": (sys.gettrace() is None, sys.getprofile() is None, sys.getrecursionlimit()),
        "builtins": {name: id(value) for name, value in vars(builtins).items() if name != "_"},
        "signals": {number: repr(signal.getsignal(number)) for number in signal.valid_signals()},
        "warnings": [repr(entry) for entry in warnings.filters],
        "locale": locale.setlocale(locale.LC_ALL),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "gc": (gc.isenabled(), gc.get_threshold(), list(map(id, gc.callbacks))),
        "random": hash(random.getstate()),
        "numpy": hash(np.random.get_state()[1].tobytes()),
        "umask": _umask(),
    }


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def snapshot() -> dict[str, Any]:
    parts = {"torch": torch_state(), "logger": loggers(), "process": process_state(), "comfyui": comfyui_state()}
    return {f"{part}: {name}": value for part, state in parts.items() for name, value in state.items()}


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


class Audit:
    """What the interpreter tells of files, programs and the network, while it is on."""

    def __init__(self) -> None:
        self.on = False
        self.written: list[str] = []
        self.others: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open" and arguments[2] is not None and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self.written.append(os.fspath(arguments[0]) if not isinstance(arguments[0], int) else "")
        elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.utime"):
            self.written.append(os.fspath(arguments[0]))
        elif event in ("os.rename", "os.link", "os.symlink"):
            self.written += [os.fspath(arguments[0]), os.fspath(arguments[1])]
        elif event in FORBIDDEN or (event.split(".")[0] in NETWORK and event not in SILENT):
            self.others.append(f"{event} {arguments!r}"[:200])


def run_core(model: Any) -> None:
    """ComfyUI alone, so that what it keeps of a first run is there before anything is compared."""
    schedule = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", 2)
    latent = empty_latent("flux", (8, 8))["samples"]
    for _ in range(2):
        comfy.sample.sample_custom(
            model, comfy.sample.prepare_noise(latent, 1), 1.0, comfy.samplers.sampler_object("euler"), schedule,
            TEXT, TEXT, latent, disable_pbar=True, seed=1,
        )  # fmt: skip


def run_all(swd: dict[str, Any], model: Any) -> None:
    """Every node of the pack once, by both roads through the sampler."""
    name = "swd_flux/adapter_model.safetensors"
    patched, _ = swd["SWDLoraLoader"].execute(model=model, lora_name=name, strength_model=1.0).result
    schedule, _ = schedule_of(swd, patched, "auto")
    latent = all_in_one(swd, patched, TEXT, empty_latent("flux", (8, 8), 2), 1, "auto")
    advanced(swd, patched, TEXT, empty_latent("flux", (8, 8)), 1, ("1, 2", "1, 0.5"))
    swd["SWDLatentUpscale"].execute(samples=latent, upscale_method="bislerp", scale_by=2.0)
    swd["SWDLoraSave"].execute(lora_name=name, filename_prefix="loras/SwD")
    # ComfyUI names a preview by Python's random numbers, so they are put back for the comparison.
    state = random.getstate()
    swd["SWDSchedulePlot"].execute(schedule=schedule, width=1024, height=1024)
    random.setstate(state)


def load(folder: Path) -> dict[str, Any]:
    before = dict(comfy_nodes.NODE_CLASS_MAPPINGS)
    assert asyncio.run(comfy_nodes.load_custom_node(str(folder))), folder
    after = comfy_nodes.NODE_CLASS_MAPPINGS
    return {name: after[name] for name in after if after[name] is not before.get(name)}


def main() -> None:
    audit = Audit()
    report: dict[str, Any] = {}
    model = load_model("flux", Path(TINY_MODELS))
    torch.manual_seed(1)
    run_core(model)
    names, clean, table = set(sys.modules), snapshot(), dict(comfy_nodes.NODE_CLASS_MAPPINGS)
    audit.on = True
    for folder in FOLDERS:
        swd = load(folder)
        # As ComfyUI does for its web page; without any model.
        report[f"inputs of {folder.name}"] = {name: sorted(node.INPUT_TYPES()) for name, node in swd.items()}
    audit.on = False
    report["nodes"] = sorted(swd)
    report["other nodes changed"] = [name for name in table if comfy_nodes.NODE_CLASS_MAPPINGS[name] is not table[name]]
    report["modules"] = sorted(set(sys.modules) - names)
    report["after loading"] = changes(clean, snapshot())
    folder_paths.add_model_folder_path("loras", str(Path(TINY_MODELS) / "loras"))
    folder_paths.set_output_directory(str(OUTPUT / "output"))
    folder_paths.set_temp_directory(str(OUTPUT / "temp"))
    before = snapshot()
    audit.on = True
    run_all(swd, model)
    audit.on = False
    report["after a run"] = changes(before, snapshot())
    report["written"] = [path for path in audit.written if not os.path.abspath(path).startswith(str(OUTPUT))]
    report["written there"] = len(audit.written) - len(report["written"])
    report["others"] = audit.others
    print(json.dumps(report))


if __name__ == "__main__":
    from reference import make_text

    TEXT = conditioning("flux", make_text("flux"))
    with torch.inference_mode():
        main()

"""Command line of the bench: which figures, on what, and the table."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from swd_dev.options import FIGURES, add_bench_options
from swd_dev.tiny.comfyui import use_comfyui

from bench.rows import HEADER, Row, markdown, missed

PACK = Path(__file__).resolve().parents[2]
OF_NO_PRESET = ("imports", "lora")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py bench", description="Speed and memory as ratios.")
    add_bench_options(parser)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table; 1 where a bar is missed."""
    start = time.monotonic()
    options = parse(arguments)
    use_comfyui(Path(os.environ["COMFYUI_PATH"]), options.device == "cpu", options.torch_attention)
    setting = _setting(options, start)
    importlib.import_module("comfy.utils").set_progress_bar_enabled(False)
    machine = importlib.import_module("bench.machine").facts(setting)
    for name, text in machine.items():
        print(f"{name}: {text}")
    print(f"\n{HEADER}")

    def keep(rows: Sequence[Row]) -> None:
        if options.json:
            numbers = {"machine": machine, "rows": [row.as_json() for row in rows], **setting.left_out}
            options.json.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")

    rows = measure(setting, options.only or FIGURES, keep)
    keep(rows)
    for case in setting.skipped:
        print(f"no time left for {case}")
    for case in setting.failed:
        print(f"failed: {case}")
    late = missed(rows)
    print(f"\n{len(rows)} ratios, {len(late)} miss their bar; {time.monotonic() - start:.0f} s")
    return 1 if late or setting.failed else 0


def measure(setting: Any, figures: Sequence[str], keep: Callable[[Sequence[Row]], None]) -> list[Row]:
    """The rows of these figures, printed as they come; `keep` is called with all so far after each.

    One that fails is noted and the others still run: a GPU may be there only once, and not for long.
    """
    rows: list[Row] = []
    for name in figures:
        for case, part in _cases(setting, name):
            try:
                for row in importlib.import_module(f"bench.figures.{name}").measure(part):
                    print(markdown(row), flush=True)
                    rows.append(row)
                    keep(rows)
            except Exception as error:
                traceback.print_exc()
                setting.failed.append(f"{case}: {type(error).__name__}: {error}")
    return rows


def _cases(setting: Any, figure: str) -> Iterator[tuple[str, Any]]:
    """A figure preset by preset, or as a whole where it has nothing to do with presets."""
    if figure in OF_NO_PRESET:
        yield figure, setting
        return
    for preset, family in setting.presets.items():
        yield f"{figure}, {preset}", replace(setting, presets={preset: family})


def _setting(options: argparse.Namespace, start: float) -> Any:
    import torch

    from bench.setting import PRESETS, Setting

    torch.set_num_threads(options.threads)
    wanted = options.preset or list(PRESETS)
    return Setting(
        device=torch.device(options.device),
        true_size=options.true_size,
        side=options.side,
        runs=options.runs,
        presets={name: PRESETS[name] for name in wanted},
        swd=_load_pack(),
        pack=PACK,
        comfyui=Path(os.environ["COMFYUI_PATH"]),
        # True sizes need none.
        tiny_models=Path(os.environ.get("SWD_TINY_MODELS", "")),
        until=start + options.minutes * 60,
    )


def _load_pack() -> dict[str, Any]:
    import nodes as comfy_nodes

    if not asyncio.run(comfy_nodes.load_custom_node(str(PACK))):
        raise SystemExit("ComfyUI could not load the pack.")
    return {name: node for name, node in comfy_nodes.NODE_CLASS_MAPPINGS.items() if "SWD" in name}

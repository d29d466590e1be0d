"""The file that says what to train."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swd_dev.errors import DevError


@dataclass(frozen=True)
class TrainingFile:
    """What a training file holds.

    `model`: a file in models/diffusion_models or models/checkpoints. `models`: a folder with such folders; empty for
    ComfyUI's own. `output`: ComfyUI's output folder, which has the dataset in swd/datasets and gets the LoRA in loras.
    `dataset`: the name given to SwD Teacher Dataset. `lora`: the name of the LoRA. `scales` and `timesteps`: the
    schedule; empty for that of the model's family. `training`: the settings of the node SwD Distill LoRA by name, and
    more (swd_core/distill/settings.py).
    """

    model: str
    dataset: str
    lora: str
    output: Path
    models: Path | None = None
    scales: tuple[float, ...] = ()
    timesteps: tuple[float, ...] = ()
    start_over: bool = False
    training: Mapping[str, Any] = field(default_factory=dict)


def read_training_file(path: Path) -> TrainingFile:
    """Read a training file, TOML or JSON by its ending. Relative folders count from the file's own.

    Raises:
        DevError: a file that cannot be read, an unknown entry or one that is missing.
    """
    values = _parse(path)
    known = {entry.name: entry for entry in dataclasses.fields(TrainingFile)}
    unknown = sorted(set(values) - set(known))
    required = {name for name, entry in known.items() if entry.default is dataclasses.MISSING}
    missing = sorted(required - {"training"} - set(values))
    if unknown or missing:
        what = f"unknown: {', '.join(unknown)}" if unknown else f"missing: {', '.join(missing)}"
        raise DevError(f"{path}: {what}. Entries are {', '.join(known)}.")
    for name in ("output", "models"):
        if values.get(name) is not None:
            values[name] = (path.parent / values[name]).resolve()
    for name in ("scales", "timesteps"):
        values[name] = tuple(map(float, values.get(name, ())))
    return TrainingFile(**values)


def _parse(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".json":
            values: dict[str, Any] = json.loads(text)
        else:
            if sys.version_info >= (3, 11):
                import tomllib
            else:
                import tomli as tomllib

            values = tomllib.loads(text)
    except ImportError as error:
        raise DevError(f"{path}: this Python has no TOML reader; write the file as JSON.") from error
    except ValueError as error:
        raise DevError(f"{path}: {error}") from error
    return values

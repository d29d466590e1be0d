"""Controls of other packs that count their steps, carried from stage to stage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from .hooks import Conditions

ControlStates = list[tuple[Any, dict[str, Any]]]


def read_controls(conditions: Conditions) -> ControlStates:
    """What the controls of other packs have noted about themselves; ComfyUI's own count nothing."""
    return [(control, _state(control)) for control in _controls(conditions) if not _is_comfyuis(control)]


def write_controls(states: ControlStates) -> None:
    """Put controls back to where `read_controls` found them.

    ComfyUI tells them that a run begins whenever it processes conditions (samplers.py, pre_run_control), which is once
    a run for any other sampler and once a stage for this one. Advanced-ControlNet starts its keyframes over then.
    """
    for control, state in states:
        control.__dict__.update(state)


def _state(control: Any) -> dict[str, Any]:
    # Hints and masks are scaled to one size, from what ComfyUI and others call their original.
    return {
        name: value
        for name, value in vars(control).items()
        if name.endswith("_original") or not isinstance(value, Tensor)
    }


def _is_comfyuis(control: Any) -> bool:
    return type(control).__module__.startswith("comfy.")


def _controls(conditions: Conditions) -> Iterator[Any]:
    found: dict[int, Any] = {}
    for entries in conditions.values():
        for entry in entries:
            control = entry.get("control")
            while control is not None and id(control) not in found:
                found[id(control)] = control
                control = getattr(control, "previous_controlnet", None)
    return iter(found.values())

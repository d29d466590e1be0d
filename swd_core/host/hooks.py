"""Hook keyframes, carried from stage to stage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Conditions = dict[str, list[dict[str, Any]]]
KeyframeStates = list[tuple[Any, dict[str, Any]]]


def read_keyframes(conditions: Conditions) -> KeyframeStates:
    """How far each group of hook keyframes has got."""
    return [(group, _state(group)) for group in _groups(conditions)]


def write_keyframes(states: KeyframeStates) -> None:
    """Put groups back to where `read_keyframes` found them.

    ComfyUI starts all keyframes over whenever it processes conditions (hooks.py, Hook.reset), which is once a run for
    any other sampler and once a stage for this one. The groups are the same objects at each stage, their order is not:
    ComfyUI copies an entry with an area to the prompts that have none of the same area, and two areas may be the same
    at one stage and not at another.
    """
    for group, state in states:
        group.__dict__.update(state)


def _state(group: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(group).items() if name != "keyframes"}


def _groups(conditions: Conditions) -> Iterator[Any]:
    hooks = (entry["hooks"] for entries in conditions.values() for entry in entries if entry.get("hooks") is not None)
    return iter({id(hook.hook_keyframe): hook.hook_keyframe for group in hooks for hook in group.hooks}.values())

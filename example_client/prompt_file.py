"""A workflow in ComfyUI's API format: read it, and change values in it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Node id to {"class_type": ..., "inputs": {name: value or [node id, output]}, "_meta": {"title": ...}}.
Prompt = dict[str, dict[str, Any]]

SEEDS = ("seed", "noise_seed")
# From a sampler to the node that holds its text, against the links.
SAMPLER_LINKS = ("positive", "guider")
CONDITIONING_LINKS = ("positive", "conditioning", "conditioning_1")


class ClientError(Exception):
    """What went wrong and what to do, in words for the user."""


def load(path: Path) -> Prompt:
    """Read a file. Raises ClientError if it is none in the API format, OSError if it cannot be read."""
    try:
        prompt: Prompt = json.loads(path.read_text(encoding="utf-8"))
        if prompt and all("class_type" in node and "inputs" in node for node in prompt.values()):
            return prompt
    except (ValueError, TypeError, AttributeError):
        pass
    raise ClientError(f"{path} is not a workflow in the API format; export one in ComfyUI with File > Export (API).")


def set_text(prompt: Prompt, text: str) -> None:
    """Set the text that reaches the positive input of a sampler. Raises ClientError if there is none."""
    nodes = [node["inputs"][name] for node in prompt.values() for name in SAMPLER_LINKS if name in node["inputs"]]
    queue = _sources(nodes)
    while queue:
        inputs = prompt[queue.pop(0)]["inputs"]
        if isinstance(inputs.get("text"), str):
            inputs["text"] = text
            return
        queue += _sources(inputs.get(name) for name in CONDITIONING_LINKS)
    raise ClientError("--prompt: no text leads to a sampler; use --set NODE.INPUT=TEXT.")


def set_seed(prompt: Prompt, seed: int) -> None:
    """Set every seed of the workflow. Raises ClientError if there is none."""
    places = [(node["inputs"], name) for node in prompt.values() for name in SEEDS if name in node["inputs"]]
    places = [(inputs, name) for inputs, name in places if not isinstance(inputs[name], list)]
    if not places:
        raise ClientError("--seed: no node has a seed.")
    for inputs, name in places:
        inputs[name] = seed


def set_value(prompt: Prompt, change: str) -> None:
    """Set one input, `change` being NODE.INPUT=VALUE. Raises ClientError if there is no such input or value."""
    where, equals, text = change.partition("=")
    name, dot, wanted = where.rpartition(".")
    if not (equals and dot):
        raise ClientError(f"--set {change}: write it as NODE.INPUT=VALUE.")
    inputs = _find(prompt, name)["inputs"]
    values = {key: value for key, value in inputs.items() if not isinstance(value, list)}
    if wanted not in values:
        raise ClientError(f"--set {change}: {name} has no value {wanted!r}; it has {', '.join(values) or 'none'}.")
    # The kind of value stays: a text may look like a number.
    inputs[wanted] = text if isinstance(values[wanted], str) else _number(text, change)


def _sources(links: Iterable[Any]) -> list[str]:
    return [link[0] for link in links if isinstance(link, list)]


def _find(prompt: Prompt, name: str) -> dict[str, Any]:
    names = {key: (key, node["class_type"], node.get("_meta", {}).get("title")) for key, node in prompt.items()}
    found = [key for key, called in names.items() if name in called]
    if len(found) != 1:
        listed = ", ".join(f"{key} ({kind})" for key, kind, _ in names.values())
        raise ClientError(f"--set: {len(found)} nodes are called {name!r}; give the id of one of these: {listed}.")
    return prompt[found[0]]


def _number(text: str, change: str) -> bool | int | float:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, (bool, int, float)):
        raise ClientError(f"--set {change}: a number, true or false is wanted here.")
    return value

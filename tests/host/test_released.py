"""Workflows of released versions still mean what they meant, and run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from released import FOLDER, PROMPT, ours, read, released
from swd_dev.client import ComfyClient
from swd_dev.prompts import load_template, stand_in


def label(path: Path) -> str:
    return f"{path.parent.name} {path.stem}"


def test_the_first_version_has_its_files() -> None:
    titles = {path.stem for path in released() if path.parent == FOLDER / "0.1.0"}
    assert len(titles) >= 4


@pytest.mark.parametrize("path", released(), ids=label)
def test_it_means_what_it_meant(object_info: dict[str, Any], path: Path) -> None:
    """Values are saved by their place in a list, so a new input in the middle would shift them."""
    assert ours(load_template(path, object_info)) == ours(read(path)[1])


@pytest.mark.parametrize("saved_as", ["workflow", "prompt"])
@pytest.mark.parametrize("path", [path for path in released() if "train" not in path.stem], ids=label)
def test_it_runs(client: ComfyClient, object_info: dict[str, Any], path: Path, saved_as: str) -> None:
    prompt = stand_in(load_template(path, object_info) if saved_as == "workflow" else read(path)[1])
    for node in prompt.values():
        if "Empty" in node["class_type"]:
            node["inputs"].update(width=64, height=64)
    result = client.run(prompt)
    assert result.status == "success", result.error


def test_the_files_of_a_version_hold_every_node(object_info: dict[str, Any]) -> None:
    versions = {path.parent for path in released()}
    newest = max(versions, key=lambda folder: [int(part) for part in folder.name.split(".")])
    nodes = {kind for path in newest.glob(f"*{PROMPT}") for kind, _ in ours(json.loads(path.read_text())).values()}
    assert nodes == {name for name in object_info if "SWD" in name and "Tiny" not in name}

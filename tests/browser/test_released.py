"""Workflows of released versions open as they were saved. See tests/host/released.py for the rule of these files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from released import EVERY_NODE, FOLDER, PROMPT, TEMPLATES, every_node, ours, read, released

from .marks import one_renderer
from .page import ComfyPage
from .workflows import PACK

LOAD_PROMPT = "prompt => app.loadApiJson(prompt, 'prompt')"


def write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


@one_renderer
def test_a_release_adds_its_files_once(page: ComfyPage, front_end: str, request: pytest.FixtureRequest) -> None:
    version = tomlkit.parse((PACK / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    folder = FOLDER / version
    wanted = {*TEMPLATES, EVERY_NODE}
    if request.config.getoption("--update-released") and front_end == "own front end" and not folder.exists():
        for title in sorted(wanted):
            if title == EVERY_NODE:
                page.page.evaluate(LOAD_PROMPT, every_node())
                page.wait()
            else:
                page.load_template(title)
            write(folder / f"{title}.json", page.graph())
            write(folder / f"{title}{PROMPT}", page.prompt())
    assert wanted <= {path.stem for path in folder.glob("*.json")}, "run with --update-released before a release"


@one_renderer
@pytest.mark.parametrize("path", released(), ids=lambda path: f"{path.parent.name} {path.stem}")
def test_it_opens_as_it_was_saved(page: ComfyPage, path: Path) -> None:
    workflow, prompt = read(path)
    page.load(workflow, path.stem)
    assert not page.faulty_nodes()
    assert ours(page.prompt()) == ours(prompt)
    assert not page.faults

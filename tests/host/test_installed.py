"""The Registry's archive, unpacked as the Manager does it, in a ComfyUI that has nothing else of ours."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from swd_dev.client import ComfyClient
from swd_dev.frozen import read_tables
from swd_dev.prompts import load_template, set_size, stand_in
from swd_dev.server import ComfyServer

PACK = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((PACK / "workflows").glob("*.json"))
# ComfyUI's own modules that are optional may be absent; a line of ours names the pack.
TROUBLE = re.compile(r"\b(error|exception|traceback|warning|failed|cannot)\b", re.IGNORECASE)


@pytest.fixture(scope="module")
def folder_name() -> str:
    """The Manager's: the project's name in lower case."""
    project = tomlkit.parse((PACK / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["name"]).lower()


@pytest.fixture(scope="module")
def clean_server(
    archive: Path, folder_name: str, comfyui: Path, tiny_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComfyServer]:
    base = tmp_path_factory.mktemp("base")
    folder = base / "custom_nodes" / folder_name
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
        (folder / ".tracking").write_text("\n".join(file.namelist()))
    with ComfyServer(comfyui, Path(os.environ["SWD_SERVER_PYTHON"]), None, tiny_models, base) as running:
        assert [path.name for path in (base / "custom_nodes").iterdir()] == [folder_name]
        yield running


@pytest.fixture(scope="module")
def clean_client(clean_server: ComfyServer) -> ComfyClient:
    return ComfyClient(clean_server.url)


@pytest.fixture(scope="module")
def info(clean_client: ComfyClient) -> dict[str, Any]:
    return clean_client.object_info()


def test_every_node_is_there_under_the_name_of_the_pack(info: dict[str, Any], folder_name: str) -> None:
    *_, table = read_tables(PACK / "tests" / "frozen").values()
    ours = {node_id for node_id, node in info.items() if node["python_module"] == f"custom_nodes.{folder_name}"}
    assert ours == set(table)
    assert not [node["python_module"] for node in info.values() if "tiny" in node["python_module"]]


def test_the_templates_are_served_as_they_are(clean_client: ComfyClient, folder_name: str) -> None:
    listed = json.loads(clean_client.request("/workflow_templates"))[folder_name]
    assert sorted(listed) == sorted(path.stem for path in TEMPLATES)
    for path in (PACK / "workflows").iterdir():
        address = f"/api/workflow_templates/{folder_name}/{path.name.replace(' ', '%20')}"
        assert clean_client.request(address) == path.read_bytes()


def test_a_template_makes_a_picture(clean_client: ComfyClient, info: dict[str, Any]) -> None:
    (path,) = (path for path in TEMPLATES if path.stem == "SwD text to image - SD3.5 Medium, 6 steps")
    prompt = load_template(path, info)
    assert stand_in(prompt) == prompt, "every node is ComfyUI's own or ours"
    set_size(prompt, 256, 192)
    result = clean_client.run(prompt)
    assert result.status == "success", result.error
    assert len(clean_client.images(result.prompt_id)) == 1


def test_the_log_holds_no_complaint(clean_server: ComfyServer) -> None:
    lines = clean_server.log_tail(10_000).splitlines()
    assert any("custom_nodes/swd" in line.replace("\\", "/") for line in lines), "the pack's import time"
    assert not [line for line in lines if TROUBLE.search(line)]

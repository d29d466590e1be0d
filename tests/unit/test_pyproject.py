"""pyproject.toml against the Registry's specification, and what the owner has to fill in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from comfy_cli.registry.config_parser import extract_node_configuration

PACK = Path(__file__).resolve().parents[2]
CLASSIFIERS = {
    "Operating System :: OS Independent",
    "Environment :: GPU :: NVIDIA CUDA",
    "Environment :: GPU :: AMD ROCm",
    "Environment :: GPU :: Intel Arc",
    "Environment :: GPU :: Apple Metal",
    "Environment :: NPU :: Huawei Ascend",
}
# What the Registry does not understand it drops without a word.
REQUIREMENT = r"((==|>=|<=|!=|~=|>|<|<>|=)\s*)?\d+\.\d+\.\d+(-[a-zA-Z0-9]+)?"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return tomlkit.parse((PACK / "pyproject.toml").read_text(encoding="utf-8")).unwrap()


def test_the_name_is_one_the_registry_takes(document) -> None:
    name = document["project"]["name"]
    assert re.fullmatch(r"[A-Za-z]([._-]?[A-Za-z0-9])*", name)
    assert len(name) <= 100
    assert "comfyui" not in name.lower()
    assert name == name.lower(), "the Manager's folder has the lower-case name"


def test_the_version_is_three_numbers(document) -> None:
    assert re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", document["project"]["version"])


def test_the_description_fits(document) -> None:
    assert 20 < len(document["project"]["description"]) <= 1000


def test_the_classifiers_are_known(document) -> None:
    """An unknown one empties the whole list."""
    classifiers = document["project"]["classifiers"]
    assert classifiers
    assert set(classifiers) <= CLASSIFIERS


def test_nothing_is_installed_beside_the_pack(document) -> None:
    assert document["project"]["dependencies"] == []
    assert "dynamic" not in document["project"]
    assert not (PACK / "requirements.txt").exists()
    assert not (PACK / "install.py").exists()


def test_the_licence_is_the_file_that_ships(document) -> None:
    assert document["project"]["license"] == {"file": "LICENSE"}
    assert (PACK / "LICENSE").read_text(encoding="utf-8").lstrip().startswith("Apache License")


def test_the_versions_of_comfyui_are_written_in_the_registrys_form(document) -> None:
    parts = document["tool"]["comfy"]["requires-comfyui"].split(",")
    assert all(re.fullmatch(REQUIREMENT, part.strip()) for part in parts)


def test_the_help_pages_are_not_announced_here(document) -> None:
    """`web` would register under the project's name and not under the folder's: WEB_DIRECTORY does it."""
    assert "web" not in document["tool"]["comfy"]


def test_the_registry_reads_what_is_written(document) -> None:
    """By comfy-cli's own parser, which is what publishing sends."""
    read = extract_node_configuration(str(PACK / "pyproject.toml"))
    project, comfy = document["project"], document["tool"]["comfy"]
    assert (read.project.name, read.project.version) == (project["name"], project["version"])
    assert read.project.description == project["description"]
    assert read.project.supported_comfyui_version == comfy["requires-comfyui"]
    assert len(read.project.supported_accelerators) + len(read.project.supported_os) == len(project["classifiers"])
    assert read.project.urls.repository == project["urls"]["Repository"]
    assert read.tool_comfy.display_name == comfy["DisplayName"]
    assert (read.tool_comfy.publisher_id, read.tool_comfy.icon) == (comfy["PublisherId"], comfy["Icon"])

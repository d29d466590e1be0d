"""The pack changes nothing of ComfyUI, Python or the machine but what it says: its nodes, and files it is asked for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("footprint.py")
# As the Manager calls it, and as someone may: imports must not depend on the name of the folder.
NAMES = ("swd", "My SwD-pack_main (2)")

# ComfyUI's own tables of packs, and Python's of modules.
LOADING = {
    "comfyui: nodes.EXTENSION_WEB_DIRS",
    "comfyui: nodes.LOADED_MODULE_DIRS",
    "comfyui: nodes.NODE_CLASS_MAPPINGS",
    "comfyui: nodes.NODE_DISPLAY_NAME_MAPPINGS",
    "comfyui: sys.modules",
    "comfyui: sys.path_importer_cache",
    "comfyui: folder_paths.filename_list_cache",
}
# ComfyUI's own memory of a run: the models on the device, the type to compute LoRAs in, the lists of files.
RUNNING = {
    "comfyui: comfy.model_management.LORA_COMPUTE_DTYPES",
    "comfyui: comfy.model_management.current_loaded_models",
    "comfyui: folder_paths.filename_list_cache",
    "comfyui: sys.modules",
    "comfyui: sys.path_importer_cache",
}


def freeze() -> str:
    command = [sys.executable, "-m", "pip", "freeze", "--all"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def report(pack: Path, comfyui: Path, tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two copies of the pack, one after the other, and a run of all nodes of the second one left behind."""
    folder = tmp_path_factory.mktemp("packs")
    for name in NAMES:
        (folder / name).mkdir()
        for part in ("nodes", "swd_core", "web", "locales"):
            if (pack / part).is_dir():
                shutil.copytree(pack / part, folder / name / part, ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("__init__.py", "pyproject.toml"):
            shutil.copy(pack / part, folder / name / part)
    output = tmp_path_factory.mktemp("output")
    command = [sys.executable, SCRIPT, comfyui, tiny_models, output, *(folder / name for name in NAMES)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": ""}
    packages = freeze()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    assert freeze() == packages
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    report["output"] = sorted(path.suffix for path in output.rglob("*") if path.is_file())
    report["left in the pack"] = sorted(str(path) for path in folder.rglob("__pycache__"))
    return report


def test_both_copies_load_and_bring_the_same_nodes(report: dict[str, Any]) -> None:
    first, second = (report[f"inputs of {name}"] for name in NAMES)
    assert first == second
    assert sorted(second) == report["nodes"]
    assert len(second) >= 8
    assert all("required" in inputs for inputs in second.values())


def test_no_node_of_others_and_nothing_of_comfyui_changes_when_the_pack_is_loaded(report: dict[str, Any]) -> None:
    assert not report["other nodes changed"]
    assert set(report["after loading"]) <= LOADING
    assert {"comfyui: nodes.NODE_CLASS_MAPPINGS", "comfyui: sys.modules"} <= set(report["after loading"]), "it looks"


def test_nothing_changes_in_a_run_but_comfyuis_own_memory_of_it(report: dict[str, Any]) -> None:
    """Functions, lists, samplers, schedulers, torch flags, random states, environment, signals, logging."""
    assert set(report["after a run"]) <= RUNNING
    assert "comfyui: comfy.model_management.current_loaded_models" in report["after a run"], "it looks"


def test_the_pack_imports_nothing_but_itself_and_python(report: dict[str, Any]) -> None:
    new = [name for name in report["modules"] if not any(folder in name for folder in NAMES)]
    roots = {name.split(".")[0] for name in new}
    assert roots <= sys.stdlib_module_names, f"beyond what ComfyUI had loaded already: {roots}"


def test_files_are_written_in_comfyuis_folders_alone(report: dict[str, Any]) -> None:
    assert not report["written"]
    assert report["written there"] >= 2
    assert report["output"] == [".png", ".safetensors"], "the preview of the plot and the saved LoRA"
    assert not report["left in the pack"]


def test_no_network_no_program_no_pickle(report: dict[str, Any]) -> None:
    assert not report["others"]

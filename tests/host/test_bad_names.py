"""Names of files: unusual ones work, and no name reaches a file outside ComfyUI's folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import folder_paths
import pytest
from refusals import refused, unchanged
from safetensors.torch import load_file

PUBLISHED = "swd_flux/adapter_model.safetensors"
LEADS_OUT = "filename_prefix: it leads out of the output folder."
NO_NAME = "filename_prefix: it cannot be the name of a file."


@pytest.fixture(scope="module")
def lora(tiny_models: Path) -> bytes:
    return (tiny_models / "loras" / PUBLISHED).read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of LoRA files inside another, in which there is a file as well."""
    made = tmp_path / "loras"
    made.mkdir()
    folder_paths.add_model_folder_path("loras", str(made))
    yield made
    folder_paths.folder_names_and_paths["loras"][0].remove(str(made))
    folder_paths.filename_list_cache.clear()


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    before = folder_paths.get_output_directory()
    made = tmp_path / "output"
    made.mkdir()
    folder_paths.set_output_directory(str(made))
    yield made
    folder_paths.set_output_directory(before)


def apply(swd: dict[str, Any], model: Any, name: Any) -> str:
    folder_paths.filename_list_cache.clear()
    return swd["SWDLoraLoader"].execute(model=model, lora_name=name, strength_model=1.0).result[1]


UNUSUAL = [
    "with spaces/my lora.safetensors", "日本語/模型.safetensors", "Привет мир.safetensors", "emoji 😀.safetensors",
    "e\u0301 combining.safetensors", "a/b/c/d/deep.safetensors", "quote'\".safetensors", "100%20.safetensors",
    "a;b&c|d.safetensors", "-dash.safetensors", "dots...safetensors", ".hidden.safetensors", "x" * 200 + ".safetensors",
    "SHOUTED.SAFETENSORS", "short.sft", "$(id) `id`.safetensors", "#hash?.safetensors", "new\nline.safetensors",
]  # fmt: skip


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_name_works(swd, load, folder: Path, lora: bytes, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(lora)
    assert apply(swd, load("flux"), name).startswith("loaded 43 of 43 pairs")
    assert swd["SWDLoraLoader"].validate_inputs(lora_name=name) is True
    assert swd["SWDLoraSave"].validate_inputs(lora_name=name) is True


TRICKS = [
    "../outside.safetensors", "..\\outside.safetensors", "loras/../../outside.safetensors", "./../outside.safetensors",
    "sub/../inside.safetensors", "./inside.safetensors", "sub//inside.sft", "{parent}/outside.safetensors",
    "{parent}/loras/inside.safetensors", "//{parent}/outside.safetensors", "file://{parent}/outside.safetensors",
    "~/outside.safetensors", "$HOME/outside.safetensors", "%HOME%\\outside.safetensors", "C:\\outside.safetensors",
    "\\\\server\\share\\outside.safetensors", "inside.safetensors\0.txt", "inside.safetensors ", " inside.safetensors",
    "INSIDE.safetensors", "inside", "sub", "sub/", ".", "..", "", "\n", "inside.safetensors\n", "*.safetensors",
    "x" * 5000, "leads nowhere.safetensors", "a folder.safetensors", "config.json", None, 5, True, ["a"],
]  # fmt: skip


@pytest.mark.parametrize("trick", TRICKS, ids=lambda value: repr(value)[:40])
def test_a_name_that_is_not_listed_opens_nothing(swd, load, folder: Path, lora: bytes, trick: Any) -> None:
    for file in (folder.parent / "outside.safetensors", folder / "inside.safetensors", folder / "sub/inside.sft"):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(lora)
    (folder / "config.json").write_text("{}")
    (folder / "a folder.safetensors").mkdir()
    (folder / "leads nowhere.safetensors").symlink_to(folder / "nowhere")
    name = trick.format(parent=folder.parent) if isinstance(trick, str) else trick
    first_line = " ".join(f"lora_name: {str(name)[:200]} is not in models/loras.".splitlines())
    with unchanged(load("flux")):
        refused(lambda: apply(swd, load("flux"), name), first_line)
    refused(lambda: swd["SWDLoraSave"].execute(lora_name=name, filename_prefix="x"), first_line)
    if name is not None:  # a name that another node will give
        assert swd["SWDLoraLoader"].validate_inputs(lora_name=name).startswith(first_line)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(swd, load, folder: Path, lora: bytes) -> None:
    (folder / "locked.safetensors").write_bytes(lora)
    (folder / "locked.safetensors").chmod(0)
    refused(lambda: apply(swd, load("flux"), "locked.safetensors"), "lora_name: locked.safetensors cannot be read.")


def test_a_file_that_went_away_after_it_was_listed(swd, load, folder: Path, lora: bytes) -> None:
    (folder / "gone.safetensors").write_bytes(lora)
    folder_paths.filename_list_cache.clear()
    assert swd["SWDLoraLoader"].validate_inputs(lora_name="gone.safetensors") is True
    (folder / "gone.safetensors").unlink()
    execute = swd["SWDLoraLoader"].execute
    refused(
        lambda: execute(model=load("flux"), lora_name="gone.safetensors", strength_model=1.0),
        "lora_name: gone.safetensors is not in models/loras.",
    )


PREFIXES = [
    ("../out", LEADS_OUT), ("..", LEADS_OUT), ("a/../../out", LEADS_OUT), ("loras/../../out", LEADS_OUT),
    ("/tmp/out", LEADS_OUT), ("/", LEADS_OUT), ("//tmp/out", LEADS_OUT), ("link/out", LEADS_OUT), ("link", None),
    ("a\0b", NO_NAME), ("\ud800", NO_NAME), ("x" * 300 + "/y", NO_NAME),
    ("x" * 5000, "xxx"), ("x" * 300, "xxx"), ("x" * 240, "xxx"),
    ("loras/SwD", None), ("日本/語", None), ("two words", None), ("", None), ("a/b/c", None), ("%date%/x", None),
    ("..\\out", None), ("C:\\out", None), ("~/out", None), ("$HOME", None),
]  # fmt: skip


@pytest.mark.parametrize(("prefix", "first_line"), PREFIXES, ids=lambda value: repr(value)[:40])
def test_a_prefix_writes_inside_the_output_folder_or_nothing(
    swd, output: Path, tmp_path: Path, prefix: str, first_line: str | None
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (output / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    if first_line == "xxx":  # the file's own name comes into the message
        first_line = f"{f'{prefix}_00001_.safetensors'[:100]} cannot be written."
    if first_line is None and prefix != "link":
        swd["SWDLoraSave"].execute(lora_name=PUBLISHED, filename_prefix=prefix)
    else:
        first_line = first_line or LEADS_OUT
        refused(lambda: swd["SWDLoraSave"].execute(lora_name=PUBLISHED, filename_prefix=prefix), first_line)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == (0 if first_line else 1), "whole or not at all, no partial file"
    assert all(path.is_relative_to(output) and len(load_file(path)) == 3 * 43 for path in written)


def test_a_file_is_never_overwritten(swd, output: Path) -> None:
    for number in range(1, 4):
        swd["SWDLoraSave"].execute(lora_name=PUBLISHED, filename_prefix="x")
        assert len(list(output.glob("x_*"))) == number

"""A LoRA written in the common form: whole or not at all, its hash in its header, by the command line too."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, safe_open, save_file
from swd_pack.swd_core.errors import InputError
from swd_pack.swd_core.lora import convert
from swd_pack.swd_core.lora.__main__ import main
from swd_pack.swd_core.lora.convert import convert_lora
from swd_pack.swd_core.lora.file import LoraFile

LAYER = "single_transformer_blocks.0.attn.to_q"
TENSORS = {f"{LAYER}.lora_A.weight": torch.arange(6.0).reshape(2, 3), f"{LAYER}.lora_B.weight": torch.ones(4, 2)}
LORA = LoraFile("swd_flux/adapter_model.safetensors", TENSORS, {}, {"r": 2, "lora_alpha": 1})
REPORT = "swd_flux/adapter_model.safetensors -> out.safetensors: 1 pairs with alpha, flux-1-dev/lora"


def test_the_file_holds_the_scaled_pair_and_the_hash_of_its_data(tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    assert convert_lora(LORA, out) == REPORT
    assert set(load_file(out)) == {f"transformer.{LAYER}.{end}" for end in ("lora_A.weight", "lora_B.weight", "alpha")}
    assert torch.equal(load_file(out)[f"transformer.{LAYER}.lora_B.weight"], 0.5 * torch.ones(4, 2))
    data = out.read_bytes()
    digest = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
    with safe_open(out, framework="pt") as file:
        assert file.metadata()["modelspec.hash_sha256"] == f"0x{digest}"
    assert [path.name for path in tmp_path.iterdir()] == ["out.safetensors"]


def test_a_hash_over_more_than_one_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert_lora(LORA, tmp_path / "whole.safetensors")
    monkeypatch.setattr(convert, "_CHUNK", 7)
    convert_lora(LORA, tmp_path / "pieces.safetensors")
    hashes = set()
    for name in ("whole", "pieces"):
        with safe_open(tmp_path / f"{name}.safetensors", framework="pt") as file:
            hashes.add(file.metadata()["modelspec.hash_sha256"])
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("name", "first_line"),
    [
        ("taken.safetensors", "taken.safetensors exists already."),
        ("out.pt", "out.pt cannot be written."),
        ("nowhere/out.safetensors", "out.safetensors cannot be written."),
        ("x" * 300 + ".safetensors", f"{'x' * 100} cannot be written."),
    ],
)
def test_what_is_no_name_for_a_new_file_is_refused(tmp_path: Path, name: str, first_line: str) -> None:
    (tmp_path / "taken.safetensors").write_bytes(b"taken")
    with pytest.raises(InputError) as error:
        convert_lora(LORA, tmp_path / name)
    assert str(error.value).splitlines()[0] == first_line
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("taken.safetensors", b"taken")]


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), SafetensorError("no space left")])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    def fill(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise fault

    monkeypatch.setattr(convert, "save_file", fill)
    with pytest.raises(InputError, match=r"^out.safetensors cannot be written\.\nFound: .*o space left"):
        convert_lora(LORA, tmp_path / "out.safetensors")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(convert, "_write_hash", stop)
    with pytest.raises(KeyboardInterrupt):
        convert_lora(LORA, tmp_path / "out.safetensors")
    assert not list(tmp_path.iterdir())


def test_the_command_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = tmp_path / "swd_flux" / "adapter_model.safetensors"
    source.parent.mkdir()
    save_file(TENSORS, source)
    caplog.set_level(logging.INFO, "swd")
    arguments = [str(source), str(tmp_path / "out.safetensors")]
    assert main(arguments) == 0
    assert main(arguments) == 2
    assert main([str(tmp_path / "nowhere.safetensors"), str(tmp_path / "other.safetensors")]) == 2
    assert caplog.messages[0] == REPORT
    assert caplog.messages[1].startswith("out.safetensors exists already.")
    assert caplog.messages[2].startswith(f"lora_name: {tmp_path.name}/nowhere.safetensors cannot be read.")

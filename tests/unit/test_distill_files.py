"""What is said where a file of the training cannot be written or read."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from small_network import make_network, make_trainer
from swd_pack.swd_core.distill import files
from swd_pack.swd_core.distill.files import read_json, read_tensors, write_json, write_tensors
from swd_pack.swd_core.distill.run import run_training
from swd_pack.swd_core.errors import InputError, shorten

TENSORS = {"value": torch.ones(2)}


def fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every write of safetensors and of text end as on a full disk, with the half of it that fitted."""

    def half(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        # In these words, which are no OSError.
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    def half_of_text(path: Path, text: str, **options: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "save_file", half)
    monkeypatch.setattr(Path, "write_text", half_of_text)


def test_a_full_disk_is_a_sentence_and_leaves_the_file_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, info = tmp_path / "run" / "whole.safetensors", tmp_path / "run" / "info.json"
    write_tensors(whole, TENSORS)
    write_json(info, {"a": 1})
    fill_the_disk(monkeypatch)
    for path, write in ((whole, lambda: write_tensors(whole, TENSORS)), (info, lambda: write_json(info, {"a": 2}))):
        with pytest.raises(InputError, match=rf"^run: {path.name} cannot be written\.\nFound: .*No space left") as told:
            write()
        assert shorten(str(told.value)) and str(path) in str(told.value)
    assert read_json(info) == {"a": 1} and torch.equal(read_tensors(whole, "dataset")[0]["value"], TENSORS["value"])
    assert sorted(path.name for path in whole.parent.iterdir()) == ["info.json", "whole.safetensors"]


def test_a_file_where_a_folder_should_be_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "name").write_text("a file", encoding="utf-8")
    with pytest.raises(InputError, match=r"^name: info\.json cannot be written\."):
        write_json(tmp_path / "name" / "info.json", {})
    assert (tmp_path / "name").read_text(encoding="utf-8") == "a file"


@pytest.mark.parametrize("whole", ["dataset", "checkpoint"])
def test_a_file_that_is_gone_is_a_sentence(tmp_path: Path, whole: str) -> None:
    with pytest.raises(InputError, match=rf"^{whole}: 1\.safetensors cannot be read\.\nFound: .*1\.safetensors\n"):
        read_tensors(tmp_path / "1.safetensors", whole)
    with pytest.raises(InputError, match=r"^dataset: info\.json cannot be read\."):
        read_json(tmp_path / "info.json")


def test_a_stop_whose_steps_cannot_be_saved_does_not_say_that_they_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopError(Exception):
        """As ComfyUI raises one."""

    def stop(step: int, done: int, total: int) -> None:
        if step == 3:
            raise StopError

    network = make_network()[1]
    trainer = make_trainer(network, dmd=False, gan=False, steps=4, save_every=0, within_step=stop)
    fill_the_disk(monkeypatch)
    with network.installed(), pytest.raises(InputError, match=r"checkpoint\.safetensors cannot be written"):
        run_training(trainer, tmp_path / "run", lambda: None, lambda step, losses: None)

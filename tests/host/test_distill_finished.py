"""What SwD Teacher Dataset tells ComfyUI, which runs a node again when that changes; see also test_http."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from swd_pack.swd_core.distill.folder import FolderData


def test_it_changes_once_for_each_loss_and_for_nothing_else(swd: dict[str, Any], make_teacher, output: Path) -> None:
    def told(name: str | None) -> Any:
        return swd["SWDTeacherDataset"].fingerprint_inputs(dataset_name=name, prompts=None, steps=2)

    datasets = output / "swd" / "datasets"
    # None: the name comes from another node, so any loss counts.
    start = told(None)
    assert told("one") == told("two") == 0
    make_teacher(dataset_name="one")
    make_teacher(dataset_name="two")
    assert (told("one"), told("two"), told(None)) == (0, 0, start)
    (datasets / "one" / "dataset.json").unlink()
    assert (told(" one "), told("one"), told("two"), told(None)) == (1, 1, 0, start + 1)
    make_teacher(dataset_name="one")
    assert (told("one"), told(None)) == (1, start + 1)
    for name in ("one", "two"):
        shutil.rmtree(datasets / name)
    assert told(None) == start + 3
    assert (told("one"), told("two")) == (2, 1)


def test_prompts_that_are_gone_are_noticed_and_written_again(swd: dict[str, Any], make_teacher, output: Path) -> None:
    """Whatever is left of the rest: the same files as before, and nothing is trained on without."""
    dataset, _ = make_teacher()
    root = output / "swd" / "datasets" / "pictures"
    prompts = {path.name: path.read_bytes() for path in (root / "prompts").iterdir()}
    assert len(prompts) == 3

    def told() -> Any:
        return swd["SWDTeacherDataset"].fingerprint_inputs(dataset_name="pictures", prompts=None, steps=2)

    for gone, left, found in (
        ("prompts", "stages", "the files of 2 of 2 prompts missing"),
        ("prompts/000001.safetensors", "pictures", "the files of 1 of 2 prompts missing"),
        ("prompts/negative.safetensors", "pictures", "the file of the negative prompt missing"),
    ):
        before = told()
        shutil.rmtree(root / gone) if gone == "prompts" else (root / gone).unlink()
        if left == "stages":
            shutil.rmtree(root / "pictures")
        with pytest.raises(ValueError, match=found):
            FolderData(dataset.folder, dataset.sizes, lambda latent: latent)
        assert told() == before + 1
        make_teacher()
        assert {path.name: path.read_bytes() for path in (root / "prompts").iterdir()} == prompts


def test_no_pictures_lack_nothing(make_teacher) -> None:
    """A dataset.json without a prompt, as no node writes it, is no error of Python."""
    dataset, _ = make_teacher()
    assert dataset.folder.missing(dataset.sizes, 0, {"images_per_prompt": 2}) == ""

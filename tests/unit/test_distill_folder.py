"""A dataset on disk: what is read back, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from swd_pack.swd_core.distill.files import write_tensors
from swd_pack.swd_core.distill.folder import DatasetFolder, FolderData, write_stages
from swd_pack.swd_core.distill.pairs import StageLatents
from swd_pack.swd_core.errors import InputError, shorten

SIZES = [(2, 3), (4, 6)]
INFO = {"prompts": ["a", "b"], "images_per_prompt": 2, "constants": {"guidance": 4.5}, "cfg": 3.0}
COUNT = 4


def value(index: int, stage: int, part: int) -> torch.Tensor:
    """A latent of numbers that half precision holds."""
    height, width = SIZES[part]
    return torch.full((1, height, width), 100.0 * index + 10 * stage + part)


@pytest.fixture
def folder(tmp_path: Path) -> DatasetFolder:
    """A whole dataset of two pictures each of two prompts."""
    folder = DatasetFolder(tmp_path / "made")
    folder.write_info(INFO)
    for prompt in (None, 0, 1):
        write_tensors(folder.condition(prompt), {"text": torch.tensor([-1.0 if prompt is None else prompt])})
    for index in range(COUNT):
        stages = [StageLatents(value(index, 0, 0), None), StageLatents(value(index, 1, 1), value(index, 1, 0))]
        write_stages(folder.stages(SIZES, index), stages)
    return folder


def read(folder: DatasetFolder) -> FolderData:
    return FolderData(folder, SIZES, lambda latents: 2 * latents)


def test_pictures_come_back_scaled_and_each_with_its_prompt(folder: DatasetFolder) -> None:
    data = read(folder)
    assert len(data) == COUNT and data.constants == INFO["constants"]
    assert data.unconditional is not None and data.unconditional["text"].tolist() == [-1]
    for index in range(COUNT):
        first, condition = data.picture(index, 0)
        assert torch.equal(first.target, 2 * value(index, 0, 0)) and first.previous is None
        assert condition["text"].tolist() == [index // 2]
        last, _ = data.picture(index, 1)
        assert torch.equal(last.target, 2 * value(index, 1, 1))
        assert last.previous is not None and torch.equal(last.previous, 2 * value(index, 1, 0))


@pytest.mark.parametrize(
    ("gone", "found"),
    [
        ("dataset.json", "no dataset.json"),
        ("stages/3x2_6x4/000003.safetensors", "1 of 4 pictures missing at 3 x 2, 6 x 4"),
        ("prompts/000001.safetensors", "the files of 1 of 2 prompts missing"),
        ("prompts/negative.safetensors", "the file of the negative prompt missing"),
    ],
)
def test_what_is_not_whole_is_not_trained_on(folder: DatasetFolder, gone: str, found: str) -> None:
    assert folder.is_finished(SIZES, COUNT)
    (folder.root / gone).unlink()
    assert not folder.is_finished(SIZES, COUNT)
    with pytest.raises(InputError, match=rf"^dataset: made cannot be trained on\.\nFound: {re.escape(found)}\n"):
        read(folder)


def test_without_guidance_there_need_be_no_negative_prompt(folder: DatasetFolder) -> None:
    folder.condition(None).unlink()
    folder.write_info({**INFO, "cfg": 1.0})
    assert read(folder).unconditional is None
    folder.write_info({name: given for name, given in INFO.items() if name != "cfg"})
    assert read(folder).unconditional is None


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"prompts": "a"}, "no prompts"),
        ({"images_per_prompt": 0}, "no images_per_prompt"),
        ({"images_per_prompt": "2"}, "no images_per_prompt"),
        ({"constants": None, "prompts": None}, "no prompts and no constants"),
    ],
)
def test_a_description_of_another_kind_is_a_sentence(
    folder: DatasetFolder, changes: dict[str, Any], found: str
) -> None:
    file = folder.root / "dataset.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changes}), encoding="utf-8")
    with pytest.raises(InputError, match=rf"^dataset: dataset\.json is damaged\.\nFound: {found}, in ") as told:
        read(folder)
    assert shorten(str(told.value))


def test_a_later_format_is_refused(folder: DatasetFolder) -> None:
    (folder.root / "dataset.json").write_text('{"format": 2}', encoding="utf-8")
    with pytest.raises(InputError, match=r"^dataset: made has another format\.\nFound: 2\nAllowed: 1\n"):
        read(folder)
    assert folder.info_of_pictures() == {"format": 1, **INFO}


@pytest.mark.parametrize(("stage", "found"), [(0, "no target.0"), (1, "no target.1 and no previous.1")])
def test_a_picture_without_its_latents_is_a_sentence(folder: DatasetFolder, stage: int, found: str) -> None:
    data = read(folder)
    write_tensors(folder.stages(SIZES, 2), {"latent": torch.ones(1)})
    with pytest.raises(InputError, match=rf"^dataset: 000002\.safetensors is damaged\.\nFound: {found}, in "):
        data.picture(2, stage)

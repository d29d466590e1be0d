"""What the training nodes refuse, and what they say of a run that is not as it may look."""

from __future__ import annotations

import json
import re
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from distilling import FAMILY, PROMPTS, tensors_of
from running import schedule_of
from safetensors.torch import save
from swd_dev.tiny.families import load_family


def test_another_run_of_that_name_is_refused(swd, load, make_teacher, distill, output: Path) -> None:
    distill(lora_name="one", steps=2)
    before = (output / "loras/one/adapter_model.safetensors").read_bytes()
    make_teacher(dataset_name="others")
    later = schedule_of(swd, load(FAMILY), ("2, 3, 4", "1.0, 0.9, 0.3"))[0]
    for changes, found in (
        ({"schedule": later}, "schedule (timesteps) was [1, 0.8, 0.6], is now [1, 0.9, 0.3]"),
        ({"training_seed": 9}, "training_seed was 1, is now 9"),
        ({"teacher": {"dataset_name": "others"}}, "dataset was pictures, is now others"),
        ({"model": load("sd35_medium")}, "model was SD3.5 Large, is now SD3.5 Medium"),
        ({"dmd": True}, "dmd was off, is now on"),
    ):
        with pytest.raises(ValueError, match=f"(?s)belongs to another run.*{re.escape(found)}\n"):
            distill(lora_name="one", steps=3, **changes)
    assert (output / "loras/one/adapter_model.safetensors").read_bytes() == before
    assert "went on from 2" in distill(lora_name="one", steps=3, learning_rate=0.02, ema=0.5, batch_size=1)[3]


def test_a_run_that_has_nothing_left_to_do_says_so(distill, output: Path) -> None:
    assert "nothing was trained" not in distill(lora_name="done", steps=2)[3]
    report = distill(lora_name="done", steps=2, lora_dtype="bf16")[3]
    assert report.startswith("nothing was trained, for this run had its 2 steps already: raise steps to go on;")
    written = tensors_of(output / "loras/done/adapter_model.safetensors")
    assert {value.dtype for value in written.values()} == {torch.bfloat16}, "the file is written as asked for now"


@pytest.mark.parametrize(
    "name", ["", "..", "../up", "a/b", "a\\b", "/etc", "C:x", ".hidden", "nul", "con.txt", "x" * 101, "a\0b"]
)
def test_a_name_is_one_folder_and_nothing_else(make_teacher, distill, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a folder"):
        make_teacher(dataset_name=name)
    with pytest.raises(ValueError, match="cannot be the name of a folder"):
        distill(lora_name=name)


def test_another_dataset_or_schedule_under_the_same_name_is_refused(swd, load, make_teacher, distill) -> None:
    make_teacher()
    found = r"changed: first_seed \(5, now 6\), prompts \(number 1 was '.*', now 'something else'\)\n"
    with pytest.raises(ValueError, match=found):
        make_teacher(first_seed=6, prompts="something else")
    first = PROMPTS.splitlines()[0]
    with pytest.raises(ValueError, match=r"changed: prompts \(number 2 was '.*', now ''\)\n"):
        make_teacher(prompts=first)
    with pytest.raises(ValueError, match="the list is empty"):
        make_teacher(prompts=" \n ")
    other = schedule_of(swd, load(FAMILY), ("1, 4", "1.0, 0.8"))[0]
    with pytest.raises(ValueError, match="4 of 4 pictures missing at 2 x 2, 8 x 8"):
        distill(schedule=other)


def test_a_dataset_of_another_model_is_refused_and_one_that_does_not_say_is_used(
    load, make_teacher, output: Path
) -> None:
    make_teacher(dataset_name="teacher")
    file = output / "swd/datasets/teacher/dataset.json"
    info = json.loads(file.read_text(encoding="utf-8"))
    with pytest.raises(ValueError, match=r"Found: changed: model \('SD3.5 Large', now 'SD3.5 Medium'\)\n"):
        make_teacher(dataset_name="teacher", model=load("sd35_medium"))
    assert json.loads(file.read_text(encoding="utf-8")) == info
    assert info.pop("family") == "SD3.5 Large"
    file.write_text(json.dumps(info), encoding="utf-8")
    assert make_teacher(dataset_name="teacher")[0].count == 4


def test_a_dataset_whose_description_is_gone_is_not_mixed_with_another(make_teacher, output: Path) -> None:
    """Its pictures would be kept as those of other prompts, and shrunk from another size."""
    root = output / "swd/datasets/described"
    made = make_teacher(dataset_name="described")
    before = {path: path.read_bytes() for path in root.rglob("*.safetensors")}
    (root / "dataset.json").unlink()
    for changes, found in (({"width": 96}, "width"), ({"first_seed": 6}, "first_seed"), ({"prompts": "a"}, "prompts")):
        with pytest.raises(ValueError, match=rf"described holds another dataset\.\nFound: changed: .*{found}"):
            make_teacher(dataset_name="described", **changes)
    assert not (root / "dataset.json").exists()
    assert make_teacher(dataset_name="described") == made
    assert {path: path.read_bytes() for path in root.rglob("*.safetensors")} == before


@pytest.mark.parametrize(("part", "first"), [("model", 3), ("decode", 2), ("encode", 7)])
def test_a_picture_that_is_not_finite_is_named_and_not_kept(
    load, vae_of, make_teacher, output: Path, monkeypatch: pytest.MonkeyPatch, part: str, first: int
) -> None:
    """As float16 gives them, for which training would blame the learning rate. `first`: a call for picture 2."""
    model, vae, calls = load(FAMILY).clone(), vae_of(FAMILY), count(1)

    def spoilt(made: torch.Tensor) -> torch.Tensor:
        return made * torch.nan if next(calls) >= first else made

    def run(apply_model: Any, given: dict[str, Any]) -> torch.Tensor:
        return spoilt(apply_model(given["input"], given["timestep"], **given["c"]))

    with monkeypatch.context() as patch, pytest.raises(ValueError, match="is not finite") as told:
        if part == "model":
            model.set_model_unet_function_wrapper(run)
        else:
            own = getattr(vae, part)
            patch.setattr(vae, part, lambda values: spoilt(own(values)))
        make_teacher(dataset_name=part, model=model)
    who = "model" if part == "model" else "vae"
    assert str(told.value).startswith(f"{who}: picture 2 of 4 is not finite.\nFound: NaN or infinity ")
    root, whole = (output / "swd/datasets" / name for name in (part, f"whole {part}"))
    make_teacher(dataset_name=part)
    make_teacher(dataset_name=whole.name)
    made = [{file.relative_to(at): file.read_bytes() for file in at.rglob("*.safetensors")} for at in (root, whole)]
    assert made[0] == made[1]


def test_no_pictures_are_made_of_a_model_that_cannot_be_trained(make_teacher, output: Path) -> None:
    with pytest.raises(ValueError, match="SwD cannot train a LoRA for this model"):
        make_teacher(dataset_name="in vain", model=load_family("auraflow"))
    assert not (output / "swd/datasets/in vain").exists()


def test_guidance_that_the_dataset_does_not_allow_is_named(distill) -> None:
    without = distill(lora_name="unguided", steps=1, dmd=True, teacher={"dataset_name": "unguided", "cfg": 1.0})[3]
    assert "teacher_cfg has no effect: the dataset was made with cfg 1.0" in without
    assert "teacher_cfg" not in distill(lora_name="guided", steps=1, dmd=True)[3]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("datasets/damaged/dataset.json", b'{"format": 1'),
        ("datasets/damaged/dataset.json", b"[]"),
        ("datasets/damaged/dataset.json", b'{"format": 1, "prompts": ["a"], "images_per_prompt": 0}'),
        ("datasets/damaged/pictures/000001.safetensors", b""),
        ("datasets/damaged/prompts/000001.safetensors", b"not a tensor"),
        ("datasets/damaged/stages/4x4_6x6_8x8/000001.safetensors", b""),
        ("datasets/damaged/stages/4x4_6x6_8x8/000001.safetensors", save({"target.1": torch.zeros(16, 6, 6)})),
        ("training/damaged/checkpoint.safetensors", b""),
    ],
)
def test_a_damaged_file_is_named_and_the_run_goes_on_without_it(
    make_teacher, distill, output: Path, name: str, content: bytes
) -> None:
    run = {"lora_name": "damaged", "steps": 2, "teacher": {"dataset_name": "damaged"}}
    distill(**run)
    file = output / "swd" / name
    file.write_bytes(content)
    if file.parent.name == "pictures":
        (output / "swd/datasets/damaged/stages/4x4_6x6_8x8/000001.safetensors").unlink()
    whole, again = ("checkpoint", "run again") if "training" in name else ("dataset", "run SwD Teacher Dataset again")
    said = rf"^{whole}: {file.name} is damaged\.\nFound: .*, in {file}\n(?s:.*)delete it and {again}"
    with pytest.raises(ValueError, match=said):
        distill(**{**run, "steps": 4})
    file.unlink()
    distill(**run)

"""What a checkpoint holds, and which runs may go on from it."""

from __future__ import annotations

import contextlib
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from small_network import TIMESTEPS, Pictures, make_network, make_trainer, settings_of
from swd_pack.swd_core.distill.checkpoint import load_checkpoint, save_checkpoint
from swd_pack.swd_core.distill.files import read_tensors, write_tensors
from swd_pack.swd_core.distill.grid import SD3_GRID
from swd_pack.swd_core.distill.network import FAKE, STUDENT
from swd_pack.swd_core.distill.run import run_training
from swd_pack.swd_core.distill.trainer import Trainer
from swd_pack.swd_core.errors import InputError, shorten

ALONE = {"dmd": False, "gan": False}


def steps(trainer: Trainer, network: Any, count: int) -> None:
    with network.installed():
        for _ in range(count):
            trainer.train_step()


def gone_on(folder: Path, before: dict[str, Any], after: dict[str, Any]) -> tuple[Trainer, Any]:
    """A trainer that went on from three steps of another."""
    network = make_network()[1]
    trainer = make_trainer(network, **before)
    steps(trainer, network, 3)
    save_checkpoint(trainer, folder)
    network = make_network()[1]
    trainer = make_trainer(network, **after)
    load_checkpoint(trainer, folder)
    return trainer, network


def test_an_average_that_is_switched_on_later_starts_from_the_trained_student(tmp_path: Path) -> None:
    trainer, network = gone_on(tmp_path, ALONE, {**ALONE, "ema": 0.999})
    layer = network.adapters.layer(STUDENT, "blocks.0.to_q")
    assert layer.B.any()
    a, b = trainer.student_weights()["blocks.0.to_q"]
    assert torch.equal(a, layer.A) and torch.equal(b, layer.B)
    steps(trainer, network, 1)
    assert not torch.equal(b, layer.B) and torch.allclose(b, layer.B, atol=0.02)


def test_an_average_that_is_switched_off_later_is_left_out(tmp_path: Path) -> None:
    trainer, network = gone_on(tmp_path, {**ALONE, "ema": 0.9}, ALONE)
    layer = network.adapters.layer(STUDENT, "blocks.0.to_q")
    assert torch.equal(trainer.student_weights()["blocks.0.to_q"][1], layer.B)
    save_checkpoint(trainer, tmp_path)
    with safe_open(tmp_path / "checkpoint.safetensors", framework="pt") as file:
        assert not [key for key in file.keys() if key.startswith("average")]  # noqa: SIM118


def test_what_is_written_can_be_looked_at_and_the_student_trains_on(tmp_path: Path) -> None:
    trainer, network = gone_on(tmp_path, {**ALONE, "ema": 0.9}, {**ALONE, "ema": 0.9})
    layer = network.adapters.layer(STUDENT, "blocks.0.to_q")
    own = layer.A.clone(), layer.B.clone()
    with contextlib.suppress(KeyboardInterrupt), trainer.as_written():
        for value, written in zip((layer.A, layer.B), trainer.student_weights()["blocks.0.to_q"], strict=True):
            assert torch.equal(value, written) and not any(torch.equal(value, before) for before in own)
        raise KeyboardInterrupt
    assert torch.equal(layer.A, own[0]) and torch.equal(layer.B, own[1])


@pytest.mark.parametrize(
    "changes",
    [
        {"step": None},
        {"step": "last"},
        {"settings": "["},
        {"origin": "3"},
        {"losses": None},
        {"losses": "[]"},
    ],
)
def test_a_checkpoint_that_another_program_made_is_a_sentence(tmp_path: Path, changes: dict[str, str | None]) -> None:
    network = make_network()[1]
    trainer = make_trainer(network, **ALONE)
    steps(trainer, network, 1)
    save_checkpoint(trainer, tmp_path)
    file = tmp_path / "checkpoint.safetensors"
    tensors, metadata = read_tensors(file, "checkpoint")
    changed = {name: text for name, text in {**metadata, **changes}.items() if text is not None}
    write_tensors(file, tensors, changed)
    said = r"^checkpoint: checkpoint\.safetensors is damaged\.\nFound: a header that is none of a training run"
    with pytest.raises(InputError, match=said):
        load_checkpoint(make_trainer(make_network()[1], **ALONE), tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (ALONE, {}, "it has no adversary"),
        ({}, ALONE, "it also has adversary"),
        ({"gan": False}, {}, "trained tensors instead of"),
        ({}, {"gan": False}, "trained tensors instead of"),
    ],
)
def test_a_checkpoint_that_does_not_say_its_losses_is_refused_by_what_it_holds(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any], found: str
) -> None:
    network = make_network()[1]
    trainer = make_trainer(network, **before)
    steps(trainer, network, 1)
    with pytest.raises(InputError, match=f"(?s)belongs to another run.*{found}"):
        make_trainer(make_network()[1], **after).load(trainer.tensors(), 1, trainer.history)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (ALONE, {"dmd": True, "gan": False}, "Found: dmd was off, is now on\n"),
        ({}, ALONE, "Found: dmd was on, is now off; gan was on, is now off\n"),
        (ALONE, {**ALONE, "seed": 2}, "Found: training_seed was 42, is now 2\n"),
        (ALONE, {**ALONE, "rank": 2}, "Found: rank was 3, is now 2\n"),
        (ALONE, {**ALONE, "mmd_kernel": "rbf"}, "Found: mmd_kernel was linear, is now rbf\n"),
        (ALONE, {**ALONE, "targets": ("to_q", "to_out")}, "Found: targets was [], is now [to_q, to_out]\n"),
        ({"gan": False}, {"gan": False, "teacher_cfg": 6.5}, "Found: teacher_cfg was 4.5, is now 6.5\n"),
    ],
)
def test_another_run_is_refused_by_the_name_of_the_input(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any], found: str
) -> None:
    with pytest.raises(InputError, match=f"(?s)belongs to another run.*{re.escape(found)}"):
        gone_on(tmp_path, before, after)


def test_how_long_how_fast_and_how_exactly_may_change(tmp_path: Path) -> None:
    other = {
        "steps": 9, "batch_size": 2, "micro_batch": 1, "learning_rate": 0.5, "fake_learning_rate": 0.5, "warmup": 2,
        "decay": "cosine", "beta2": 0.9, "precision": "bf16", "lora_dtype": "fp16", "gradient_checkpointing": False,
        "ema": 0.5, "save_every": 1, "preview_every": 1, "fake_steps": 3,
    }  # fmt: skip
    assert gone_on(tmp_path, {}, other)[0].step == 3
    # What belongs to a loss that is off means nothing.
    assert gone_on(tmp_path, ALONE, {**ALONE, "teacher_cfg": 6.5, "discriminator_layers": 3})[0].step == 3


def test_where_a_run_comes_from_is_compared_where_the_checkpoint_says_it(tmp_path: Path) -> None:
    def trainer(**origin: Any) -> Trainer:
        network, values = make_network()[1], settings_of(**ALONE)
        return Trainer(network, Pictures(), TIMESTEPS, SD3_GRID, values, origin=origin)

    save_checkpoint(trainer(scales=[2, 3, 4.5]), tmp_path)
    assert load_checkpoint(trainer(scales=(2, 3, 4.5), family="another"), tmp_path)
    with pytest.raises(InputError, match=r"Found: schedule \(scales\) was \[2, 3, 4.5\], is now \[2, 4, 5\]\n"):
        load_checkpoint(trainer(scales=[2, 4, 5]), tmp_path)


def test_the_losses_of_a_long_run_fit_into_a_checkpoint(tmp_path: Path) -> None:
    """A header may have 100 MB; as JSON, these would be more."""
    network = make_network()[1]
    trainer = make_trainer(network, **ALONE)
    steps(trainer, network, 1)
    many = [{f"loss {number} ".ljust(200): index / 3 for number in range(2)} for index in range(250_000)]
    many[5]["only here"] = 0.1
    trainer.history, trainer.step = many, len(many)
    save_checkpoint(trainer, tmp_path)
    going_on = make_trainer(make_network()[1], **ALONE)
    assert load_checkpoint(going_on, tmp_path)
    assert going_on.step == len(many) and going_on.history == many


def test_a_checkpoint_with_its_losses_in_the_header_is_still_read(tmp_path: Path) -> None:
    network = make_network()[1]
    trainer = make_trainer(network, **ALONE)
    steps(trainer, network, 2)
    history = json.dumps(trainer.history)
    write_tensors(tmp_path / "checkpoint.safetensors", trainer.tensors(), {"step": "2", "history": history})
    going_on = make_trainer(make_network()[1], **ALONE)
    assert load_checkpoint(going_on, tmp_path)
    assert going_on.step == 2 and going_on.history == trainer.history


def test_a_stop_does_not_replace_a_checkpoint_by_an_adversary_that_is_lost(tmp_path: Path) -> None:
    """Losses are read at the end of a step, and a stop may come before it."""

    class StopError(Exception):
        pass

    network = make_network()[1]

    def within_step(step: int, done: int, total: int) -> None:
        if (step, done) == (4, 4):
            network.adapters.parameters(FAKE)[0].data.fill_(torch.inf)
        if (step, done) == (4, 8):
            raise StopError

    trainer = make_trainer(network, micro_batch=0, steps=6, save_every=2, within_step=within_step)
    with network.installed(), pytest.raises(InputError, match="the second LoRA is no longer finite in step 4") as told:
        run_training(trainer, tmp_path, lambda: None, lambda step, losses: None)
    assert shorten(str(told.value))
    network = make_network()[1]
    trainer = make_trainer(network, steps=6)
    assert load_checkpoint(trainer, tmp_path) and (trainer.step, trainer.rounds) == (2, 0)
    steps(trainer, network, 2)
    assert all(math.isfinite(value) for losses in trainer.history for value in losses.values())

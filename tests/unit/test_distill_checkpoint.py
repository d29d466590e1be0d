"""What a checkpoint holds, and which runs may go on from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from small_network import make_network, make_trainer
from swd_pack.swd_core.distill.checkpoint import load_checkpoint, save_checkpoint
from swd_pack.swd_core.distill.files import write_tensors
from swd_pack.swd_core.distill.network import STUDENT
from swd_pack.swd_core.distill.trainer import Trainer
from swd_pack.swd_core.errors import InputError

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


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (ALONE, {}, "it has no adversary"),
        ({}, ALONE, "it also has adversary"),
        ({"gan": False}, {}, "trained tensors instead of"),
        ({}, {"gan": False}, "trained tensors instead of"),
    ],
)
def test_a_checkpoint_of_other_losses_is_refused(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any], found: str
) -> None:
    with pytest.raises(InputError, match=f"(?s)belongs to another run.*{found}"):
        gone_on(tmp_path, before, after)


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

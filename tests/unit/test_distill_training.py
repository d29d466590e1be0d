"""The training loop, on a network of a few numbers."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_network import Pictures, make_network, make_trainer, settings_of
from swd_pack.swd_core.distill.checkpoint import load_checkpoint, save_checkpoint
from swd_pack.swd_core.distill.denoiser import Condition
from swd_pack.swd_core.distill.files import read_tensors
from swd_pack.swd_core.distill.loss_plot import draw_losses
from swd_pack.swd_core.distill.network import FAKE, STUDENT
from swd_pack.swd_core.distill.pairs import StageLatents
from swd_pack.swd_core.distill.run import run_training
from swd_pack.swd_core.distill.sampling import sample_network
from swd_pack.swd_core.distill.settings import DistillSettings, settings_from
from swd_pack.swd_core.distill.trainer import Trainer
from swd_pack.swd_core.distill.update import learning_rate_factor
from swd_pack.swd_core.errors import InputError
from torch import Tensor, nn


def curve(trainer: Trainer, network: Any, steps: int) -> list[dict[str, float]]:
    with network.installed():
        return [trainer.train_step() for _ in range(steps)]


@pytest.mark.parametrize("kind", ["flow", "noise"])
@pytest.mark.parametrize(
    "losses",
    [{"dmd": False, "gan": False}, {"mmd": False, "gan": False}, {"dmd": False, "gan": False, "mmd_kernel": "rbf"}, {}],
    ids=["mmd", "dmd", "rbf", "all"],
)
def test_each_loss_trains_what_it_should_and_leaves_the_model_alone(kind: str, losses: dict[str, Any]) -> None:
    model, network = make_network(kind)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    adversary = losses.get("dmd", True)
    sigma = {"mmd_sigma": 3.0} if "mmd_kernel" in losses else {}
    trainer = make_trainer(network, learning_rate=0.02, **losses, **sigma)
    state = torch.random.get_rng_state()
    history = curve(trainer, network, 3 if adversary else 60)
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator was used"
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(math.isfinite(value) for step in history for value in step.values())
    names = {"mmd": "mmd", "dmd": "dmd", "gan": "gan", "discriminator": "gan"}
    assert {name for name, switch in names.items() if losses.get(switch, True)} == set(history[0]) & set(names)
    assert ("fake score" in history[0]) == adversary
    for role in (STUDENT, FAKE) if adversary else (STUDENT,):
        assert all(parameter.any() for parameter in network.adapters.parameters(role))
    if not adversary:
        first, last = (sum(step["mmd"] for step in part) for part in (history[:9], history[-9:]))
        assert last < 0.8 * first


def same(a: list[dict[str, float]], b: list[dict[str, float]], rel: float | None = None) -> bool:
    if rel is None:
        return a == b
    return all(
        x.keys() == y.keys() and all(x[k] == pytest.approx(y[k], rel=rel, abs=1e-7) for k in x)
        for x, y in zip(a, b, strict=True)
    )


def test_checkpointing_micro_batches_and_prompts_of_many_lengths_change_nothing() -> None:
    plain = make_network()[1]
    expected = curve(make_trainer(plain), plain, 4)
    checkpointed = make_network(checkpointing=True)[1]
    assert same(curve(make_trainer(checkpointed), checkpointed, 4), expected)
    for values in ({"micro_batch": 1}, {"micro_batch": 3}, {"data": Pictures(odd=True)}):
        network = make_network()[1]
        assert same(curve(make_trainer(network, **values), network, 4), expected, rel=1e-3)


def test_bf16_is_near_and_the_lora_stays_in_32_bits() -> None:
    plain, rounded = make_network()[1], make_network()[1]
    rounded.precision = torch.bfloat16
    expected = curve(make_trainer(plain), plain, 3)
    found = curve(make_trainer(rounded, precision="bf16"), rounded, 3)
    assert found != expected
    assert same(found, expected, rel=0.1)
    assert {parameter.dtype for parameter in rounded.adapters.parameters(STUDENT)} == {torch.float32}


@pytest.mark.parametrize(
    "values", [{}, {"dmd": False, "gan": False}, {"gan": False, "ema": 0.9, "decay": "cosine", "warmup": 3}]
)
def test_a_run_goes_on_from_its_checkpoint_to_the_bit(tmp_path: Path, values: dict[str, Any]) -> None:
    network = make_network()[1]
    whole = make_trainer(network, **values)
    expected = curve(whole, network, 7)
    first = make_network()[1]
    trainer = make_trainer(first, **values)
    curve(trainer, first, 3)
    save_checkpoint(trainer, tmp_path)
    second = make_network()[1]
    going_on = make_trainer(second, **values)
    assert not load_checkpoint(going_on, tmp_path / "nowhere")
    assert load_checkpoint(going_on, tmp_path) and going_on.step == 3
    curve(going_on, second, 4)
    assert going_on.history == expected
    for name, pair in whole.student_weights().items():
        assert all(torch.equal(a, b) for a, b in zip(pair, going_on.student_weights()[name], strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.safetensors"]
    other = make_network(rank=2)[1]
    with pytest.raises(InputError, match="belongs to another run"):
        load_checkpoint(make_trainer(other, **{**values, "rank": 2}), tmp_path)


class Half:
    """One of two processes: what it gives is averaged with what the other one gave before."""

    count = 2

    def __init__(self, rank: int, tape: list[Tensor]) -> None:
        self.rank, self._tape = rank, tape

    def mean(self, value: Tensor) -> Tensor:
        if self.rank == 0:
            self._tape.append(value.clone())
            return value
        return (self._tape.pop(0) + value) / 2


def test_two_processes_share_a_batch() -> None:
    # The first step only: after it, rank 0 would need the other's gradients, which the test with processes has.
    alone, first, second = (make_network()[1] for _ in range(3))
    tape: list[Tensor] = []
    expected = curve(make_trainer(alone, dmd=False, gan=False), alone, 1)
    curve(make_trainer(first, Half(0, tape), dmd=False, gan=False), first, 1)
    assert same(curve(make_trainer(second, Half(1, tape), dmd=False, gan=False), second, 1), expected, rel=1e-5)
    assert not tape
    for a, b in zip(alone.adapters.parameters(STUDENT), second.adapters.parameters(STUDENT), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    with pytest.raises(InputError, match="cannot be shared by 2"):
        make_trainer(second, Half(1, tape), batch_size=5)


def test_the_average_is_what_is_written() -> None:
    network = make_network()[1]
    trainer = make_trainer(network, ema=0.6, dmd=False, gan=False)
    layer = network.adapters.layer(STUDENT, "blocks.0.to_q")
    average = layer.B.detach().clone()
    with network.installed():
        for _ in range(3):
            trainer.train_step()
            average = 0.6 * average + 0.4 * layer.B.detach()
    assert torch.allclose(trainer.student_weights()["blocks.0.to_q"][1], average, atol=1e-7)


def test_gradients_are_clipped_and_the_rate_follows_its_course(monkeypatch: pytest.MonkeyPatch) -> None:
    network = make_network()[1]
    trainer = make_trainer(network, dmd=False, gan=False, max_grad_norm=1e-4)
    seen: list[float] = []
    clip = nn.utils.clip_grad_norm_

    def note(parameters: list[nn.Parameter], limit: float) -> Tensor:
        before = clip(parameters, limit)
        seen.append(math.sqrt(sum(float(p.grad.square().sum()) for p in parameters if p.grad is not None)))
        return before

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", note)
    curve(trainer, network, 1)
    assert trainer.history[0]["gradient norm"] > 1e-2
    assert seen == [pytest.approx(1e-4, rel=1e-2)]
    values = settings_of(warmup=4, decay="cosine", steps=12)
    factors = [learning_rate_factor(step, values) for step in range(12)]
    assert factors[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert factors[8] == pytest.approx(0.5) and 0 < factors[11] < factors[10]
    assert learning_rate_factor(10**6, settings_of()) == 1.0


def test_a_run_that_stops_keeps_its_last_whole_step(tmp_path: Path) -> None:
    network = make_network()[1]
    trainer = make_trainer(network, dmd=False, gan=False, steps=8, save_every=0)
    written: list[int] = []

    def stop_at_five(step: int, losses: dict[str, float]) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with network.installed(), pytest.raises(KeyboardInterrupt):
        run_training(trainer, tmp_path, lambda: written.append(trainer.step), stop_at_five)
    assert written == [5]
    again = make_network()[1]
    going_on = make_trainer(again, dmd=False, gan=False, steps=8, save_every=2)
    assert load_checkpoint(going_on, tmp_path)
    with again.installed():
        run_training(going_on, tmp_path, lambda: written.append(going_on.step), lambda step, losses: None)
    assert written == [5, 6, 8]


@dataclass
class Scarce(Pictures):
    """Pictures of which only so many can be read."""

    left: int = 1000

    def picture(self, index: int, stage: int) -> tuple[StageLatents, Condition]:
        self.left -= 1
        if self.left < 0:
            raise MemoryError
        return super().picture(index, stage)


@dataclass
class Seen(Pictures):
    """Pictures that note when they are looked at."""

    indices: list[int] = field(default_factory=list)

    def picture(self, index: int, stage: int) -> tuple[StageLatents, Condition]:
        self.indices.append(index)
        return super().picture(index, stage)


def test_every_picture_has_its_turn_once_an_epoch() -> None:
    """Whichever network is trained on it: a step here has two batches for the second LoRA and one for the student."""
    network, data = make_network()[1], Seen(count=12)
    trainer = make_trainer(network, data=data, batch_size=4, fake_steps=2)
    data.indices.clear()
    curve(trainer, network, 2)
    first, second = data.indices[:12], data.indices[12:]
    assert sorted(first) == sorted(second) == list(range(12)) and first != second


def test_a_step_that_breaks_off_keeps_those_before(tmp_path: Path) -> None:
    def run(folder: Path, left: int) -> Trainer:
        network = make_network()[1]
        trainer = make_trainer(network, data=Scarce(left=left), dmd=False, gan=False, steps=6, save_every=0)
        load_checkpoint(trainer, folder)
        with network.installed():
            run_training(trainer, folder, lambda: None, lambda step, losses: None)
        return trainer

    whole = run(tmp_path / "whole", 1000).tensors()
    with pytest.raises(MemoryError):
        run(tmp_path / "parts", 18)
    assert read_tensors(tmp_path / "parts" / "checkpoint.safetensors", "checkpoint")[1]["step"] == "4"
    parts = run(tmp_path / "parts", 1000).tensors()
    assert all(torch.equal(parts[name], value) for name, value in whole.items())


@pytest.mark.parametrize("pictures", [1, 4, 8, 11])
def test_a_run_stopped_within_a_step_goes_on_as_if_it_had_not(tmp_path: Path, pictures: int) -> None:
    """A step has two batches of four pictures for the adversary, and one for the student."""

    def run(folder: Path, stop: bool) -> Trainer:
        def within_step(step: int, done: int, total: int) -> None:
            assert total == 12
            if stop and (step, done) == (3, pictures):
                raise KeyboardInterrupt

        network = make_network()[1]
        trainer = make_trainer(network, steps=5, micro_batch=1, save_every=0, ema=0.5, within_step=within_step)
        load_checkpoint(trainer, folder)
        with network.installed():
            run_training(trainer, folder, lambda: written.append(trainer.step), lambda step, losses: None)
        return trainer

    written: list[int] = []
    whole = run(tmp_path / "whole", False).tensors()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", True)
    assert written == [5, 2]
    metadata = read_tensors(tmp_path / "parts" / "checkpoint.safetensors", "checkpoint")[1]
    assert (metadata["step"], metadata["rounds"]) == ("2", str((pictures - 1) // 4))
    going_on = run(tmp_path / "parts", False)
    assert going_on.rounds == 0 and len(going_on.history) == 5
    parts = going_on.tensors()
    assert parts.keys() == whole.keys()
    assert all(torch.equal(parts[name], value) for name, value in whole.items())


def test_a_first_step_that_breaks_off_writes_no_lora_that_does_nothing(tmp_path: Path) -> None:
    def stop(step: int, done: int, total: int) -> None:
        if done == 9:
            raise KeyboardInterrupt

    network = make_network()[1]
    trainer = make_trainer(network, micro_batch=1, within_step=stop)
    written: list[int] = []
    with network.installed(), pytest.raises(KeyboardInterrupt):
        run_training(trainer, tmp_path, lambda: written.append(trainer.step), lambda step, losses: None)
    assert not written and read_tensors(tmp_path / "checkpoint.safetensors", "checkpoint")[1]["rounds"] == "2"


def test_steps_that_cannot_be_saved_after_a_fault_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def full() -> None:
        raise OSError("no space left")

    network = make_network()[1]
    trainer = make_trainer(network, data=Scarce(left=18), dmd=False, gan=False, steps=6, save_every=0)
    with network.installed(), pytest.raises(MemoryError):
        run_training(trainer, tmp_path, full, lambda step, losses: None)
    assert "its steps after 0 could not be saved: no space left" in caplog.text


def test_a_loss_that_is_no_number_ends_the_run_and_saves_nothing(tmp_path: Path) -> None:
    network = make_network()[1]
    trainer = make_trainer(network, dmd=False, gan=False)
    network.adapters.layer(STUDENT, "blocks.1.to_q").B.data.fill_(math.nan)
    with network.installed(), pytest.raises(InputError, match=r"^training: mmd is no longer finite at step 1\."):
        run_training(trainer, tmp_path, lambda: None, lambda step, losses: None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["flow", "noise"])
def test_a_picture_of_a_network_in_training_is_made_as_it_will_be_sampled(kind: str) -> None:
    network = make_network(kind)[1]
    network.adapters.add(STUDENT, torch.Generator().manual_seed(7))
    network.adapters.layer(STUDENT, "blocks.0.to_q").B.data.fill_(0.1)
    text = {"text": torch.randn(2, 6, generator=torch.Generator().manual_seed(1))}
    sizes, timesteps = [(2, 3), (4, 4), (4, 4)], (1.0, 0.8, 0.6)
    generators = [torch.Generator().manual_seed(5 + item) for item in range(2)]
    with network.installed(), torch.no_grad():
        found = sample_network(network, STUDENT, text, 4, sizes, timesteps, 5)
        with network.adapters.use(STUDENT):
            clean = None
            for size, t in zip(sizes, timesteps, strict=True):
                noise = torch.stack([torch.randn(4, *size, generator=generator) for generator in generators])
                if clean is None:
                    noisy = noise
                else:
                    noisy = network.denoiser.add_noise(F.interpolate(clean, size=size, mode="bicubic"), noise, [t, t])
                clean = network.denoiser.clean(noisy, [t, t], text)
    assert clean is not None and torch.allclose(found, clean, atol=1e-6)


def test_settings_are_read_from_plain_values_and_checked() -> None:
    values = settings_from({"steps": 5, "learning_rate": 1, "targets": ["to_q"], "mmd_range": [3, 9], "alpha": None})
    assert (values.learning_rate, values.targets, values.mmd_range) == (1.0, ("to_q",), (3, 9))
    assert settings_from(json.loads(json.dumps(values.to_dict()))) == values
    assert settings_from({}) == DistillSettings()
    for wrong, message in (
        ({"step": 5}, "no setting step"),
        ({"steps": 0}, "steps cannot be 0"),
        ({"steps": 2.5}, "steps cannot be 2.5"),
        ({"steps": True}, "steps cannot be True"),
        ({"mmd_range": [1]}, "mmd_range cannot be"),
        ({"precision": "fp8"}, "precision cannot be"),
        ({"ema": 1.0}, "ema cannot be"),
        ({"learning_rate": 0}, "learning_rate cannot be 0"),
        ({"alpha": 0.0}, "alpha cannot be 0"),
        ({"mmd": False, "dmd": False, "gan": False}, "all off"),
    ):
        with pytest.raises(InputError, match=message):
            settings_from(wrong)


def test_upstreams_numbers_are_the_defaults() -> None:
    # main.py and train_sd35_medium.sh of yandex-research/swd @9c51e19; teacher_cfg is main.py's.
    values = DistillSettings()
    assert (values.mmd_weight, values.dmd_weight, values.gan_weight, values.discriminator_weight) == (1, 1, 5e-3, 1e-2)
    assert (values.mmd_c, values.mmd_sigma, values.mmd_kernel, values.max_grad_norm) == (0.001, 100, "linear", 10)
    assert (values.beta1, values.beta2, values.weight_decay, values.epsilon) == (0.9, 0.999, 0.01, 1e-8)
    assert (values.rank, values.alpha, values.fake_steps, values.discriminator_layers) == (64, None, 5, 4)
    assert (values.learning_rate, values.fake_learning_rate, values.teacher_cfg, values.fake_cfg) == (
        5e-6,
        5e-6,
        4.5,
        1,
    )


def test_the_plot_shows_a_curve_for_each_loss() -> None:
    empty = draw_losses([], "none")
    one = draw_losses([{"mmd": 1.0, "total": 1.0}], "one")
    many = draw_losses([{"mmd": 1 / (k + 1), "dmd": math.sin(k)} for k in range(50)] + [{"mmd": math.nan}], "many")
    assert empty.size == one.size == (960, 290) and many.size == (960, 480)
    assert len(many.crop((110, 290, 920, 470)).getcolors(1 << 18)) > 3


def test_a_curve_runs_between_two_lines_that_are_its_largest_and_its_smallest_value() -> None:
    picture = draw_losses([{"mmd": 10.0 ** -(step / 25)} for step in range(51)], "falling")
    top, bottom = (y for y in range(picture.height) if picture.getpixel((500, y)) == (52, 60, 72))
    across = [x for x in range(picture.width) if picture.getpixel((x, bottom)) == (52, 60, 72)]
    left, right = across[0] + 2, across[-1] - 2

    def curve(x: int) -> list[float]:
        """How far down the curve is drawn at a column, from 0 at the upper line to 1 at the lower."""
        drawn = (y for y in range(top + 1, bottom) if picture.getpixel((x, y)) != picture.getpixel((0, 0)))
        return [(y - top) / (bottom - top) for y in drawn]

    assert max(curve(left)) < 0.1 and min(curve(right)) > 0.8
    # The axis is that of the logarithm, so half of the way is half of the height.
    assert all(0.4 < height < 0.6 for height in curve((left + right) // 2))

"""The training loop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..lora.check import is_finite
from .data import Batch, Batches, TrainingData
from .denoiser import Condition, on_device
from .draws import Draws, Purpose, make_generator
from .gan import Discriminator
from .grid import TimestepGrid
from .network import FAKE, STUDENT, TEACHER, Network
from .objective import TOTAL, Objective
from .pairs import Pair, make_pair
from .settings import DistillSettings
from .update import Average, Learner
from .workers import Alone, Workers

WithinStep = Callable[[int, int, int], None]
"""(number of the step, pictures that it has worked on, pictures of the whole step), after each micro-batch. May raise
to stop the run, which keeps the updates before."""

_ALONE = Alone()
# The one part of a checkpoint that may come and go from one continuation to the next.
_AVERAGE = "average"


class Trainer:
    """Trains the LoRA of a student, stage after stage in turn, and where asked for that of its adversary.

    `timesteps`: t in (0, 1] of each stage. `origin`: what tells this run from others beside its settings, as plain
    values by name. All random numbers follow from the seed, the step and the picture, so a run that goes on from
    `tensors`, `step` and `rounds` is the same as one that never stopped. `rounds`: updates that the adversary has had
    of a step that broke off. Steps run within `network.installed()`.

    Raises:
        InputError: fewer pictures than one, or a batch that the processes cannot share evenly.
    """

    def __init__(
        self,
        network: Network,
        data: TrainingData,
        timesteps: Sequence[float],
        grid: TimestepGrid,
        settings: DistillSettings,
        workers: Workers = _ALONE,
        origin: Mapping[str, Any] | None = None,
        within_step: WithinStep | None = None,
    ) -> None:
        _check(data, settings, workers)
        self.settings = settings
        self.origin = {**(origin or {}), "timesteps": list(timesteps)}
        self.step = self.rounds = 0
        self.history: list[dict[str, float]] = []
        self._within_step = within_step
        self._network, self._workers = network, workers
        self._timesteps = tuple(timesteps)
        self._batches = Batches(data, settings.seed)
        self._unconditional = _moved(data.unconditional, network.device)
        self._add_lora(STUDENT, Purpose.STUDENT_LORA)
        student = network.adapters.parameters(STUDENT)
        self._student = Learner(student, settings.learning_rate, settings, workers)
        self._average = Average(student, settings.ema) if settings.ema else None
        self._adversary: Learner | None = None
        head = self._add_adversary() if settings.adversary else None
        self._objective = Objective(network, grid, settings, head, self._unconditional)

    def _add_lora(self, role: str, purpose: Purpose) -> None:
        self._network.adapters.add(role, make_generator(self.settings.seed, purpose), self._network.device)

    def _add_adversary(self) -> Discriminator | None:
        settings = self.settings
        self._add_lora(FAKE, Purpose.FAKE_LORA)
        parameters = self._network.adapters.parameters(FAKE)
        head = None
        if settings.gan:
            generator = make_generator(settings.seed, Purpose.HEAD)
            head = Discriminator(self._feature_width(), settings.discriminator_layers, generator).to(
                self._network.device
            )
            parameters += list(head.parameters())
        self._adversary = Learner(parameters, settings.fake_learning_rate, settings, self._workers)
        return head

    def _feature_width(self) -> int:
        batch = next(self._batches.load([0], 0, 1, self._device))
        pair, _ = self._pair(batch, 0)
        with torch.no_grad(), self._network.tap.installed():
            return self._network.features(TEACHER, pair.noisy, pair.timesteps, pair.condition).shape[-1]

    def train_step(self) -> dict[str, float]:
        """One update of the student, after those of its adversary; returns the losses by name."""
        stage = self.step % len(self._timesteps)
        losses: dict[str, Tensor] = {}
        rounds = self._rounds_of_a_step
        for number in range(self.rounds, rounds):
            assert self._adversary is not None
            found = self._accumulate(self._objective.fake, stage, number)
            norm = self._adversary.update(self.step)
            losses = {**found, "fake gradient norm": norm}
            self.rounds = number + 1
        losses.pop(TOTAL, None)
        losses |= self._accumulate(self._objective.student, stage, rounds)
        losses["gradient norm"] = self._student.update(self.step)
        if self._average:
            self._average.update()
        self.step, self.rounds = self.step + 1, 0
        # To read a number waits for the device, so all are read at once and when all is done.
        numbers = dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))
        self.history.append(numbers)
        return numbers

    def _accumulate(
        self, objective: Callable[[Pair, Draws], Mapping[str, Tensor]], stage: int, number: int
    ) -> dict[str, Tensor]:
        """Gradients and mean losses of batch `number` of this step; this process takes its share of it."""
        share = self.settings.batch_size // self._workers.count
        batches = self._rounds_of_a_step + 1
        first = (self.step * batches + number) * self.settings.batch_size + self._workers.rank * share
        sums: dict[str, Tensor] = {}
        done = number * share
        for batch in self._batches.load(range(first, first + share), stage, self.settings.micro_batch, self._device):
            losses = objective(*self._pair(batch, stage))
            part = len(batch.items) / share
            (losses[TOTAL] * part).backward()  # type: ignore[no-untyped-call]
            for name, loss in losses.items():
                sums[name] = sums.get(name, torch.zeros((), device=self._device)) + part * loss.detach()
            done += len(batch.items)
            if self._within_step:
                self._within_step(self.step + 1, done, batches * share)
        means = self._workers.mean(torch.stack(list(sums.values())))
        return dict(zip(sums, means, strict=True))

    def _pair(self, batch: Batch, stage: int) -> tuple[Pair, Draws]:
        draws = Draws(self.settings.seed, batch.items)
        noise = on_device(draws.noise(Purpose.INPUT, batch.stage.target.shape[1:]), self._device)
        timesteps = [self._timesteps[stage]] * len(batch.items)
        return make_pair(batch.stage, noise, timesteps, batch.condition, self._network.denoiser), draws

    @property
    def _rounds_of_a_step(self) -> int:
        return self.settings.fake_steps if self._adversary else 0

    @property
    def _device(self) -> torch.device:
        return self._network.device

    def student_weights(self) -> dict[str, tuple[Tensor, Tensor]]:
        """A and B of every layer by diffusers name, averaged where an average is kept."""
        student = self._student.parameters
        values = self._average.values if self._average else [parameter.detach() for parameter in student]
        names = [target.name for target in self._network.adapters.targets]
        return {name: (values[2 * index], values[2 * index + 1]) for index, name in enumerate(names)}

    def as_written(self) -> contextlib.AbstractContextManager[None]:
        """Let the student have the weights of `student_weights`, for the time of the context."""
        return self._average.in_use() if self._average else contextlib.nullcontext()

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint needs beside `step`, `rounds` and `history`."""
        return {
            f"{part}.{name}": value for part, state in self._parts().items() for name, value in state.tensors().items()
        }

    def is_finite(self) -> bool:
        """Whether all that is trained is still a number; waits for the device."""
        return all(map(is_finite, self.tensors().values()))

    def load(
        self, tensors: Mapping[str, Tensor], step: int, history: Sequence[Mapping[str, float]], rounds: int = 0
    ) -> None:
        """Go on from a checkpoint. An average that it does not hold starts from the student as it is there.

        Raises:
            InputError: one of another rank, other layers or other losses.
        """
        parts = self._parts()
        grouped: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            part, _, name = key.partition(".")
            grouped.setdefault(part, {})[name] = value
        if _AVERAGE not in parts:
            grouped.pop(_AVERAGE, None)
        try:
            _same_parts(set(grouped), set(parts))
            for part, state in grouped.items():
                parts[part].load(state)
        except (IndexError, ValueError) as error:
            raise InputError(
                "checkpoint: it belongs to another run.",
                found=str(error),
                allowed="the checkpoint of a run with the same rank, layers and losses",
                remedy="start a run of another name, or set these back.",
            ) from error
        if self._average and _AVERAGE not in grouped:
            self._average.restart()
        self.step, self.rounds = step, rounds
        self.history = [dict(losses) for losses in history]

    def _parts(self) -> dict[str, Learner | Average]:
        parts = {"student": self._student, "adversary": self._adversary, _AVERAGE: self._average}
        return {name: part for name, part in parts.items() if part is not None}


def _same_parts(found: set[str], wanted: set[str]) -> None:
    """Raises ValueError where a checkpoint lacks a part or has one too many; the average may be missing."""
    missing, surplus = sorted(wanted - found - {_AVERAGE}), sorted(found - wanted)
    if missing or surplus:
        kinds = {"it has no": missing, "it also has": surplus}
        raise ValueError("; ".join(f"{kind} {', '.join(names)}" for kind, names in kinds.items() if names))


def _check(data: TrainingData, settings: DistillSettings, workers: Workers) -> None:
    if not len(data):
        raise InputError(
            "dataset: it holds no pictures.",
            found="0 pictures",
            allowed="at least one",
            remedy="run SwD Teacher Dataset to its end.",
        )
    if settings.batch_size % workers.count:
        raise InputError(
            f"settings: batch_size cannot be shared by {workers.count} processes.",
            found=str(settings.batch_size),
            allowed=f"a multiple of {workers.count}",
            remedy="change batch_size or the number of processes.",
        )


def _moved(condition: Condition | None, device: torch.device) -> Condition | None:
    return None if condition is None else {name: value.to(device) for name, value in condition.items()}

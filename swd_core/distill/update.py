"""One network that is trained: its parameters, their optimiser, and an update of them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from .settings import DistillSettings
from .workers import Workers


class Learner:
    """Parameters under AdamW, with clipped gradients that are averaged over all processes."""

    def __init__(
        self, parameters: Sequence[nn.Parameter], learning_rate: float, settings: DistillSettings, workers: Workers
    ) -> None:
        self.parameters = list(parameters)
        self._learning_rate = learning_rate
        self._settings = settings
        self._workers = workers
        self._optimizer = torch.optim.AdamW(
            self.parameters,
            lr=learning_rate,
            betas=(settings.beta1, settings.beta2),
            eps=settings.epsilon,
            weight_decay=settings.weight_decay,
        )

    def update(self, step: int) -> Tensor:
        """Apply the gradients at hand and forget them; returns their norm before clipping."""
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if self._workers.count > 1:
            self._share_gradients()
        norm = nn.utils.clip_grad_norm_(self.parameters, self._settings.max_grad_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate * learning_rate_factor(step, self._settings)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return norm

    def _share_gradients(self) -> None:
        # All in one message: a LoRA has hundreds of small tensors.
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        mean = self._workers.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, part in zip(gradients, torch.split(mean, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and the state of the optimiser, by name."""
        state = self._optimizer.state_dict()["state"]
        named = {f"parameter.{index}": parameter.detach() for index, parameter in enumerate(self.parameters)}
        moments = {
            f"{name}.{index}": torch.as_tensor(value)
            for index, values in state.items()
            for name, value in values.items()
        }
        return {**named, **moments}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `tensors` gave. Raises ValueError if the shapes or the number of parameters differ."""
        _same_number(sum(key.startswith("parameter.") for key in tensors), len(self.parameters))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            name, _, index = key.rpartition(".")
            if name == "parameter":
                parameter = self.parameters[int(index)]
                if parameter.shape != value.shape:
                    raise ValueError(f"{list(value.shape)} for a parameter of {list(parameter.shape)}")
                parameter.data.copy_(value)
            else:
                state.setdefault(int(index), {})[name] = value
        whole = self._optimizer.state_dict()
        self._optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})


def learning_rate_factor(step: int, settings: DistillSettings) -> float:
    """What the learning rates are multiplied with at a step, the first being 0."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if settings.decay == "constant":
        return 1.0
    part = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, part)))


class Average:
    """An exponential moving average of parameters."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters = list(parameters)
        self._decay = decay
        self.values = [parameter.detach().clone() for parameter in parameters]

    def update(self) -> None:
        for value, parameter in zip(self.values, self._parameters, strict=True):
            value.lerp_(parameter.detach(), 1 - self._decay)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the parameters be their average, for the time of the context."""
        own = [parameter.detach().clone() for parameter in self._parameters]
        self._set(self.values)
        try:
            yield
        finally:
            self._set(own)

    def _set(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.data.copy_(value)

    def tensors(self) -> dict[str, Tensor]:
        return {str(index): value for index, value in enumerate(self.values)}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `tensors` gave. Raises ValueError if the number of parameters differs."""
        _same_number(len(tensors), len(self.values))
        for index, value in tensors.items():
            self.values[int(index)].copy_(value)

    def restart(self) -> None:
        """Begin anew with the parameters as they are."""
        for value, parameter in zip(self.values, self._parameters, strict=True):
            value.copy_(parameter.detach())


def _same_number(found: int, wanted: int) -> None:
    if found != wanted:
        raise ValueError(f"{found} trained tensors instead of {wanted}")

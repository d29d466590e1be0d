"""Low-rank adapters on the linear layers of a model that stays as it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..errors import InputError
from .targets import Target


class LoraLayer(nn.Module):
    """y = scale B A x, with A [rank, inputs] from a normal distribution of deviation 1 / rank and B [outputs, rank] 0.

    The start is PEFT's `init_lora_weights="gaussian"`, as upstream trains with.
    """

    def __init__(self, inputs: int, outputs: int, rank: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.scale = scale
        self.A = nn.Parameter(torch.randn(rank, inputs, generator=generator) / rank)
        self.B = nn.Parameter(torch.zeros(outputs, rank))

    def apply_to(self, x: Tensor, frozen: bool) -> Tensor:
        a, b = (self.A.detach(), self.B.detach()) if frozen else (self.A, self.B)
        return F.linear(F.linear(x.to(a.dtype), a), b) * self.scale


class Adapters:
    """Several LoRAs on one model, of which at most one acts at a time.

    They act through forward hooks: the model's own modules, parameters and state_dict stay what they are, and with no
    LoRA in use its output is the same to the bit. `alpha` as PEFT means it: the scale is alpha / rank.
    """

    def __init__(self, model: nn.Module, targets: Sequence[Target], rank: int, alpha: float | None = None) -> None:
        modules = dict(model.named_modules())
        self.targets = tuple(targets)
        self.rank = rank
        self.alpha = rank if alpha is None else alpha
        self._linears = {target.module: _linear(modules, target.module) for target in targets}
        self._layers: dict[str, nn.ModuleDict] = {}
        self._active: str | None = None
        self._frozen = False

    def add(self, role: str, generator: torch.Generator, device: torch.device | None = None) -> None:
        """Make a new LoRA in float32; numbers are drawn from `generator` in the order of the targets."""
        layers = nn.ModuleDict()
        for target in self.targets:
            outputs, inputs = self._linears[target.module].weight.shape
            outputs = target.rows[1] if target.rows else outputs
            layers[_key(target.name)] = LoraLayer(inputs, outputs, self.rank, self.alpha / self.rank, generator)
        self._layers[role] = layers.to(device)

    def layer(self, role: str, name: str) -> LoraLayer:
        """The layer of a LoRA by the name of its target."""
        layer = self._layers[role][_key(name)]
        assert isinstance(layer, LoraLayer)
        return layer

    def parameters(self, role: str) -> list[nn.Parameter]:
        """What is trained of a LoRA, in the order of the targets: A, B, A, B, ..."""
        return [
            parameter
            for target in self.targets
            for parameter in (self.layer(role, target.name).A, self.layer(role, target.name).B)
        ]

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Hang the hooks into the model for the time of the context."""
        by_module: dict[str, list[Target]] = {}
        for target in self.targets:
            by_module.setdefault(target.module, []).append(target)
        handles: list[RemovableHandle] = []
        try:
            for name, targets in by_module.items():
                handles.append(self._linears[name].register_forward_hook(self._hook(targets)))
            yield
        finally:
            for handle in handles:
                handle.remove()

    @property
    def in_use(self) -> tuple[str | None, bool]:
        """The role of the LoRA that acts, None for none, and whether it is frozen."""
        return self._active, self._frozen

    @contextlib.contextmanager
    def use(self, role: str | None, frozen: bool = False) -> Iterator[None]:
        """Let one LoRA act, or none. A frozen one acts but gets no gradient."""
        before = self._active, self._frozen
        self._active, self._frozen = role, frozen
        try:
            yield
        finally:
            self._active, self._frozen = before

    def _hook(self, targets: list[Target]) -> Any:
        ordered = sorted(targets, key=lambda target: target.rows or (0, 0))

        def add_lora(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if self._active is None:
                return None
            parts = [
                (
                    target.rows,
                    _reordered(self.layer(self._active, target.name).apply_to(inputs[0], self._frozen), target),
                )
                for target in ordered
            ]
            return output + _joined(parts, output.shape[-1]).to(output.dtype)

        return add_lora


def _linear(modules: Mapping[str, nn.Module], name: str) -> Any:
    module = modules.get(name)
    weight = getattr(module, "weight", None)
    # Quantised layers of a host are no nn.Linear, but have a weight of two axes and take the same input.
    if weight is None or weight.ndim != 2:
        raise InputError(
            f"targets: {name} is not a linear layer.",
            found=type(module).__name__,
            allowed="linear layers",
            remedy="train other layers.",
        )
    return module


def _key(name: str) -> str:
    # A ModuleDict takes no dots.
    return name.replace(".", "/")


def _reordered(delta: Tensor, target: Target) -> Tensor:
    return delta if target.reorder is None else target.reorder(delta.movedim(-1, 0)).movedim(0, -1)


def _joined(parts: list[tuple[tuple[int, int] | None, Tensor]], width: int) -> Tensor:
    """Pieces of the output features side by side, with zeros between them."""
    if parts[0][0] is None:
        return parts[0][1]
    pieces: list[Tensor] = []
    end = 0
    for rows, delta in parts:
        assert rows is not None
        if rows[0] > end:
            pieces.append(delta.new_zeros(*delta.shape[:-1], rows[0] - end))
        pieces.append(delta)
        end = rows[0] + rows[1]
    if end < width:
        pieces.append(pieces[0].new_zeros(*pieces[0].shape[:-1], width - end))
    return torch.cat(pieces, dim=-1) if len(pieces) > 1 else pieces[0]

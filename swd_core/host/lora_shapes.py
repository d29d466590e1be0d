"""Whether the tensors of a LoRA have the shapes of the model's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..lora.check import do_multiply
from ..lora.layers import Layer
from ..lora.scale import AdapterScale

# A place in a ComfyUI model: the key of a weight, or (key, (dim, start, length)[, function]) for a slice of a fused
# one.
Target = str | tuple[Any, ...]
# FLUX.1-Canny-dev-lora doubles the input channels.
_GROWTH = 16


@dataclass(frozen=True)
class Source:
    """What the layers of one file have in common.

    `weights`: the model's own by key; `grown`: the shapes to which other LoRAs on the model let some of them grow.
    `fits`: a few words for messages on what the file seems made for; `family`: that of the model.
    """

    name: str
    tensors: Mapping[str, Tensor]
    settings: AdapterScale | None
    weights: Mapping[str, Tensor]
    grown: Mapping[str, list[int]]
    fits: str
    family: str


def bias_of(target: Target) -> Target:
    """The place of the bias that belongs to a weight."""
    if isinstance(target, tuple):
        return (bias_of(target[0]), *target[1:])
    return target.removesuffix(".weight") + ".bias"


def weight_key(target: Target) -> str:
    """The key of a place in the model's state dict."""
    return target[0] if isinstance(target, tuple) else target


def check_pair(source: Source, layer: Layer, target: Target) -> None:
    """Compare A and B of a layer with the weight they go to.

    Raises:
        InputError
    """
    up, down = source.tensors[layer.keys["up"]], source.tensors[layer.keys["down"]]
    if not do_multiply(up, down):
        raise _wrong_shape(source, f"{layer.name}: B {list(up.shape)} and A {list(down.shape)} do not multiply")
    shape = _shape(source, target)
    if shape is None:
        return
    rows, columns = shape[0], math.prod(shape[1:])
    grown = layer.host_keys.get(".reshape_weight")
    if grown:
        # ComfyUI fills the weight up with zeros to this shape, whatever memory that takes.
        sides = source.tensors[grown].flatten().tolist()
        if len(sides) != len(shape) or sides[0] != rows or not columns <= math.prod(sides[1:]) <= _GROWTH * columns:
            raise _wrong_shape(source, f"{layer.name}: a weight of {shape} that is to grow to {sides}")
    elif ".lora_mid.weight" not in layer.host_keys and (up.shape[0], math.prod(down.shape[1:])) != (rows, columns):
        shapes = f"B {list(up.shape)} and A {list(down.shape)} for a weight of {rows} x {columns}"
        raise _wrong_shape(source, f"{layer.name}: {shapes}; {source.fits}")


def widened(source: Source, target: Target, down: Tensor) -> Tensor:
    """A of a pair [rank, inputs], with zeros for the inputs that another LoRA on the model adds to the layer.

    ComfyUI applies the patches of a weight one by one, and leaves out one that is narrower than those before made it.
    """
    shape = source.grown.get(weight_key(target))
    if shape is None or down.ndim != 2 or len(shape) != 2:
        return down
    return F.pad(down, (0, max(0, shape[1] - down.shape[1])))


def check_patch(source: Source, layer: Layer, target: Target, patch: Any) -> None:
    """Compare a patch of any kind with its place. ComfyUI would leave out in silence, or stumble over, what does not
    fit.

    Raises:
        InputError
    """
    shape = _shape(source, target)
    if shape is None:
        return
    if isinstance(patch, tuple):
        _, (tensor, *_) = patch
        if list(tensor.shape) != shape:
            raise _wrong_shape(source, f"{layer.name}: {list(tensor.shape)} for a place of {shape}; {source.fits}")
    elif not _can_be_applied(patch, shape) or not _fits_lengths(source, layer, shape):
        raise _wrong_shape(source, f"{layer.name}: {patch.name} for a weight of {shape}; {source.fits}")


def _can_be_applied(adapter: Any, shape: list[int]) -> bool:
    """Try an adapter of ComfyUI's on a weight that has a shape and no memory."""
    differences: list[Tensor] = []

    def note(difference: Tensor) -> Tensor:
        differences.append(difference)
        return difference

    try:
        adapter.calculate_weight(torch.empty(shape, device="meta"), "", 1.0, 1.0, None, note, torch.float32, None)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return False
    # It gets as far as this function only where all of its tensors go together.
    return bool(differences)


def _fits_lengths(source: Source, layer: Layer, shape: list[int]) -> bool:
    """Whether a DoRA of ComfyUI's own kind has a length for every row of the weight, or for every column."""
    key = layer.host_keys.get(".dora_scale")
    ones = [1] * len(shape)
    return key is None or list(source.tensors[key].shape) in ([*shape[:1], *ones[1:]], [1, *shape[1:2], *ones[2:]])


def _shape(source: Source, target: Target) -> list[int] | None:
    """The shape of a place; None where the model does not show it."""
    weight = source.weights.get(weight_key(target))
    # Packed integer weights of quantised models do not show the shape of their layer.
    if weight is None or not weight.is_floating_point():
        return None
    shape = list(weight.shape)
    if isinstance(target, tuple) and target[1] is not None:
        shape[target[1][0]] = target[1][2]
    return shape


def _wrong_shape(source: Source, found: str) -> InputError:
    return InputError(
        f"lora_name: {source.name} does not have the shapes of this model.",
        found=found,
        allowed=f"a LoRA for {source.family}",
        remedy="load the LoRA that was made for this model.",
    )

"""Whether the tensors of a LoRA have the shapes of the model's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import InputError
from ..lora.layers import Layer
from ..lora.scale import AdapterScale

# A place in a ComfyUI model: the key of a weight, or (key, (dim, start, length)[, function]) for a slice of a fused
# one.
Target = str | tuple[Any, ...]


@dataclass(frozen=True)
class Source:
    """What the layers of one file have in common. `fits`: a few words for messages on what the file seems made for."""

    name: str
    tensors: Mapping[str, Tensor]
    settings: AdapterScale | None
    weights: Mapping[str, Tensor]
    fits: str


def bias_of(target: Target) -> Target:
    """The place of the bias that belongs to a weight."""
    if isinstance(target, tuple):
        return (bias_of(target[0]), *target[1:])
    return target.removesuffix(".weight") + ".bias"


def weight_key(target: Target) -> str:
    """The key of a place in the model's state dict."""
    return target[0] if isinstance(target, tuple) else target


def check_shapes(source: Source, layer: Layer, target: Target) -> None:
    """Compare the tensors of a layer with the place they go to; ComfyUI would leave out in silence what does not fit.

    Raises:
        InputError
    """
    shape = _shape(source, target)
    if layer.is_pair:
        _check_pair(source, layer, shape)
    whole = {".diff": target, ".set_weight": target, ".diff_b": bias_of(target)}
    places = {key: whole[suffix] for suffix, key in layer.host_keys.items() if suffix in whole}
    roles = {"weight": target, "bias": bias_of(target), "up_bias": bias_of(target)}
    places |= {layer.keys[role]: place for role, place in roles.items() if role in layer.keys}
    for key, place in places.items():
        expected, found = _shape(source, place), list(source.tensors[key].shape)
        if expected is not None and found != expected:
            raise _wrong_shape(source, f"{layer.name}: {found} for a place of {expected}; {source.fits}")
    if shape:
        _check_lengths(source, layer.keys.get("magnitude"), shape[:1])
        _check_lengths(source, layer.host_keys.get(".dora_scale"), [shape[0], math.prod(shape[1:])])


def _check_lengths(source: Source, key: str | None, allowed: list[int]) -> None:
    if key and source.tensors[key].numel() not in allowed:
        found = f"{key[:100]}: {source.tensors[key].numel()} numbers where {' or '.join(map(str, allowed))} belong"
        raise _wrong_shape(source, f"{found}; {source.fits}")


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


def _check_pair(source: Source, layer: Layer, shape: list[int] | None) -> None:
    up, down = source.tensors[layer.keys["up"]], source.tensors[layer.keys["down"]]
    if up.ndim < 2 or down.ndim < 2 or not up.shape[1] == down.shape[0] > 0:
        raise _wrong_shape(source, f"{layer.name}: B {list(up.shape)} and A {list(down.shape)} do not multiply")
    reshaped = layer.host_keys.get(".reshape_weight")
    if reshaped:
        # The weight grows to this shape, so it must be that of the product and no larger.
        grown = [int(side) for side in source.tensors[reshaped].flatten()]
        if min(grown, default=0) < 1 or (shape and len(grown) != len(shape)):
            raise _wrong_shape(source, f"{layer.name}: a weight that is to grow to {grown}")
        shape = grown
    columns = math.prod(down.shape[1:])
    middle = layer.host_keys.get(".lora_mid.weight")
    if middle:
        sides = source.tensors[middle].shape
        if sides[:2] != (up.shape[1], down.shape[0]):
            raise _wrong_shape(source, f"{layer.name}: {list(sides)} between B and A of rank {down.shape[0]}")
        columns *= math.prod(sides[2:])
    if shape and (up.shape[0], columns) != (shape[0], math.prod(shape[1:])):
        shapes = f"B {list(up.shape)} and A {list(down.shape)} for a weight of {shape[0]} x {math.prod(shape[1:])}"
        raise _wrong_shape(source, f"{layer.name}: {shapes}; {source.fits}")


def _wrong_shape(source: Source, found: str) -> InputError:
    return InputError(
        f"lora_name: {source.name} has another shape than this model.",
        found=found,
        allowed="B [rows, rank] and A [rank, columns]",
        remedy="load the LoRA that was made for this model.",
    )

"""From the layers of a LoRA file to the patches of a ComfyUI model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, TypeVar

import comfy.lora
import comfy.lora_convert
import torch
from torch import Tensor

from ..errors import InputError
from ..lora.check import check_numbers
from ..lora.file import CONFIG_NAME, LoraFile
from ..lora.layers import Layer, find_name, guess_family, parse_layers, second_adapter
from ..lora.scale import AdapterScale, adapter_scale
from .dora import PeftDora
from .lora_shapes import Source, Target, bias_of, check_pair, check_patch, weight_key, widened
from .own_weights import grown_shapes, own_weights
from .whole_weight import WholeWeight

T = TypeVar("T")


@dataclass
class LoraPatches:
    """Patches by place, and what there is to say about them."""

    patches: dict[Target, Any] = field(default_factory=dict)
    loaded: int = 0
    total: int = 0
    scales: set[float] = field(default_factory=set)
    scale_source: str = ""
    scale_assumed: bool = False
    extras: dict[str, int] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def build_patches(lora: LoraFile, model: Any, family: str) -> LoraPatches:
    """The patches that bring a LoRA file onto a ModelPatcher.

    Raises:
        InputError: no layer fits, or one has another shape than the model's.
    """
    tensors = _by_comfyui(lora.name, comfy.lora_convert.convert_lora, lora.tensors)
    layers = parse_layers(tensors, lora.name)
    check_numbers(layers, tensors, lora.name)
    # A fresh dict: the function's default argument is shared between calls.
    key_map: dict[str, Target] = comfy.lora.model_lora_keys_unet(model.model, {})
    names = {layer.name: find_name(layer, key_map) for layer in layers}
    adapters = [layer for layer in layers if layer.is_pair or layer.host_keys]
    if not adapters:
        raise InputError(
            f"lora_name: {lora.name} holds no LoRA.",
            found=f"{len(tensors)} tensors" + "".join(f", such as {key[:100]}" for key in list(tensors)[:1]),
            allowed=f"a LoRA for {family}",
            remedy="choose another file: this one may be a checkpoint, a VAE or a text encoder.",
        )
    fits = f"it looks made for {guess_family(layers)}; the model is {family}"
    if not any(names[layer.name] for layer in adapters):
        raise InputError(
            f"lora_name: nothing in {lora.name} fits this model.",
            found=f"0 of {len(adapters)} pairs match: {fits}",
            allowed=f"a LoRA for {family}",
            remedy="load the LoRA that was made for this model.",
        )
    source = Source(lora.name, tensors, adapter_scale(lora), own_weights(model), grown_shapes(model), fits, family)
    result = LoraPatches(
        total=len(adapters),
        scale_source=_scale_source(lora, layers, source.settings),
        scale_assumed=not (source.settings or _has_alpha(layers)),
    )
    for layer in layers:
        name = names[layer.name]
        if name is None:
            result.left_out.append(layer.name)
        else:
            _add_layer(result, source, layer, name, key_map[name])
    return result


def _by_comfyui(file_name: str, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Call a reader of ComfyUI's, which takes for granted that a file is whole."""
    try:
        return function(*arguments, **options)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"lora_name: {file_name} is incomplete.",
            found=f"{type(error).__name__}: {error}"[:200],
            allowed="a LoRA with all of its tensors",
            remedy="download the file again.",
        ) from error


def _scale_source(lora: LoraFile, layers: list[Layer], settings: AdapterScale | None) -> str:
    if _has_alpha(layers):
        return "from alpha in the file"
    if settings:
        return f"from {settings.source}"
    if lora.foreign_config:
        own = f"{PurePath(lora.name).stem}.{CONFIG_NAME}"
        whose = f"{CONFIG_NAME} may be another file's (call it {own} if it is this one's)"
        return f"assumed: no alpha in the file, and {whose}"
    return f"assumed: no {CONFIG_NAME} and no alpha in the file"


def _has_alpha(layers: list[Layer]) -> bool:
    return any("alpha" in layer.keys for layer in layers)


def _add_layer(result: LoraPatches, source: Source, layer: Layer, name: str, target: Target) -> None:
    tensors = source.tensors
    state = {name + suffix: tensors[key] for suffix, key in layer.host_keys.items()}
    scale = 1.0
    if layer.is_pair:
        check_pair(source, layer, target)
        rank = tensors[layer.keys["down"]].shape[0]
        scale = _scale(source, layer, rank)
        result.scales.add(scale)
        state[f"{name}.lora_up.weight"] = tensors[layer.keys["up"]]
        state[f"{name}.lora_down.weight"] = widened(source, target, tensors[layer.keys["down"]])
        state[f"{name}.alpha"] = torch.tensor(scale * rank, dtype=torch.float64)
    elif "alpha" in layer.keys:
        state[f"{name}.alpha"] = tensors[layer.keys["alpha"]]
    patches = _read(source, state, name, target)
    if layer.host_keys:
        # With an alpha above 0 OFT looks at the numbers of a weight, and the one it is tried on has none.
        if f"{name}.alpha" in state:
            state[f"{name}.alpha"] = torch.tensor(0.0)
        for place, patch in _read(source, state, name, target).items():
            check_patch(source, layer, place, patch)
    if "magnitude" in layer.keys and target in patches:
        patches[target] = _as_dora(patches[target], tensors[layer.keys["magnitude"]])
        check_patch(source, layer, target, patches[target])
        _count(result, "DoRA magnitudes")
    result.loaded += bool(patches)
    result.left_out += layer.unsupported
    if state and not patches:
        result.left_out.append(layer.name)
    for place, patch in patches.items():
        _put(result, source, layer, place, patch)
    _add_whole(result, source, layer, target, scale)


def _read(source: Source, state: dict[str, Tensor], name: str, target: Target) -> dict[Target, Any]:
    patches: dict[Target, Any] = _by_comfyui(
        source.name, comfy.lora.load_lora, state, {name: target}, log_missing=False
    )
    return patches


def _put(result: LoraPatches, source: Source, layer: Layer, place: Target, patch: Any) -> None:
    if place in result.patches:
        found = f"{layer.name[:100]} and another name of {weight_key(place)}"
        raise second_adapter(source.name, "has two pairs for one layer.", found)
    result.patches[place] = patch


def _scale(source: Source, layer: Layer, rank: int) -> float:
    if "alpha" in layer.keys:
        return float(source.tensors[layer.keys["alpha"]]) / rank
    return source.settings.of(layer.module, rank) if source.settings else 1.0


def _add_whole(result: LoraPatches, source: Source, layer: Layer, target: Target, scale: float) -> None:
    """Tensors that PEFT trains beside the pairs: biases of B, whole weights and biases (bias=, modules_to_save=)."""
    places = (
        ("up_bias", "biases of B", bias_of(target)),
        ("bias", "biases", bias_of(target)),
        ("weight", "whole weights", target),
    )
    for role, kind, place in places:
        key = layer.keys.get(role)
        if key is None:
            continue
        if weight_key(place) not in source.weights:
            result.left_out.append(key)
            continue
        tensor = source.tensors[key]
        check_patch(source, layer, place, (kind, (tensor,)))
        if role == "up_bias":
            _put(result, source, layer, place, ("diff", (scale * tensor.float(),)))
        else:
            _put(result, source, layer, place, WholeWeight({key}, (tensor,)))
        _count(result, kind)


def _count(result: LoraPatches, kind: str) -> None:
    result.extras[kind] = result.extras.get(kind, 0) + 1


def _as_dora(adapter: Any, magnitude: Tensor) -> PeftDora:
    up, down, alpha, mid, _, reshape = adapter.weights
    return PeftDora(adapter.loaded_keys, (up, down, alpha, mid, magnitude.flatten(), reshape))

"""The form of a LoRA that every loader takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from .check import check_numbers, do_multiply
from .file import LoraFile
from .layers import Layer, parse_layers, second_adapter
from .scale import AdapterScale, adapter_scale


@dataclass(frozen=True)
class _Form:
    """How loaders spell a layer (`dotted` or `underscored` module name) and its two halves."""

    modules: re.Pattern[str]
    layer: str
    down: str
    up: str


_PEFT_HALVES = (".lora_A.weight", ".lora_B.weight")
_KOHYA_HALVES = (".lora_down.weight", ".lora_up.weight")
_UNET = re.compile(r"(down_blocks|mid_block|up_blocks)\.")
# First match wins. Transformers: diffusers' own prefix, read by ComfyUI, diffusers and nunchaku. UNets: kohya's names,
# since ComfyUI lists the attention of a UNet under these alone.
_FORMS = (
    _Form(_UNET, "lora_unet_{underscored}", *_KOHYA_HALVES),
    _Form(re.compile(r"(conv_in|conv_out|time_embedding|add_embedding)\b"), "lora_unet_{underscored}", *_KOHYA_HALVES),
    _Form(re.compile(r"(single_)?transformer_blocks\."), "transformer.{dotted}", *_PEFT_HALVES),
    _Form(
        re.compile(r"(x_embedder|context_embedder|time_text_embed|pos_embed|norm_out|proj_out)\b"),
        "transformer.{dotted}",
        *_PEFT_HALVES,
    ),
)
_TEXT_ENCODER = re.compile(r"(text_encoder(_\d)?)\.")


def standard_tensors(lora: LoraFile) -> dict[str, Tensor]:
    """The tensors of a LoRA under the names that every loader takes, with an alpha for every layer.

    The scale goes into B and alpha equals the rank, so a loader that ignores alpha gives the same picture as one that
    reads it. B keeps its type where that type can hold the product exactly, else it becomes float32. Layers that have
    a common name already keep it.

    Raises:
        InputError: the file holds something else than pairs, two for one layer, or settings of another file.
    """
    layers = parse_layers(lora.tensors, lora.name)
    _check_pairs_only(lora, layers)
    check_numbers(layers, lora.tensors, lora.name)
    settings = {encoder: adapter_scale(lora, encoder) for encoder in {_text_encoder(layer) for layer in layers}}
    of_unet = any(_UNET.match(layer.module) for layer in layers)
    tensors: dict[str, Tensor] = {}
    for layer in layers:
        own = dict(_standard_layer(lora, layer, settings[_text_encoder(layer)], of_unet))
        if own.keys() & tensors.keys():
            found = f"{layer.name[:100]} and another name of it"
            raise second_adapter(lora.name, "has two pairs for one layer.", found)
        tensors |= own
    return tensors


def _text_encoder(layer: Layer) -> str:
    """The text encoder that a layer is of, as diffusers calls it; empty for a layer of the diffusion model."""
    found = _TEXT_ENCODER.match(layer.name)
    return found[1] if found else ""


def _standard_layer(
    lora: LoraFile, layer: Layer, settings: AdapterScale | None, of_unet: bool
) -> Iterator[tuple[str, Tensor]]:
    down, up = (lora.tensors[layer.keys[role]] for role in ("down", "up"))
    if not do_multiply(up, down):
        raise InputError(
            f"lora_name: {lora.name} has halves of a pair that do not multiply.",
            found=f"{layer.name[:100]}: B {list(up.shape)} and A {list(down.shape)}",
            allowed="B of as many columns as A has rows",
            remedy="download the file again.",
        )
    rank = down.shape[0]
    name, down_suffix, up_suffix = _spell(layer, of_unet)
    yield f"{name}{down_suffix}", down
    yield f"{name}{up_suffix}", _scaled(up, _scale(lora, layer, settings, rank))
    yield f"{name}.alpha", torch.tensor(float(rank))


def _spell(layer: Layer, of_unet: bool) -> tuple[str, str, str]:
    """The name of a layer and the ends of its two halves, in a file for a UNet or another one."""
    names = {"dotted": layer.module, "underscored": layer.module.replace(".", "_")}
    form = next((form for form in _FORMS if form.modules.match(layer.module)), None)
    if form:
        return form.layer.format(**names), form.down, form.up
    encoder = _text_encoder(layer)
    if encoder and of_unet:
        # diffusers reads kohya's names only where all have them.
        module = layer.name.removeprefix(f"{encoder}.").removeprefix("text_model.").replace(".", "_")
        return f"lora_te{2 if encoder.endswith('2') else 1}_text_model_{module}", *_KOHYA_HALVES
    return layer.name, *(_PEFT_HALVES if "." in layer.name else _KOHYA_HALVES)


def _scale(lora: LoraFile, layer: Layer, settings: AdapterScale | None, rank: int) -> float:
    if "alpha" in layer.keys:
        return float(lora.tensors[layer.keys["alpha"]]) / rank
    return settings.of(layer.module, rank) if settings else 1.0


def _scaled(up: Tensor, scale: float) -> Tensor:
    exact = up.double() * scale
    product = exact.to(up.dtype)
    return product if torch.equal(product.double(), exact) else exact.float()


def _check_pairs_only(lora: LoraFile, layers: list[Layer]) -> None:
    others = [
        key
        for layer in layers
        for key in (
            *(key for role, key in layer.keys.items() if role not in ("down", "up", "alpha")),
            *layer.host_keys.values(),
            *layer.unsupported,
        )
    ]
    if others or not layers:
        raise InputError(
            f"lora_name: {lora.name} cannot be written in the common form.",
            found=f"{others[0]}" + (f" and {len(others) - 1} more" if others[1:] else "") if others else "no tensors",
            allowed="files of A and B pairs, as SwD LoRAs are",
            remedy="keep loading this file with SwD LoRA Loader, which takes it as it is.",
        )

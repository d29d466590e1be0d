"""What the keys of a LoRA file say: which layer each tensor belongs to, and what it does there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..errors import InputError

# Role of a tensor by the end of its key; the rest of the key names the layer. First match wins. `(\.[^.]+)?` is the
# adapter name that PEFT writes when it is asked to.
_ROLES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (role, re.compile(pattern))
    for role, pattern in (
        ("down", r"(\.lora_A(\.[^.]+)?\.weight|\.lora_down\.weight|[._]lora\.down\.weight|\.lora_A)$"),
        ("up", r"(\.lora_B(\.[^.]+)?\.weight|\.lora_up\.weight|[._]lora\.up\.weight|\.lora_B)$"),
        ("down", r"\.lora_linear_layer\.down\.weight$"),
        ("up", r"\.lora_linear_layer\.up\.weight$"),
        ("up_bias", r"\.lora_B(\.[^.]+)?\.bias$"),
        ("magnitude", r"\.lora_magnitude_vector(\.[^.]+)??(\.weight)?$"),
        ("alpha", r"\.alpha$"),
        ("unsupported", r"\.lora_embedding_[AB](\.[^.]+)?$"),
        # Other forms that ComfyUI's own loader reads; they pass through under the suffix they have.
        ("host", r"\.(dora_scale|diff|diff_b|set_weight|w_norm|b_norm|reshape_weight|lora_mid\.weight)$"),
        (
            "host",
            r"\.(hada_[wt][12](_[ab])?|lokr_[wt][12](_[ab])?|a1|a2|b1|b2|oft_blocks|rescale|oft_diag)(\.weight)?$",
        ),
        ("weight", r"(\.base_layer)?\.weight$"),
        ("bias", r"(\.base_layer)?\.bias$"),
    )
)
_PREFIX = re.compile(r"^(base_model\.model\.|transformer\.|unet\.|model\.diffusion_model\.|diffusion_model\.)+")

# Early diffusers kept the LoRAs of an attention in its processor, where the last layer had no number.
_PROCESSOR = re.compile(r"\.processor(?=\.)")
_PROCESSOR_OUT = re.compile(r"\.processor\.to_out$")


@dataclass
class Layer:
    """One layer of a LoRA.

    `keys` maps a role (down, up, alpha, up_bias, magnitude, weight, bias) to the key in the file. `name` is the
    layer's name as the file has it, `module` its name in the model, without a prefix. `host_keys` maps suffixes that
    only ComfyUI's loader understands to keys; `unsupported` are keys that nothing here applies.
    """

    name: str
    keys: dict[str, str] = field(default_factory=dict)
    host_keys: dict[str, str] = field(default_factory=dict)
    unsupported: list[str] = field(default_factory=list)

    @property
    def module(self) -> str:
        return _PROCESSOR.sub("", _PROCESSOR_OUT.sub(".to_out.0", _PREFIX.sub("", self.name)))

    @property
    def is_pair(self) -> bool:
        return "down" in self.keys and "up" in self.keys


def parse_layers(keys: Iterable[str], file_name: str) -> list[Layer]:
    """Group the keys of a LoRA file by layer, sorted by name.

    Raises:
        InputError: two keys that mean the same tensor, or one half of a down/up pair without the other.
    """
    layers: dict[str, Layer] = {}
    for key in sorted(keys):
        role, suffix = _role(key)
        name = key.removesuffix(suffix)
        layer = layers.setdefault(name, Layer(name))
        if role == "unsupported":
            layer.unsupported.append(key)
        elif role == "host":
            layer.host_keys[suffix] = key
        elif role in layer.keys:
            raise second_adapter(file_name, "has two tensors for one place.", f"{layer.keys[role]} and {key}")
        else:
            layer.keys[role] = key
    _check_pairs(layers.values(), file_name)
    return list(layers.values())


def second_adapter(file_name: str, problem: str, found: str) -> InputError:
    """The error for a file that holds more than one adapter."""
    return InputError(
        f"lora_name: {file_name} {problem}",
        found=found,
        allowed="one adapter in a file",
        remedy="save one adapter alone.",
    )


def _role(key: str) -> tuple[str, str]:
    for role, pattern in _ROLES:
        match = pattern.search(key)
        if match:
            return role, match.group(0)
    return "unsupported", ""


def _check_pairs(layers: Iterable[Layer], file_name: str) -> None:
    lonely = [layer for layer in layers if ("down" in layer.keys) != ("up" in layer.keys)]
    if lonely:
        raise InputError(
            f"lora_name: {file_name} lacks one half of a pair.",
            found=f"only one of A and B for {lonely[0].name}" + (f" and {len(lonely) - 1} more" if lonely[1:] else ""),
            allowed="lora_A and lora_B for every layer",
            remedy="download the file again.",
        )


# Names under which ComfyUI's key maps may list a layer, for a module name without prefix.
_FORMS = (
    "transformer.{dotted}",
    "{dotted}",
    "base_model.model.{dotted}",
    "lora_unet_{underscored}",
    "unet.{dotted}",
    "diffusion_model.{dotted}",
    "lora_transformer_{underscored}",
    "lycoris_{underscored}",
)


def find_name(layer: Layer, known: Iterable[str]) -> str | None:
    """The name under which a host's key map lists a layer; None if it does not. `known` should be a set or a dict."""
    dotted = layer.module
    underscored = dotted.replace(".", "_")
    forms = (form.format(dotted=dotted, underscored=underscored) for form in _FORMS)
    return next((name for name in (layer.name, *forms) if name in known), None)


# A layer name that only one family has, and what to call that family in a message. First match wins.
_MARKS = (
    ("single_transformer_blocks", "FLUX"),
    ("single_blocks", "FLUX"),
    ("double_blocks", "FLUX"),
    ("joint_blocks", "SD3"),
    ("attentions.0.transformer_blocks.1.", "SDXL"),
    ("down_blocks", "SDXL or SD1.5"),
    ("input_blocks", "SDXL or SD1.5"),
    (".attn2.", "SD3.5 Medium"),
    ("transformer_blocks.38.", "Qwen-Image"),
    ("transformer_blocks.24.", "SD3.5 Large"),
    ("transformer_blocks", "SD3.5"),
)


def guess_family(layers: Iterable[Layer]) -> str:
    """The family that a LoRA seems to be made for, by its layer names."""
    names = " ".join(f"{layer.name}." for layer in layers)
    return next((label for mark, label in _MARKS if mark in names), "an unknown model")

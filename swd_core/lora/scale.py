"""The factor that a LoRA's product B A is multiplied with."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import InputError
from .file import CONFIG_NAME, LoraFile, read_json

T = TypeVar("T")
Patterns = Sequence[tuple[re.Pattern[str], T]]

_METADATA = "the file's metadata"
_DIFFUSERS_KEY = "lora_adapter_metadata"
# Starts of a training after which the LoRA goes with what is left of the model's weights, not with the weights
# (peft/tuners/lora/layer.py).
_RESIDUAL = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True)
class AdapterScale:
    """lora_alpha and r of an adapter, as PEFT means them (peft/tuners/lora/layer.py, update_layer)."""

    source: str
    alpha: float
    rank: int
    rslora: bool
    alpha_pattern: Patterns[float]
    rank_pattern: Patterns[int]

    def of(self, module: str, rank: int) -> float:
        """The factor for a layer whose A has `rank` rows.

        Raises:
            InputError: the configuration says another rank, so it belongs to another file.
        """
        expected = _match(self.rank_pattern, module, self.rank)
        if rank != expected:
            raise InputError(
                f"lora_name: {self.source} does not belong to this file.",
                found=f"rank {rank} for {module} in the file, {expected} in {self.source}",
                allowed="the configuration that was published with the file",
                remedy=f"give each LoRA a folder with its {CONFIG_NAME}, or call that <name>.{CONFIG_NAME}.",
            )
        alpha = _match(self.alpha_pattern, module, self.alpha)
        return float(alpha / math.sqrt(rank) if self.rslora else alpha / rank)


def adapter_scale(lora: LoraFile, text_encoder: str = "") -> AdapterScale | None:
    """The scale settings of a LoRA file: from the configuration beside it, else from its metadata; None if neither.

    `text_encoder`: the one whose settings are wanted, as diffusers calls it; empty for those of the diffusion model.

    Raises:
        InputError: settings that make no sense.
    """
    if lora.config is not None:
        return _parse(lora.config, CONFIG_NAME)
    return _parse_metadata(lora.metadata, text_encoder)


def _parse_metadata(metadata: Mapping[str, str], text_encoder: str) -> AdapterScale | None:
    # diffusers writes the PEFT configuration as JSON, its keys prefixed by the component (loaders/lora_base.py).
    text = metadata.get(_DIFFUSERS_KEY)
    if text is None:
        plain = {key: read_json(metadata[key]) for key in ("lora_alpha", "r") if key in metadata}
        return _parse(plain, _METADATA) if len(plain) == 2 else None
    settings = read_json(text)
    if not isinstance(settings, dict):
        raise _refusal(_DIFFUSERS_KEY, text, "the JSON object that diffusers wrote", _METADATA)
    if text_encoder:
        prefix = f"{text_encoder}."
        own = {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}
        return _parse(own, _METADATA) if own else None
    return _parse(
        {key.removeprefix("transformer.").removeprefix("unet."): value for key, value in settings.items()}, _METADATA
    )


def _parse(settings: Mapping[str, Any], source: str) -> AdapterScale:
    _check_kind(settings, source)
    return AdapterScale(
        source=source,
        alpha=_positive(settings, "lora_alpha", source),
        rank=_whole(settings, "r", source),
        rslora=_flag(settings, "use_rslora", source),
        alpha_pattern=_pattern(settings, "alpha_pattern", source, _positive),
        rank_pattern=_pattern(settings, "rank_pattern", source, _whole),
    )


def _check_kind(settings: Mapping[str, Any], source: str) -> None:
    kind = settings.get("peft_type") or "LORA"
    if str(kind).rpartition(".")[2].upper() != "LORA":
        raise InputError(
            "lora_name: this is no LoRA, but another kind of adapter of PEFT's.",
            found=f"peft_type = {kind!r:.100} in {source}",
            allowed="LORA",
            remedy="look for the same as a LoRA, or merge it into the model with PEFT.",
        )
    start = settings.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_RESIDUAL):
        raise InputError(
            "lora_name: this LoRA was trained on other weights than the model's.",
            found=f"init_lora_weights = {start[:100]} in {source}",
            allowed="a LoRA for the model's own weights",
            remedy="let its author save it with PEFT's path_initial_model_for_weight_conversion.",
        )


def _pattern(
    settings: Mapping[str, Any], name: str, source: str, read: Callable[[Mapping[str, Any], str, str], T]
) -> Patterns[T]:
    pattern = settings.get(name) or {}
    if not isinstance(pattern, dict):
        raise _refusal(name, pattern, "an object of module names and numbers", source)
    compiled: list[tuple[re.Pattern[str], T]] = []
    for module in pattern:
        expression = _compile(module)
        if expression is None:
            raise _refusal(name, module, "names of modules, or short expressions for them", source)
        compiled.append((expression, read(pattern, module, source)))
    return compiled


def _compile(module: str) -> re.Pattern[str] | None:
    """A pattern as PEFT reads it; None for one that is no regular expression or may take ages: many repeats, or one of
    a group."""
    if len(re.findall(r"[*+?{]", module)) > 3 or re.search(r"\)[*+?{]", module):
        return None
    try:
        # PEFT matches whole dotted endings and takes the first hit (peft/utils/other.py, get_pattern_key).
        return re.compile(rf"(.*\.)?({module})$")
    except (re.error, OverflowError, RecursionError):
        return None


def _positive(settings: Mapping[str, Any], name: str, source: str) -> float:
    value = settings.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1e6:
        raise _refusal(name, value, "a number above 0", source)
    return value


def _whole(settings: Mapping[str, Any], name: str, source: str) -> int:
    value = _positive(settings, name, source)
    if value != int(value):
        raise _refusal(name, value, "a whole number above 0", source)
    return int(value)


def _flag(settings: Mapping[str, Any], name: str, source: str) -> bool:
    value = settings.get(name) or False
    if not isinstance(value, bool):
        raise _refusal(name, value, "true or false", source)
    return value


def _refusal(name: str, value: object, allowed: str, source: str) -> InputError:
    return InputError(
        f"lora_name: {name[:100]} in {source} cannot be used.",
        found=repr(value)[:100],
        allowed=allowed,
        remedy="download the file again, or remove it to use scale 1.",
    )


def _match(patterns: Patterns[T], module: str, default: T) -> T:
    return next((value for expression, value in patterns if expression.match(module)), default)

"""Models to measure: the tiny ones of the tests by ComfyUI's loaders, larger ones with random weights on the device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import torch
from reference import CHANNELS, Text, make_text
from running import conditioning
from swd_dev.tiny.loading import load_model

from bench.architectures import ARCHITECTURES, Architecture
from bench.setting import Setting

TINY_TEXT = 77


@dataclass(frozen=True)
class Model:
    """A ComfyUI MODEL with a prompt for it. `architecture`: None for the tiny ones."""

    family: str
    size: str
    patcher: Any
    text: Text
    channels: int
    architecture: Architecture | None

    @property
    def positive(self) -> list[Any]:
        return conditioning(self.family, self.text)

    def latent(self, side: int, batch: int = 1) -> dict[str, Any]:
        """An empty LATENT of side x side latent pixels."""
        return {"samples": torch.zeros(batch, self.channels, side, side)}


@contextmanager
def model_of(setting: Setting, family: str, size: str) -> Iterator[Model]:
    """A model for the time of a figure; its memory is free again afterwards."""
    model = _tiny(setting, family) if size == "tiny" else _random(setting, family, size)
    try:
        yield model
    finally:
        comfy.model_management.unload_all_models()
        del model
        comfy.model_management.soft_empty_cache()


def models_of(setting: Setting, figure: str, size: str) -> Iterator[tuple[str, Model]]:
    """Each preset that there is still time for, with its model, which is gone when the next is asked for.

    `size`: of the model where no true sizes are wanted.
    """
    for preset, family in setting.presets.items():
        if setting.has_time(f"{figure}, {preset}"):
            with model_of(setting, family, setting.size(size)) as model:
                yield preset, model


def _tiny(setting: Setting, family: str) -> Model:
    text = make_text(family, length=TINY_TEXT)
    return Model(family, "tiny", load_model(family, setting.tiny_models), text, CHANNELS[family], None)


def _random(setting: Setting, family: str, size: str) -> Model:
    architecture = ARCHITECTURES[size][family]
    patcher = build(architecture, setting.device, setting.dtype)
    return Model(family, size, patcher, _text(architecture), architecture.channels, architecture)


def build(architecture: Architecture, device: torch.device, dtype: torch.dtype) -> Any:
    """A ModelPatcher with seeded weights that are made on the device and stay there."""
    config = getattr(comfy.supported_models, architecture.config_class)(dict(architecture.unet_config))
    config.set_inference_dtype(dtype, None)
    base_model = config.get_model({}, device=device)
    if device.type != "meta":
        _fill(base_model.diffusion_model, device)
    # Model and offload device are one: loading and unloading is no part of what is measured.
    return comfy.model_patcher.ModelPatcher(base_model, load_device=device, offload_device=device)


def _fill(module: torch.nn.Module, device: torch.device) -> None:
    """Matrices and kernels of standard deviation 1 / sqrt(fan in), so that nothing overflows; biases 0, norms 1."""
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for name, value in (*module.named_parameters(), *module.named_buffers()):
            if value.ndim > 1:
                value.normal_(0, 1 / math.sqrt(value[0].numel()), generator=generator)
            else:
                value.fill_(0 if name.endswith("bias") else 1)


def _text(architecture: Architecture) -> Text:
    tokens, width, pooled = architecture.text
    generator = torch.Generator().manual_seed(0)
    return Text(torch.randn(1, tokens, width, generator=generator), torch.randn(1, pooled, generator=generator))

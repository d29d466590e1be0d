"""Model families, and the facts about a model that a schedule depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SD35_MEDIUM = "SD3.5 Medium"
SD35_LARGE = "SD3.5 Large"
FLUX_DEV = "FLUX.1-dev"
SDXL = "SDXL"


@dataclass(frozen=True)
class ModelFacts:
    """What the stage rule needs to know of a model.

    `multiple`: latent pixels that a side should be a multiple of. `pixels_per_latent`: image pixels per latent pixel.
    """

    family: str
    multiple: int
    pixels_per_latent: int


@dataclass(frozen=True)
class _Rule:
    label: str
    model_class: str
    config: Mapping[str, Any] = field(default_factory=dict)

    def fits(self, model_class: str, config: Mapping[str, Any]) -> bool:
        return model_class == self.model_class and all(wanted(config.get(key)) for key, wanted in self.config.items())


# First fit wins. Class and configuration names are ComfyUI's (comfy/model_base.py, comfy/model_detection.py).
_RULES = (
    _Rule(SD35_MEDIUM, "SD3", {"x_block_self_attn_layers": bool}),
    _Rule(SD35_LARGE, "SD3", {"qk_norm": lambda value: value == "rms"}),
    _Rule("SD3 Medium", "SD3"),
    _Rule(FLUX_DEV, "Flux", {"guidance_embed": bool}),
    _Rule("FLUX.1-schnell", "Flux"),
    _Rule(SDXL, "SDXL"),
)


def family_name(model_class: str, config: Mapping[str, Any]) -> str:
    """The family of a model, from ComfyUI's class name and its detected configuration; else the class name itself."""
    return next((rule.label for rule in _RULES if rule.fits(model_class, config)), model_class)

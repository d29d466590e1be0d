"""The models that templates are made for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swd_dev.graph import File
from swd_dev.templates.files import HUB, LARGE, MEDIUM, SDXL, lora, lora_config


@dataclass(frozen=True)
class Base:
    """A model, the hub repository of its LoRA, and its preset.

    `checkpoint`: None where model, text encoders and VAE are separate files.
    """

    preset: str
    repository: str
    checkpoint: File | None
    licence: str
    empty_latent: str = "EmptySD3LatentImage"
    has_t5: bool = True
    hints: Sequence[str] = ()

    @property
    def page(self) -> str:
        return f"{HUB}/yresearch/{self.repository}"

    @property
    def lora(self) -> File:
        return lora(self.repository)

    @property
    def lora_config(self) -> File:
        return lora_config(self.repository)


_STABILITY = "SD3.5: Stability AI Community License."

MEDIUM_6 = Base("SD3.5 Medium, 6 steps", "swd-medium-6-steps", MEDIUM, _STABILITY)
LARGE_4 = Base(
    "SD3.5 Large, 4 steps",
    "swd-large-4-steps",
    LARGE,
    _STABILITY,
    hints=["This checkpoint is fp8, which rounds part of the LoRA away. The 16-bit one gives cleaner pictures."],
)
BASES = (
    MEDIUM_6,
    Base("SD3.5 Medium, 4 steps", "swd-medium-4-steps", MEDIUM, _STABILITY),
    LARGE_4,
    Base(
        "FLUX.1-dev, 4 steps",
        "swd_flux",
        None,
        "FLUX.1-dev: non-commercial licence of Black Forest Labs.",
        hints=["The LoRA was trained with guidance 4.5."],
    ),
    Base(
        "SDXL, 4 steps",
        "swd-sdxl",
        SDXL,
        "SDXL: CreativeML Open RAIL++-M License.",
        empty_latent="EmptyLatentImage",
        has_t5=False,
    ),
)

"""The published SwD schedules, each with its source and its date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .errors import InputError
from .family import FLUX_DEV, SD35_LARGE, SD35_MEDIUM, SDXL, ModelFacts

AUTO = "auto"


@dataclass(frozen=True)
class Preset:
    """One published schedule.

    `scales`: side of the square latent the LoRA was trained at, in latent pixels. `timesteps`: t in (0, 1], noise level
    of the model's own time axis divided by 1000. `lora`: name of the hub repository that holds the LoRA; empty for an
    archived schedule, which no repository asks for any more. `guidance`: embedded guidance, where the model has one.
    """

    name: str
    family: str
    scales: tuple[int, ...]
    timesteps: tuple[float, ...]
    source: str
    date: str
    lora: str = ""
    guidance: float | None = None


_README = "yandex-research/swd README @9c51e19"
_README_2025 = "yandex-research/swd README @be69680"
_SIX = (32, 48, 64, 80, 96, 128)
_FOUR = (64, 80, 96, 128)
_FOUR_WIDE = (32, 64, 96, 128)
# SD3.5 and FLUX were trained on two slightly different grids, hence 0.8959 and 0.8956.
_SIX_T = (1.0, 0.9454, 0.8959, 0.7904, 0.7371, 0.6022)
_FOUR_T = (1.0, 0.8959, 0.7371, 0.6022)
_FLUX_T = (1.0, 0.8956, 0.7363, 0.6007)
_FOUR_WIDE_T = (1.0, 0.9454, 0.7904, 0.6022)

# The first preset of a family is its default.
PRESETS = (
    Preset("SD3.5 Medium, 6 steps", SD35_MEDIUM, _SIX, _SIX_T, _README, "2026-03-12", "swd-medium-6-steps"),
    Preset("SD3.5 Medium, 4 steps", SD35_MEDIUM, _FOUR, _FOUR_T, _README, "2026-03-12", "swd-medium-4-steps"),
    Preset("SD3.5 Large, 4 steps", SD35_LARGE, _FOUR, _FOUR_T, _README, "2026-03-12", "swd-large-4-steps"),
    Preset("FLUX.1-dev, 4 steps", FLUX_DEV, _FOUR, _FLUX_T, _README, "2026-03-12", "swd-flux", guidance=4.5),
    Preset("SDXL, 4 steps", SDXL, _FOUR, (1.0, 0.8, 0.6, 0.4), _README, "2026-03-12", "swd-sdxl"),
    Preset("SD3.5 Large, 6 steps (2025)", SD35_LARGE, _SIX, _SIX_T, _README_2025, "2025-03", "swd-large-6-steps"),
    Preset("SD3.5 Medium, 4 steps (2025)", SD35_MEDIUM, _FOUR_WIDE, _FOUR_WIDE_T, _README_2025, "2025-03"),
    Preset(
        "FLUX.1-dev, 4 steps (paper)", FLUX_DEV, _FOUR_WIDE, (1.0, 0.945, 0.79, 0.602),
        "arXiv 2503.16397v2, appendix C", "2026-03-02", guidance=4.5,
    ),
)  # fmt: skip

OPTIONS = (AUTO, *(preset.name for preset in PRESETS))


def preset_of_lora(lora_name: str) -> Preset | None:
    """The preset that a LoRA file was published with, recognised by the repository name in the file's path."""
    name = lora_name.lower().replace("_", "-").replace(" ", "-")
    return next((preset for preset in PRESETS if preset.lora and preset.lora in name), None)


def preset_of_schedule(scales: Sequence[float], timesteps: Sequence[float], family: str) -> Preset | None:
    """The preset of a family that has exactly these scales and timesteps."""
    wanted = (family, tuple(scales), tuple(timesteps))
    return next((p for p in PRESETS if (p.family, p.scales, p.timesteps) == wanted), None)


def choose_preset(option: str, model: ModelFacts) -> Preset:
    """Resolve a preset option for a model. `auto` is the default of its family, and a family without may borrow any.

    Raises:
        InputError: unknown option, a preset of another family, or `auto` for a family without a preset.
    """
    if option == AUTO:
        return _default(model)
    chosen = next((preset for preset in PRESETS if preset.name == option), None)
    if chosen is None:
        raise InputError(
            "preset: no such preset.", found=repr(option), allowed="; ".join(OPTIONS), remedy="choose one of these."
        )
    own = [preset.name for preset in PRESETS if preset.family == model.family]
    if own and chosen.name not in own:
        raise InputError(
            f"preset: {chosen.name} is not for {model.family}.",
            found=f"model {model.family}",
            allowed="; ".join((AUTO, *own)),
            remedy="choose a preset of this model, or load the model that the preset is for.",
        )
    return chosen


def _default(model: ModelFacts) -> Preset:
    default = next((preset for preset in PRESETS if preset.family == model.family), None)
    if default is None:
        raise InputError(
            f"preset: auto knows no schedule for {model.family}.",
            found=f"model {model.family}",
            allowed="; ".join(preset.name for preset in PRESETS),
            remedy="choose a preset by hand, or write your own with SwD Custom Schedule.",
        )
    return default

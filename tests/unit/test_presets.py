"""Published schedules and how `auto` finds them."""

from __future__ import annotations

import pytest
from swd_pack.swd_core.errors import InputError
from swd_pack.swd_core.family import ModelFacts, family_name
from swd_pack.swd_core.presets import OPTIONS, PRESETS, choose_preset, preset_of_lora, preset_of_schedule


def facts(family: str) -> ModelFacts:
    return ModelFacts(family, 2, 8)


def test_option_strings_are_frozen() -> None:
    assert OPTIONS == (
        "auto",
        "SD3.5 Medium, 6 steps",
        "SD3.5 Medium, 4 steps",
        "SD3.5 Large, 4 steps",
        "FLUX.1-dev, 4 steps",
        "SDXL, 4 steps",
        "SD3.5 Large, 6 steps (2025)",
        "SD3.5 Medium, 4 steps (2025)",
        "FLUX.1-dev, 4 steps (paper)",
    )


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_preset_is_a_sound_schedule_with_a_source(preset) -> None:
    assert len(preset.scales) == len(preset.timesteps) == int(preset.name.split(", ")[1][0])
    assert list(preset.scales) == sorted(preset.scales)
    assert list(preset.timesteps) == sorted(set(preset.timesteps), reverse=True)
    assert preset.scales[-1] == 128
    assert preset.timesteps[0] == 1.0
    assert preset.source
    assert preset.date[:4] in ("2025", "2026")


@pytest.mark.parametrize(
    ("lora", "name"),
    [
        ("swd-medium-6-steps/adapter_model.safetensors", "SD3.5 Medium, 6 steps"),
        ("yresearch\\swd-medium-4-steps\\adapter_model.safetensors", "SD3.5 Medium, 4 steps"),
        ("SwD_Large_4_steps.safetensors", "SD3.5 Large, 4 steps"),
        ("swd-large-6-steps/adapter_model.safetensors", "SD3.5 Large, 6 steps (2025)"),
        ("swd_flux/adapter_model.safetensors", "FLUX.1-dev, 4 steps"),
        # The names that the templates give the files.
        ("swd-medium-6-steps.safetensors", "SD3.5 Medium, 6 steps"),
        ("swd-medium-4-steps.safetensors", "SD3.5 Medium, 4 steps"),
        ("swd-large-4-steps.safetensors", "SD3.5 Large, 4 steps"),
        ("swd_flux.safetensors", "FLUX.1-dev, 4 steps"),
        ("swd-sdxl.safetensors", "SDXL, 4 steps"),
    ],
)
def test_the_lora_names_its_preset(lora: str, name: str) -> None:
    preset = preset_of_lora(lora)
    assert preset is not None
    assert preset.name == name


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_the_numbers_of_a_schedule_name_its_preset_in_its_family_alone(preset) -> None:
    assert preset_of_schedule(list(preset.scales), list(preset.timesteps), preset.family) is preset
    assert preset_of_schedule(preset.scales, preset.timesteps, "Wan") is None
    assert preset_of_schedule(preset.scales, (*preset.timesteps[:-1], 0.01), preset.family) is None
    assert preset_of_schedule((1, *preset.scales[1:]), preset.timesteps, preset.family) is None
    assert preset_of_schedule((), (), preset.family) is None


def test_another_lora_names_none() -> None:
    assert preset_of_lora("detail-tweaker.safetensors") is None


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("SD3.5 Medium", "SD3.5 Medium, 6 steps"),
        ("SD3.5 Large", "SD3.5 Large, 4 steps"),
        ("FLUX.1-dev", "FLUX.1-dev, 4 steps"),
        ("SDXL", "SDXL, 4 steps"),
    ],
)
def test_auto_without_a_lora_takes_the_default_of_the_family(family: str, name: str) -> None:
    assert choose_preset("auto", facts(family)).name == name


def test_auto_for_an_unknown_family_lists_the_presets() -> None:
    with pytest.raises(InputError) as error:
        choose_preset("auto", facts("QwenImage"))
    assert str(error.value).splitlines()[0] == "preset: auto knows no schedule for QwenImage."
    assert all(preset.name in str(error.value) for preset in PRESETS)


def test_a_preset_of_another_family_is_refused_but_an_unknown_family_may_borrow_it() -> None:
    with pytest.raises(InputError, match=r"^preset: FLUX.1-dev, 4 steps is not for SD3.5 Medium\."):
        choose_preset("FLUX.1-dev, 4 steps", facts("SD3.5 Medium"))
    assert choose_preset("FLUX.1-dev, 4 steps", facts("Chroma")).family == "FLUX.1-dev"


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(InputError, match=r"^preset: no such preset\."):
        choose_preset("SwD 2B", facts("SD3.5 Medium"))


@pytest.mark.parametrize(
    ("model_class", "config", "family"),
    [
        ("SD3", {"x_block_self_attn_layers": [0, 1], "qk_norm": "rms"}, "SD3.5 Medium"),
        ("SD3", {"x_block_self_attn_layers": [], "qk_norm": "rms"}, "SD3.5 Large"),
        ("SD3", {}, "SD3 Medium"),
        ("Flux", {"guidance_embed": True}, "FLUX.1-dev"),
        ("Flux", {"guidance_embed": False}, "FLUX.1-schnell"),
        ("SDXL", {}, "SDXL"),
        ("QwenImage", {}, "QwenImage"),
    ],
)
def test_families_by_what_comfyui_detects(model_class: str, config: dict, family: str) -> None:
    assert family_name(model_class, config) == family

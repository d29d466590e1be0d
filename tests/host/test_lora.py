"""LoRA files as PEFT writes them, on real ComfyUI models, against PEFT itself."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import comfy.lora
import folder_paths
import pytest
import torch
from reference import ItemNoise, make_text, sample
from running import all_in_one, conditioning, empty_latent, relative_error, schedule_of
from safetensors.torch import load_file, save_file
from swd_dev.tiny.lora import write_lora
from swd_dev.tiny.models import make_peft_model

BAR = 2e-6
FILE = "adapter_model.safetensors"
TWO_STEPS = ("3, 4", "1.0, 0.7")
LORAS = {
    "sd35_medium": "swd-medium-6-steps",
    "sd35_large": "swd-large-4-steps",
    "flux": "swd_flux",
    "sdxl": "swd-sdxl",
}
SCALES = {"sd35_medium": "2.5", "sd35_large": "2.5", "flux": "0.5", "sdxl": "2.5"}
NAMES = {"sd35_medium": "SD3.5 Medium", "sd35_large": "SD3.5 Large", "flux": "FLUX.1-dev", "sdxl": "SDXL"}


@pytest.fixture(scope="module")
def lora_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second folder of LoRA files that ComfyUI lists."""
    folder = tmp_path_factory.mktemp("loras")
    folder_paths.add_model_folder_path("loras", str(folder))
    return folder


def apply(swd: dict[str, Any], model: Any, name: str, strength: float = 1.0) -> tuple[Any, str]:
    folder_paths.filename_list_cache.clear()
    return swd["SWDLoraLoader"].execute(model=model, lora_name=name, strength_model=strength).result


def latent_of(swd: dict[str, Any], model: Any, family: str) -> torch.Tensor:
    positive = conditioning(family, make_text(family))
    return all_in_one(swd, model, positive, empty_latent(family, (16, 16)), 1, TWO_STEPS)["samples"]


def latent_of_peft(family: str, folder: Path) -> torch.Tensor:
    with torch.inference_mode():
        return sample(
            family, make_peft_model(family, folder), make_text(family), (3, 4), (1.0, 0.7), (16, 16), ItemNoise(1, (0,))
        )


@pytest.mark.parametrize("family", LORAS)
def test_every_pair_of_the_published_form_is_loaded_and_reported(swd, load, tiny_models: Path, family: str) -> None:
    name = f"{LORAS[family]}/adapter_model.safetensors"
    pairs = sum(".lora_A." in key for key in load_file(tiny_models / "loras" / name))
    assert pairs > 40
    model = load(family)
    patched, report = apply(swd, model, name)
    expected = f"loaded {pairs} of {pairs} pairs, scale {SCALES[family]} from adapter_config.json, {NAMES[family]}"
    assert report == expected
    assert patched is not model
    assert not model.patches


@pytest.mark.parametrize(("family", "loaded"), [("flux", 0), ("sdxl", 0)])
def test_comfyui_alone_loads_nothing_of_the_same_file(load, tiny_models: Path, family: str, loaded: int) -> None:
    """Why the loader exists. Should this fail one day, ComfyUI has learnt these names."""
    state = load_file(tiny_models / "loras" / LORAS[family] / "adapter_model.safetensors")
    key_map = comfy.lora.model_lora_keys_unet(load(family).model, {})
    assert len(comfy.lora.load_lora(state, key_map, log_missing=False)) == loaded


VARIANTS = [
    pytest.param("sd35_medium", {"use_rslora": True}, "scale 7.071 from", id="rslora"),
    pytest.param(
        "flux",
        {"rank_pattern": {"to_q": 2}, "alpha_pattern": {"ff.net.2": 3, "to_q": 1}},
        "scales 0.375 to 2.5 from",
        id="patterns",
    ),
    pytest.param("flux", {"bias": "lora_only"}, "biases", id="bias-flux"),
    pytest.param("sd35_medium", {"bias": "lora_only"}, "biases", id="bias-sd3"),
    pytest.param("sd35_medium", {"lora_bias": True}, "biases of B", id="lora_bias-sd3"),
    pytest.param("flux", {"lora_bias": True}, "biases of B", id="lora_bias-flux"),
    pytest.param("sd35_medium", {"use_dora": True}, "DoRA magnitudes", id="dora-sd3"),
    pytest.param("flux", {"use_dora": True}, "DoRA magnitudes", id="dora-flux"),
    pytest.param("sdxl", {"use_dora": True}, "DoRA magnitudes", id="dora-sdxl"),
    pytest.param(
        "sd35_medium",
        {"target_modules": ["to_q", "to_v"], "modules_to_save": ["proj_out", "norm_out.linear"]},
        "2 whole weights",
        id="modules_to_save",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("family", "options", "said"), VARIANTS)
def test_every_kind_of_adapter_equals_peft(
    swd, load, lora_folder: Path, figure, family: str, options: dict[str, Any], said: str
) -> None:
    folder = lora_folder / "variant"
    shutil.rmtree(folder, ignore_errors=True)
    write_lora(family, folder, seed=9, rank=8, alpha=20, **options)
    patched, report = apply(swd, load(family), "variant/adapter_model.safetensors")
    assert said in report
    assert "NOT loaded" not in report
    latent, plain = latent_of(swd, patched, family), latent_of(swd, load(family), family)
    expected = latent_of_peft(family, folder)
    figure("relative error", relative_error(latent, expected), BAR)
    assert relative_error(latent, expected) <= BAR
    assert relative_error(plain, expected) > 1e-2, "the adapter must matter, or this test shows nothing"


@pytest.mark.parametrize("strength", [0.0, 0.5, -1.0])
def test_strength_scales_the_adapter(swd, load, lora_folder: Path, figure, strength: float) -> None:
    """Half the strength is the same as half of lora_alpha."""
    write_lora("flux", lora_folder / "full", seed=4, rank=8, alpha=20)
    config = json.loads((lora_folder / "full/adapter_config.json").read_text())
    shutil.copytree(lora_folder / "full", lora_folder / "scaled", dirs_exist_ok=True)
    halved = {**config, "lora_alpha": 20 * abs(strength) or 1}
    (lora_folder / "scaled/adapter_config.json").write_text(json.dumps(halved))
    latent = latent_of(swd, apply(swd, load("flux"), "full/adapter_model.safetensors", strength)[0], "flux")
    if strength == 0:
        expected = latent_of(swd, load("flux"), "flux")
    else:
        sign = 1.0 if strength > 0 else -1.0
        expected = latent_of(swd, apply(swd, load("flux"), "scaled/adapter_model.safetensors", sign)[0], "flux")
    figure("relative error", relative_error(latent, expected), BAR)
    assert relative_error(latent, expected) <= BAR


def test_strength_acts_on_whole_weights_too(swd, load, lora_folder: Path) -> None:
    """At 0 the model is its own, at 1 it has the weights of the file, and between them the mean of both."""
    options = {"target_modules": ["to_q"], "modules_to_save": ["proj_out", "norm_out.linear"]}
    write_lora("sd35_medium", lora_folder / "whole-weights", seed=4, rank=8, alpha=20, bias="lora_only", **options)
    name = "whole-weights/adapter_model.safetensors"

    def weights(model: Any) -> dict[str, torch.Tensor]:
        """As ComfyUI patches them, whether it has done so already or does it on the way."""
        parts = model.get_key_patches("diffusion_model.final_layer.")
        return {
            key: comfy.lora.calculate_weight(patches, weight.float().clone(), key)
            for key, ((weight, _), *patches) in parts.items()
        }

    model = load("sd35_medium")
    base = weights(model)
    assert len(base) == 4
    applied = [apply(swd, model, name, strength) for strength in (0.0, 0.5, 1.0)]
    assert all("whole weights" in report for _, report in applied)
    off, half, whole = (weights(patched) for patched, _ in applied)
    assert all(torch.equal(off[key], value) for key, value in base.items())
    changed = [key for key in base if not torch.equal(base[key], whole[key])]
    assert len(changed) >= 2
    for key in changed:
        torch.testing.assert_close(half[key], (base[key] + whole[key]) / 2)


@pytest.mark.parametrize("options", [{"lora_bias": True}, {"bias": "lora_only"}, {"use_dora": True}])
def test_eight_bits_give_what_the_same_numbers_in_32_give(swd, load, lora_folder: Path, options: dict) -> None:
    folders = [lora_folder / f"{bits}-bits" for bits in (8, 32)]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        write_lora("sd35_medium", folder, seed=9, rank=8, alpha=20, **options)
    small = {key: value.to(torch.float8_e4m3fn) for key, value in load_file(folders[0] / FILE).items()}
    save_file(small, folders[0] / FILE)
    save_file({key: value.float() for key, value in small.items()}, folders[1] / FILE)
    models = [apply(swd, load("sd35_medium"), f"{folder.name}/{FILE}")[0] for folder in folders]
    assert torch.equal(*(latent_of(swd, model, "sd35_medium") for model in models))


FORMS = {
    "adapter name in the key": lambda name, half: f"base_model.model.{name}.lora_{half}.style.weight",
    "diffusers": lambda name, half: f"transformer.{name}.lora_{half}.weight",
    "bare": lambda name, half: f"{name}.lora_{half}.weight",
    "kohya suffix": lambda name, half: f"transformer.{name}.lora_{'down' if half == 'A' else 'up'}.weight",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", ["flux", "sd35_medium"])
def test_other_spellings_of_the_same_file_give_the_same_latent(
    swd, load, tiny_models: Path, lora_folder: Path, family: str, form: str
) -> None:
    source = tiny_models / "loras" / LORAS[family]
    folder = lora_folder / "form"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    respelt = {}
    for key, value in load_file(source / "adapter_model.safetensors").items():
        name, half = key.removeprefix("base_model.model.").removesuffix(".weight").rsplit(".lora_", 1)
        respelt[FORMS[form](name, half)] = value
    save_file(respelt, folder / "adapter_model.safetensors")
    latent = latent_of(swd, apply(swd, load(family), "form/adapter_model.safetensors")[0], family)
    original = apply(swd, load(family), f"{LORAS[family]}/adapter_model.safetensors")[0]
    assert torch.equal(latent, latent_of(swd, original, family))


def test_alpha_in_the_file_counts_before_the_configuration(swd, load, tiny_models: Path, lora_folder: Path) -> None:
    source = tiny_models / "loras/swd_flux"
    state = {}
    for key, value in load_file(source / "adapter_model.safetensors").items():
        name = key.removeprefix("base_model.model.")
        state[f"transformer.{name}"] = value
        state[f"transformer.{name.rsplit('.lora_', 1)[0]}.alpha"] = torch.tensor(4.0)
    save_file(state, lora_folder / "own_alpha.safetensors")
    (lora_folder / "adapter_config.json").write_text(json.dumps({"lora_alpha": 999, "r": 8}))
    patched, report = apply(swd, load("flux"), "own_alpha.safetensors")
    (lora_folder / "adapter_config.json").unlink()
    assert "scale 0.5 from alpha in the file" in report
    original = apply(swd, load("flux"), "swd_flux/adapter_model.safetensors")[0]
    assert torch.equal(latent_of(swd, patched, "flux"), latent_of(swd, original, "flux"))


def test_a_configuration_in_a_folder_of_many_is_not_taken_for_every_file(
    swd, load, tiny_models: Path, lora_folder: Path
) -> None:
    """Saved unrenamed beside other LoRAs it would rescale each of them that has no alpha, or keep it from loading."""
    source = tiny_models / "loras/swd_flux"
    many = lora_folder / "many"
    many.mkdir()
    (many / "adapter_config.json").write_text(json.dumps({"lora_alpha": 40, "r": 8}))
    tensors = load_file(source / "adapter_model.safetensors")
    bare = {key.removeprefix("base_model.model."): value for key, value in tensors.items()}
    save_file(bare, many / "style.safetensors")
    assert "scale 5.0 from adapter_config.json" in apply(swd, load("flux"), "many/style.safetensors")[1]
    save_file(tensors, many / "peft.safetensors")
    assert "scale 5.0 from adapter_config.json" in apply(swd, load("flux"), "many/peft.safetensors")[1]
    report = apply(swd, load("flux"), "many/style.safetensors")[1]
    assert "scale 1.0 assumed: no alpha in the file, and adapter_config.json may be another file's" in report
    assert "style.adapter_config.json" in report
    shutil.copy(many / "adapter_config.json", many / "style.adapter_config.json")
    assert "scale 5.0 from adapter_config.json" in apply(swd, load("flux"), "many/style.safetensors")[1]


def test_without_a_configuration_scale_1_is_assumed_and_said(swd, load, tiny_models: Path, lora_folder: Path) -> None:
    shutil.copy(tiny_models / "loras/swd_flux/adapter_model.safetensors", lora_folder / "alone.safetensors")
    _, report = apply(swd, load("flux"), "alone.safetensors")
    assert "scale 1.0 assumed: no adapter_config.json and no alpha in the file" in report


def test_fewer_than_all_is_a_warning_that_names_the_first(
    swd, load, tiny_models: Path, lora_folder: Path, caplog
) -> None:
    state = load_file(tiny_models / "loras/swd_flux/adapter_model.safetensors")
    for half in "AB":
        for number in range(5):
            state[f"base_model.model.transformer_blocks.{90 + number}.attn.to_q.lora_{half}.weight"] = torch.ones(8, 8)
    save_file(state, lora_folder / "more.safetensors")
    with caplog.at_level(logging.WARNING, logger="swd"):
        _, report = apply(swd, load("flux"), "more.safetensors")
    assert "loaded 43 of 48 pairs" in report
    assert "NOT loaded: base_model.model.transformer_blocks.90.attn.to_q, " in report
    assert "and 2 more" in report
    assert report in caplog.text


def test_a_bias_without_a_place_does_not_take_the_weight_beside_it_along(
    swd, load, tiny_models: Path, lora_folder: Path
) -> None:
    """SDXL's attention has no biases."""
    state = load_file(tiny_models / f"loras/swd-sdxl/{FILE}")
    layer = "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    down, up = (state.pop(f"{layer}.lora_{half}.weight") for half in "AB")
    state |= {f"{layer}.weight": up @ down, f"{layer}.bias": torch.ones(len(up))}
    save_file(state, lora_folder / "biased.safetensors")
    patched, report = apply(swd, load("sdxl"), "biased.safetensors")
    assert report.startswith("loaded 261 of 261 pairs, ")
    assert report.endswith(f"; 1 whole weights; NOT loaded: {layer}.bias")
    key = "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"
    assert torch.equal(patched.patches[key][0][1].weights[0], state[f"{layer}.weight"])


@pytest.mark.parametrize(
    ("family", "lora", "first_line", "said"),
    [
        (
            "sd35_medium",
            "swd_flux",
            "does not have the shapes of this model.",
            "looks made for FLUX; the model is SD3.5 Medium",
        ),
        (
            "flux",
            "swd-medium-6-steps",
            "does not have the shapes of this model.",
            "made for SD3.5 Medium; the model is FLUX.1-dev",
        ),
        ("sdxl", "swd_flux", "fits this model.", "looks made for FLUX; the model is SDXL"),
        ("flux", "swd-sdxl", "fits this model.", "looks made for SDXL; the model is FLUX.1-dev"),
    ],
)
def test_a_lora_of_another_family_is_an_error(swd, load, family: str, lora: str, first_line: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^lora_name: ") as error:
        apply(swd, load(family), f"{lora}/adapter_model.safetensors")
    assert str(error.value).splitlines()[0].endswith(first_line)
    assert said in str(error.value)
    assert not load(family).patches


@pytest.mark.parametrize(
    ("shape_a", "shape_b", "said"),
    [
        ((0, 256), (64, 0), "B [64, 0] and A [0, 256] do not multiply"),
        ((8, 256), (64, 4), "B [64, 4] and A [8, 256] do not multiply"),
        ((8,), (64,), "B [64] and A [8] do not multiply"),
        ((8, 256), (63, 8), "B [63, 8] and A [8, 256] for a weight of 64 x 256"),
        ((8, 255), (64, 8), "B [64, 8] and A [8, 255] for a weight of 64 x 256"),
    ],
)
def test_halves_of_a_wrong_shape_are_an_error_and_nothing_is_half_applied(
    swd, load, tiny_models: Path, lora_folder: Path, shape_a: tuple[int, ...], shape_b: tuple[int, ...], said: str
) -> None:
    state = load_file(tiny_models / "loras/swd_flux/adapter_model.safetensors")
    state["base_model.model.proj_out.lora_A.weight"] = torch.ones(shape_a)
    state["base_model.model.proj_out.lora_B.weight"] = torch.ones(shape_b)
    save_file(state, lora_folder / "shapes.safetensors")
    with pytest.raises(
        ValueError, match=r"^lora_name: shapes.safetensors does not have the shapes of this model\."
    ) as error:
        apply(swd, load("flux"), "shapes.safetensors")
    assert said in str(error.value)
    assert not load("flux").patches


def test_two_names_for_one_layer_are_an_error(swd, load, tiny_models: Path, lora_folder: Path) -> None:
    state = load_file(tiny_models / "loras/swd_flux/adapter_model.safetensors")
    for half in "AB":
        key = f"base_model.model.proj_out.lora_{half}.weight"
        state[f"transformer.proj_out.lora_{half}.weight"] = state[key].clone()
    save_file(state, lora_folder / "twice.safetensors")
    with pytest.raises(ValueError, match=r"^lora_name: twice.safetensors has two pairs for one layer\."):
        apply(swd, load("flux"), "twice.safetensors")


@pytest.mark.parametrize("name", ["nowhere.safetensors", "../adapter_model.safetensors", "/etc/passwd", ""])
def test_only_listed_files_are_opened(swd, load, name: str) -> None:
    with pytest.raises(ValueError, match=r"^lora_name: .* is not in models/loras\."):
        apply(swd, load("flux"), name)
    assert "is not in models/loras." in swd["SWDLoraLoader"].validate_inputs(lora_name=name)


def test_a_path_of_another_system_finds_the_file(swd, load) -> None:
    assert swd["SWDLoraLoader"].validate_inputs(lora_name="swd_flux\\adapter_model.safetensors") is True
    assert "loaded 43 of 43" in apply(swd, load("flux"), "swd_flux\\adapter_model.safetensors")[1]


def test_a_new_configuration_is_noticed(swd, load, tiny_models: Path, lora_folder: Path) -> None:
    """ComfyUI runs the node again when its fingerprint changes."""
    folder = lora_folder / "noticed"
    shutil.copytree(tiny_models / "loras/swd_flux", folder)
    folder_paths.filename_list_cache.clear()
    inputs = {"model": None, "lora_name": "noticed/adapter_model.safetensors", "strength_model": 1.0}
    before = swd["SWDLoraLoader"].fingerprint_inputs(**inputs)
    assert swd["SWDLoraLoader"].fingerprint_inputs(**inputs) == before
    (folder / "adapter_config.json").unlink()
    assert swd["SWDLoraLoader"].fingerprint_inputs(**inputs) != before


def test_a_file_that_makes_a_configuration_doubtful_is_noticed(swd, tiny_models: Path, lora_folder: Path) -> None:
    folder = lora_folder / "doubtful"
    shutil.copytree(tiny_models / "loras/swd_flux", folder)
    os.utime(folder, (0, 0))
    folder_paths.filename_list_cache.clear()
    before = swd["SWDLoraLoader"].fingerprint_inputs(None, "doubtful/adapter_model.safetensors", 1.0)
    (folder / "another.safetensors").touch()
    assert swd["SWDLoraLoader"].fingerprint_inputs(None, "doubtful/adapter_model.safetensors", 1.0) != before


@pytest.mark.parametrize(
    ("family", "lora", "steps"),
    [("sd35_medium", "swd-medium-4-steps", 4), ("sd35_medium", "swd-medium-6-steps", 6), ("flux", "swd_flux", 4),
     ("sdxl", "swd-sdxl", 4)],
)  # fmt: skip
def test_auto_takes_the_schedule_of_the_lora_on_the_model(swd, load, family: str, lora: str, steps: int) -> None:
    patched, _ = apply(swd, load(family), f"{lora}/adapter_model.safetensors")
    schedule, sigmas = schedule_of(swd, patched, "auto")
    assert len(sigmas) == steps + 1
    assert f"{steps} steps" in schedule.name


def test_a_preset_that_is_not_the_loras_is_named_when_it_runs(swd, load, lora_folder: Path, caplog) -> None:
    """Whichever way the wrong one came about: chosen by hand, or made from the model before its LoRA."""
    patched, _ = apply(swd, load("sd35_medium"), "swd-medium-4-steps/adapter_model.safetensors")
    positive, latent = conditioning("sd35_medium", make_text("sd35_medium")), empty_latent("sd35_medium", (16, 16))

    def warnings(schedule: Any) -> list[str]:
        caplog.clear()
        swd["SWDSampler"].execute(
            model=patched, positive=positive, latent_image=latent, schedule=schedule, seed=1, cfg=1.0, denoise=1.0,
            upscale_method="bicubic",
        )  # fmt: skip
        return [record.message for record in caplog.records if record.levelno == logging.WARNING]

    expected = (
        "SwD: schedule: not that of the LoRA. It is SD3.5 Medium, 6 steps, but "
        "swd-medium-4-steps/adapter_model.safetensors was made for SD3.5 Medium, 4 steps."
    )
    assert warnings(schedule_of(swd, patched, "SD3.5 Medium, 6 steps")[0]) == [expected]
    assert warnings(schedule_of(swd, load("sd35_medium"), "auto")[0]) == [expected]
    for right in ("auto", "SD3.5 Medium, 4 steps", TWO_STEPS):
        assert not warnings(schedule_of(swd, patched, right)[0])


def test_a_published_lora_without_its_scale_is_a_warning_and_any_other_is_none(
    swd, load, tiny_models: Path, lora_folder: Path, caplog
) -> None:
    source = tiny_models / "loras/swd_flux/adapter_model.safetensors"
    for name, level in (("swd_flux_alone", logging.WARNING), ("style_alone", logging.INFO)):
        (lora_folder / name).mkdir()
        shutil.copy(source, lora_folder / name / "it.safetensors")
        with caplog.at_level(logging.INFO, logger="swd"):
            _, report = apply(swd, load("flux"), f"{name}/it.safetensors")
        assert "assumed" in report
        assert caplog.records[-1].levelno == level

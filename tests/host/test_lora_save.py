"""Saved LoRAs: every other loader gets from them what SwD LoRA Loader gets from the published file."""

from __future__ import annotations

import copy
import hashlib
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import folder_paths
import pytest
import torch
from diffusers.loaders import FluxLoraLoaderMixin, SD3LoraLoaderMixin, StableDiffusionXLLoraLoaderMixin
from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft
from peft import LoraConfig, get_peft_model_state_dict
from reference import ItemNoise, make_text, sample
from running import relative_error
from safetensors.torch import load_file, safe_open
from swd_dev.tiny.lora import write_lora
from swd_dev.tiny.models import make_model, make_peft_model
from test_lora import LORAS, apply, latent_of, latent_of_peft
from transformers import CLIPTextConfig, CLIPTextModel

import nodes as comfy_nodes

BAR = 1e-6
SCHEDULES = {
    "sd35_medium": "32, 48, 64, 80, 96, 128",
    "sd35_large": "64, 80, 96, 128",
    "flux": "64, 80, 96, 128",
    "sdxl": "64, 80, 96, 128",
}
ARCHITECTURES = {
    "sd35_medium": "stable-diffusion-v3.5-medium/lora",
    "sd35_large": "stable-diffusion-v3.5-large/lora",
    "flux": "flux-1-dev/lora",
    "sdxl": "stable-diffusion-xl-v1-base/lora",
}


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    """ComfyUI's output folder, whose `loras` are listed as LoRAs so that they can be loaded again."""
    before = folder_paths.get_output_directory()
    folder_paths.set_output_directory(str(tmp_path))
    folder_paths.add_model_folder_path("loras", str(tmp_path / "loras"))
    yield tmp_path
    folder_paths.folder_names_and_paths["loras"][0].remove(str(tmp_path / "loras"))
    folder_paths.set_output_directory(before)
    folder_paths.filename_list_cache.clear()


def save(swd: dict[str, Any], name: str, prefix: str = "loras/SwD") -> str:
    folder_paths.filename_list_cache.clear()
    (report,) = swd["SWDLoraSave"].execute(lora_name=name, filename_prefix=prefix).result
    return report


def save_published(swd: dict[str, Any], family: str, output: Path) -> Path:
    report = save(swd, f"{LORAS[family]}/adapter_model.safetensors")
    (file,) = (output / "loras").iterdir()
    pairs = len([key for key in load_file(file) if key.endswith(".alpha")])
    assert report == (
        f"{LORAS[family]}/adapter_model.safetensors -> {file.name}: {pairs} pairs with alpha, "
        f"{ARCHITECTURES[family]}, in output/loras"
    )
    return file


@pytest.mark.parametrize("family", LORAS)
def test_comfyuis_own_loader_gives_the_same_latent(swd, load, output: Path, figure, family: str) -> None:
    file = save_published(swd, family, output)
    folder_paths.filename_list_cache.clear()
    (own,) = comfy_nodes.LoraLoaderModelOnly().load_lora_model_only(load(family), file.name, 1.0)
    assert sum(map(len, own.patches.values())) > 40
    ours, _ = apply(swd, load(family), f"{LORAS[family]}/adapter_model.safetensors")
    assert set(own.patches) == set(ours.patches)
    found = relative_error(latent_of(swd, own, family), latent_of(swd, ours, family))
    figure("relative error", found, BAR)
    assert found <= BAR


@pytest.mark.parametrize("family", LORAS)
def test_swd_lora_loader_takes_it_too_and_auto_finds_the_schedule(swd, load, output: Path, family: str) -> None:
    file = save_published(swd, family, output)
    patched, report = apply(swd, load(family), file.name)
    assert ", scale 1.0 from alpha in the file," in report
    assert "NOT" not in report
    schedule, _ = swd["SWDScaleSchedule"].execute(model=patched, preset="auto").result
    by_name, _ = apply(swd, load(family), f"{LORAS[family]}/adapter_model.safetensors")
    assert schedule == swd["SWDScaleSchedule"].execute(model=by_name, preset="auto").result[0]


def diffusers_with(family: str, tensors: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The diffusers model, its LoRA loaded the way that the pipelines load one."""
    model: Any = make_model(family)
    if family == "sdxl":
        state, alphas = StableDiffusionXLLoraLoaderMixin.lora_state_dict(dict(tensors), unet_config=model.config)
        model.load_lora_adapter(state, network_alphas=alphas, prefix="unet")
    elif family == "flux":
        state, alphas = FluxLoraLoaderMixin.lora_state_dict(dict(tensors), return_alphas=True)
        model.load_lora_adapter(state, network_alphas=alphas, prefix="transformer")
    else:
        model.load_lora_adapter(SD3LoraLoaderMixin.lora_state_dict(dict(tensors)), prefix="transformer")
    return model.eval()


@pytest.mark.parametrize("family", LORAS)
def test_diffusers_gives_what_peft_gives_from_the_original(
    swd, tiny_models: Path, output: Path, figure, family: str
) -> None:
    """The pipelines of SD3 ignore alpha: it must not be needed."""
    tensors = load_file(save_published(swd, family, output))
    with torch.inference_mode():
        arguments = (make_text(family), (3, 4), (1.0, 0.7), (16, 16), ItemNoise(1, (0,)))
        latent = sample(family, diffusers_with(family, tensors), *arguments)
    found = relative_error(latent, latent_of_peft(family, tiny_models / "loras" / LORAS[family]))
    figure("relative error", found, BAR)
    assert found <= BAR


SMALL_CLIP = CLIPTextConfig(
    vocab_size=99, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2
)
TEXT_LORA = LoraConfig(
    r=2, lora_alpha=6, target_modules=["q_proj", "k_proj", "v_proj", "out_proj"], init_lora_weights=False
)


@pytest.mark.parametrize("family", ["sd35_medium", "sdxl"])
def test_text_encoders_beside_the_model_keep_the_scale_that_diffusers_gives_them(
    swd, load, tiny_models: Path, output: Path, family: str
) -> None:
    pipeline, part = (
        (StableDiffusionXLLoraLoaderMixin, "unet") if family == "sdxl" else (SD3LoraLoaderMixin, "transformer")
    )
    model, text = make_model(family), CLIPTextModel(SMALL_CLIP)
    plain = copy.deepcopy(text)
    model.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=["to_q"], init_lora_weights=False))
    text.add_adapter(TEXT_LORA)
    trained = {part: model, "text_encoder": text}
    pipeline.save_lora_weights(
        output / "loras",
        **{f"{name}_lora_layers": get_peft_model_state_dict(one) for name, one in trained.items()},
        **{f"{name}_lora_adapter_metadata": one.peft_config["default"].to_dict() for name, one in trained.items()},
        weight_name="both.safetensors",
    )
    save(swd, "both.safetensors")
    tensors = load_file(next((output / "loras").glob("SwD*")))
    state, alphas = (
        pipeline.lora_state_dict(tensors, unet_config=model.config)
        if family == "sdxl"
        else (pipeline.lora_state_dict(tensors), None)
    )
    assert {key.split(".")[0] for key in state} == trained.keys()
    pipeline.load_lora_into_text_encoder(state, alphas, plain, prefix="text_encoder")
    with torch.inference_mode():
        found, expected = (one(torch.arange(7)[None]).last_hidden_state for one in (plain, text))
    assert relative_error(found, expected) <= BAR
    assert "NOT loaded" in apply(swd, load(family), "both.safetensors")[1]


def test_the_steps_of_nunchakus_converter_lead_to_the_weights_of_the_original(
    swd, tiny_models: Path, output: Path
) -> None:
    """nunchaku/lora/flux/diffusers_converter.py: read by diffusers' mixin, alpha / rank multiplied into A."""
    tensors = load_file(save_published(swd, "flux", output))
    state, alphas = FluxLoraLoaderMixin.lora_state_dict(dict(tensors), return_alphas=True)
    state = convert_unet_state_dict_to_peft(state)
    original: Any = make_peft_model("flux", tiny_models / "loras" / LORAS["flux"])
    modules = {name: module for name, module in original.named_modules() if hasattr(module, "get_delta_weight")}
    assert len(alphas) == len(modules) > 40
    for name, module in modules.items():
        key = "transformer." + name.removeprefix("base_model.model.")
        down, up = state[f"{key}.lora_A.weight"], state[f"{key}.lora_B.weight"]
        delta = up @ (down * alphas[f"{key}.alpha"] / down.shape[0])
        torch.testing.assert_close(delta, module.get_delta_weight("default"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", LORAS)
def test_the_header_says_what_the_file_is(swd, output: Path, family: str) -> None:
    file = save_published(swd, family, output)
    with safe_open(file, framework="pt") as opened:
        header = opened.metadata()
    assert header["modelspec.architecture"] == ARCHITECTURES[family]
    assert header["swd.source"] == f"{LORAS[family]}/adapter_model.safetensors"
    assert header["swd.scales"] == SCHEDULES[family]
    assert header["swd.timesteps"].startswith("1, 0.")
    data = file.read_bytes()
    (header_size,) = struct.unpack("<Q", data[:8])
    assert header["modelspec.hash_sha256"] == "0x" + hashlib.sha256(data[8 + header_size :]).hexdigest()


def test_the_command_line_writes_the_same(swd, pack: Path, tiny_models: Path, output: Path, tmp_path: Path) -> None:
    file = save_published(swd, "flux", output)
    out = tmp_path / "flux.safetensors"
    source = tiny_models / "loras" / LORAS["flux"] / "adapter_model.safetensors"
    # In this Python, but without ComfyUI: it is not on the path of a fresh process.
    command = [sys.executable, "-m", "swd_core.lora", str(source), str(out)]
    environment = {"PYTHONPATH": str(pack), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"{LORAS['flux']}/adapter_model.safetensors -> flux.safetensors: 43 pairs")
    # safetensors writes the entries of a header in any order.
    with safe_open(file, framework="pt") as one, safe_open(out, framework="pt") as other:
        assert one.metadata() == other.metadata()
        assert set(one.keys()) == set(other.keys())
        assert all(torch.equal(one.get_tensor(key), other.get_tensor(key)) for key in one.keys())  # noqa: SIM118
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert again.stderr.startswith("flux.safetensors exists already.")


def test_a_lora_of_another_kind_on_top_leaves_auto_its_schedule(swd, load, output: Path) -> None:
    swd_model, _ = apply(swd, load("sd35_medium"), "swd-medium-4-steps/adapter_model.safetensors")
    write_lora("sd35_medium", output / "loras" / "style", seed=1, rank=4, alpha=4)
    both, _ = apply(swd, swd_model, "style/adapter_model.safetensors")
    schedule, _ = swd["SWDScaleSchedule"].execute(model=both, preset="auto").result
    assert schedule.name == "SD3.5 Medium, 4 steps"


def test_each_save_has_a_number_of_its_own(swd, output: Path) -> None:
    for _ in range(2):
        save(swd, "swd_flux/adapter_model.safetensors", "mine/flux")
    assert sorted(file.name for file in (output / "mine").iterdir()) == [
        "flux_00001_.safetensors",
        "flux_00002_.safetensors",
    ]


@pytest.mark.parametrize("prefix", ["../out", "loras/../../out", "/tmp/out"])
def test_a_prefix_that_leads_out_of_the_output_folder_is_refused(swd, output: Path, prefix: str) -> None:
    with pytest.raises(ValueError, match=r"^filename_prefix: it leads out of the output folder\."):
        save(swd, "swd_flux/adapter_model.safetensors", prefix)
    assert not list(output.rglob("*.safetensors"))


def test_dora_has_no_common_form(swd, output: Path) -> None:
    folder = output / "loras" / "dora"
    write_lora("flux", folder, seed=1, rank=4, alpha=4, use_dora=True)
    with pytest.raises(ValueError, match=r"cannot be written in the common form\."):
        save(swd, "dora/adapter_model.safetensors")
    assert [file.parent for file in output.rglob("*.safetensors")] == [folder]


def test_the_configuration_may_stand_beside_a_file_under_its_name(swd, load, output: Path, tiny_models: Path) -> None:
    """The five published files can live in one folder, each with its own settings."""
    source = tiny_models / "loras" / LORAS["flux"]
    loras = output / "loras"
    loras.mkdir()
    (loras / "swd_flux.safetensors").write_bytes((source / "adapter_model.safetensors").read_bytes())
    (loras / "adapter_config.json").write_text(json.dumps({"r": 999, "lora_alpha": 1}))
    (loras / "swd_flux.adapter_config.json").write_bytes((source / "adapter_config.json").read_bytes())
    _, report = apply(swd, load("flux"), "swd_flux.safetensors")
    assert report.startswith("loaded 43 of 43 pairs, scale 0.5 from adapter_config.json")

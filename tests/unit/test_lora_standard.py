"""The common form of a LoRA: names, scale and header."""

from __future__ import annotations

import pytest
import torch
from swd_pack.swd_core.errors import InputError
from swd_pack.swd_core.lora.file import LoraFile
from swd_pack.swd_core.lora.metadata import (
    TrainedSchedule,
    schedule_metadata,
    standard_metadata,
    trained_schedule,
)
from swd_pack.swd_core.lora.standard import standard_tensors

A = torch.arange(6.0).reshape(2, 3)
B = torch.tensor([[0.3, -0.7], [1.5, 0.1], [2.0, -1.0], [0.0, 4.0]])
FLUX_LAYER = "single_transformer_blocks.0.attn.to_q"


def make(layer: str, scale: float = 1.0, up: torch.Tensor = B, **others: torch.Tensor) -> LoraFile:
    tensors = {f"{layer}.lora_A.weight": A, f"{layer}.lora_B.weight": up, **others}
    config = {"r": 2, "lora_alpha": 2 * scale}
    return LoraFile("swd_flux/adapter_model.safetensors", tensors, {}, config)


@pytest.mark.parametrize(
    ("layer", "down", "up"),
    [
        (f"base_model.model.{FLUX_LAYER}", f"transformer.{FLUX_LAYER}.lora_A", f"transformer.{FLUX_LAYER}.lora_B"),
        ("base_model.model.x_embedder", "transformer.x_embedder.lora_A", "transformer.x_embedder.lora_B"),
        (
            "base_model.model.mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0",
            "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_down",
            "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_up",
        ),
        (
            "unet.up_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q",
            "lora_unet_up_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down",
            "lora_unet_up_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_up",
        ),
        (
            "unet.up_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_out",
            "lora_unet_up_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_down",
            "lora_unet_up_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_up",
        ),
        ("unet.conv_in", "lora_unet_conv_in.lora_down", "lora_unet_conv_in.lora_up"),
        ("lora_unet_double_blocks_0_img_attn_qkv",) * 1
        + ("lora_unet_double_blocks_0_img_attn_qkv.lora_down", "lora_unet_double_blocks_0_img_attn_qkv.lora_up"),
        (
            "diffusion_model.double_blocks.0.img_attn.qkv",
            "diffusion_model.double_blocks.0.img_attn.qkv.lora_A",
            "diffusion_model.double_blocks.0.img_attn.qkv.lora_B",
        ),
    ],
)
def test_a_layer_gets_the_name_that_its_loaders_know(layer: str, down: str, up: str) -> None:
    name = down.rsplit(".", 1)[0]
    assert set(standard_tensors(make(layer))) == {f"{down}.weight", f"{up}.weight", f"{name}.alpha"}


@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_scale_is_in_the_weights_and_alpha_is_the_rank(scale: float, dtype: torch.dtype) -> None:
    tensors = standard_tensors(make(FLUX_LAYER, scale, B.to(dtype)))
    assert tensors[f"transformer.{FLUX_LAYER}.alpha"] == 2
    up = tensors[f"transformer.{FLUX_LAYER}.lora_B.weight"]
    torch.testing.assert_close(up.double(), B.to(dtype).double() * scale, rtol=6e-8, atol=0)
    # A power of two only moves the exponent.
    assert up.dtype == (dtype if scale != 0.3 else torch.float32)


@pytest.mark.parametrize(("alpha", "scale"), [(8.0, 4.0), (1.0, 0.5), (5.0, 2.5)])
def test_an_alpha_in_the_file_goes_before_the_configuration(alpha: float, scale: float) -> None:
    lora = make(FLUX_LAYER, 1.0, **{f"{FLUX_LAYER}.alpha": torch.tensor(alpha)})
    assert torch.equal(standard_tensors(lora)[f"transformer.{FLUX_LAYER}.lora_B.weight"], scale * B)


@pytest.mark.parametrize(
    "extra", ["lora_B.bias", "lora_magnitude_vector", "base_layer.bias", "dora_scale", "lora_mid.weight", "surprise"]
)
def test_what_has_no_common_form_is_refused(extra: str) -> None:
    with pytest.raises(InputError, match=rf"cannot be written in the common form\.\nFound: {FLUX_LAYER}.{extra}\n"):
        standard_tensors(make(FLUX_LAYER, **{f"{FLUX_LAYER}.{extra}": B}))


@pytest.mark.parametrize("up", [torch.ones(4, 3), torch.ones(4), torch.tensor(1.0)])
def test_halves_that_do_not_multiply_are_refused(up: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"has halves of a pair that do not multiply\.\n"):
        standard_tensors(make(FLUX_LAYER, up=up))


def test_a_rank_of_0_is_refused() -> None:
    halves = {f"{FLUX_LAYER}.lora_A.weight": torch.ones(0, 3), f"{FLUX_LAYER}.lora_B.weight": torch.ones(4, 0)}
    alpha = {f"{FLUX_LAYER}.alpha": torch.tensor(1.0)}
    with pytest.raises(InputError, match="do not multiply"):
        standard_tensors(LoraFile("x.safetensors", {**halves, **alpha}, {}, None))


def test_two_names_for_one_layer_are_refused() -> None:
    other = f"transformer.{FLUX_LAYER}"
    with pytest.raises(InputError, match=r"has two pairs for one layer\.\n"):
        standard_tensors(make(FLUX_LAYER, **{f"{other}.lora_A.weight": A, f"{other}.lora_B.weight": B}))


def test_a_refusal_counts_what_else_has_no_common_form() -> None:
    others = {f"{FLUX_LAYER}.{extra}": B for extra in ("lora_B.bias", "lora_magnitude_vector", "surprise")}
    with pytest.raises(InputError, match=rf"Found: {FLUX_LAYER}\.\S+ and 2 more\n"):
        standard_tensors(make(FLUX_LAYER, **others))


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(InputError, match="Found: no tensors"):
        standard_tensors(LoraFile("empty", {}, {}, None))


def test_the_header_of_a_published_lora_names_its_model_source_and_schedule() -> None:
    header = standard_metadata(make(FLUX_LAYER))
    assert header["modelspec.architecture"] == "flux-1-dev/lora"
    assert header["modelspec.title"] == "swd-flux"
    assert header["swd.source"] == "swd_flux/adapter_model.safetensors"
    assert (header["swd.scales"], header["swd.timesteps"]) == ("64, 80, 96, 128", "1, 0.8956, 0.7363, 0.6007")
    assert trained_schedule(header) == TrainedSchedule((64, 80, 96, 128), (1.0, 0.8956, 0.7363, 0.6007))


def test_a_header_that_was_there_stays_but_for_the_scale_that_is_now_in_the_weights() -> None:
    before = {
        "lora_adapter_metadata": "{}",
        "lora_alpha": "4",
        "r": "2",
        "modelspec.title": "Mine",
        "note": "kept",
        **schedule_metadata((8, 16), (1.0, 0.5)),
    }
    header = standard_metadata(LoraFile("swd_flux.safetensors", make(FLUX_LAYER).tensors, before, None))
    assert not {"lora_adapter_metadata", "lora_alpha", "r"} & set(header)
    assert (header["modelspec.title"], header["note"], header["swd.scales"]) == ("Mine", "kept", "8, 16")


@pytest.mark.parametrize(
    ("layer", "architecture"),
    [
        ("transformer_blocks.0.attn2.to_q", "stable-diffusion-v3.5-medium/lora"),
        ("transformer_blocks.37.attn.to_q", "stable-diffusion-3/lora"),
        ("transformer_blocks.24.attn.to_q", "stable-diffusion-v3.5-large/lora"),
        ("single_transformer_blocks.0.proj_out", "flux-1-dev/lora"),
        ("down_blocks.2.attentions.0.transformer_blocks.1.attn1.to_q", "stable-diffusion-xl-v1-base/lora"),
        ("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", "stable-diffusion-v1/lora"),
    ],
)
def test_a_file_of_another_name_is_known_by_its_layers(layer: str, architecture: str) -> None:
    lora = LoraFile("mine.safetensors", make(layer).tensors, {}, None)
    header = standard_metadata(lora)
    assert (header["modelspec.architecture"], header["modelspec.title"]) == (architecture, "mine")
    assert "swd.scales" not in header


def test_a_file_for_an_unknown_model_is_refused() -> None:
    with pytest.raises(InputError, match="not for a model that is known here"):
        standard_metadata(LoraFile("mine", make("layers.0.q").tensors, {}, None))


def test_a_schedule_in_a_header_keeps_all_of_its_digits() -> None:
    scales, timesteps = (0.2578125, 2 / 3, 1.0), (1.0, 0.8959276, 1e-5)
    assert trained_schedule(schedule_metadata(scales, timesteps)) == TrainedSchedule(scales, timesteps)
    assert schedule_metadata((64, 80.0), (1, 0.6022)) == {"swd.scales": "64, 80", "swd.timesteps": "1, 0.6022"}


def test_a_schedule_in_a_header_that_is_no_list_of_numbers_is_refused() -> None:
    with pytest.raises(InputError, match=r"swd.scales in the file: 'wide' is not a number"):
        trained_schedule({"swd.scales": "wide", "swd.timesteps": "1"})
    assert trained_schedule({"swd.scales": "1, 2"}) is None

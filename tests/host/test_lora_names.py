"""The names of the published LoRAs of each family lead to the same places of the model, however they are spelt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.lora
import comfy.sample
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from swd_pack.swd_core.lora.file import LoraFile
from swd_pack.swd_core.lora.layers import find_name, parse_layers
from swd_pack.swd_core.lora.standard import standard_tensors
from swd_pack.swd_core.noise import recover_items

LORAS = {
    "sd35_medium": "swd-medium-6-steps",
    "sd35_large": "swd-large-4-steps",
    "flux": "swd_flux",
    "sdxl": "swd-sdxl",
}
PREFIX = "base_model.model."
# How others write the two halves of a layer, and the names in front of it.
HALVES = [
    (".lora_A.weight", ".lora_B.weight"),
    (".lora_A.default.weight", ".lora_B.default.weight"),
    (".lora_down.weight", ".lora_up.weight"),
    ("_lora.down.weight", "_lora.up.weight"),
    (".lora.down.weight", ".lora.up.weight"),
    (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
    (".lora_A", ".lora_B"),
]
PREFIXES = {
    "transformer": [PREFIX, "transformer.", "", "base_model.model.transformer.", "lora_transformer_"],
    "unet": [PREFIX, "unet.", "lora_unet_", "base_model.model.unet."],
}


@pytest.fixture(scope="module")
def published(tiny_models: Path) -> Callable[[str], LoraFile]:
    def read(family: str) -> LoraFile:
        folder = tiny_models / "loras" / LORAS[family]
        config = json.loads((folder / "adapter_config.json").read_text())
        return LoraFile(LORAS[family], load_file(folder / "adapter_model.safetensors"), {}, config)

    made = {family: read(family) for family in LORAS}
    return lambda family: made[family]


def places(model: Any, keys: Any) -> dict[str, Any]:
    """The place of every layer in a list of keys, by the two shapes' names of its module."""
    key_map = comfy.lora.model_lora_keys_unet(model.model, {})
    found = {}
    for layer in parse_layers(keys, "file"):
        name = find_name(layer, key_map)
        assert layer.is_pair, layer
        assert name, layer.name
        target = key_map[name]
        # A function in a place is made anew with every map.
        found[layer.keys["down"]] = target[:2] if isinstance(target, tuple) else target
    return found


@pytest.mark.parametrize("family", LORAS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8)
@given(data=st.data())
def test_every_layer_keeps_its_place_in_any_spelling_and_order(load, published, family: str, data) -> None:
    keys = [key for key in published(family).tensors if ".lora_A." in key]
    modules = [key.removeprefix(PREFIX).removesuffix(".lora_A.weight") for key in keys]
    expected = list(places(load(family), published(family).tensors).values())
    assert len({str(place) for place in expected}) == len(modules), "each layer has a place of its own"
    kind = "unet" if family == "sdxl" else "transformer"
    spelt: dict[str, str] = {}
    for module in modules:
        prefix = data.draw(st.sampled_from(PREFIXES[kind]))
        flat = prefix.endswith("_")
        down, up = data.draw(st.sampled_from(HALVES[2:3] if flat else HALVES))
        name = prefix + (module.replace(".", "_") if flat else module)
        spelt[module] = f"{name}{down}"
        spelt[f"{module} up"] = f"{name}{up}"
    found = places(load(family), data.draw(st.permutations(list(spelt.values()))))
    original = places(load(family), published(family).tensors)
    for module in modules:
        assert found[spelt[module]] == original[f"{PREFIX}{module}.lora_A.weight"], spelt[module]


@pytest.mark.parametrize("family", LORAS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=4)
@given(alpha=st.floats(0.01, 1000))
def test_the_saved_form_has_the_same_places_and_factors(load, published, family: str, alpha: float) -> None:
    lora = published(family)
    rank = lora.config["r"]
    tensors = standard_tensors(LoraFile(lora.name, lora.tensors, {}, {"r": rank, "lora_alpha": alpha}))
    assert len(tensors) == 3 * len(lora.tensors) / 2
    saved, original = places(load(family), tensors), places(load(family), lora.tensors)
    of_place = {str(place): key for key, place in original.items()}
    assert sorted(map(str, saved.values())) == sorted(of_place)
    for layer in parse_layers(tensors, "file"):
        down, up, own_alpha = (tensors[layer.keys[role]] for role in ("down", "up", "alpha"))
        before = of_place[str(saved[layer.keys["down"]])]
        assert torch.equal(down, lora.tensors[before])
        expected = alpha / rank * lora.tensors[before.replace("lora_A", "lora_B")].double()
        torch.testing.assert_close(float(own_alpha) / len(down) * up.double(), expected, rtol=1e-7, atol=0)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**63 - 1),
    items=st.lists(st.integers(0, 300), min_size=1, max_size=5),
    half=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
def test_the_numbers_of_the_pictures_are_recovered_from_comfyuis_own_noise(seed: int, items: list[int], half) -> None:
    """Several pictures of one number are the same picture."""
    noise = comfy.sample.prepare_noise(torch.zeros(len(items), 4, 4, 6), seed, items)
    assert recover_items(noise.to(half), seed) == items

"""The scale of a LoRA: what its configuration or its header says of it."""

from __future__ import annotations

import json
import math
import random
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import AdaLoraConfig, LoHaConfig, LoKrConfig, LoraConfig, PeftConfig, get_peft_model
from peft.utils.other import get_pattern_key
from safetensors.torch import save_file
from swd_pack.swd_core.errors import InputError
from swd_pack.swd_core.lora.file import LoraFile, read_lora
from swd_pack.swd_core.lora.scale import adapter_scale


def lora_file(config: dict | None = None, metadata: dict | None = None) -> LoraFile:
    return LoraFile("file", {}, metadata or {}, config)


@pytest.mark.parametrize(
    ("config", "module", "rank", "expected"),
    [
        ({"lora_alpha": 64, "r": 64}, "a.to_q", 64, 1.0),
        ({"lora_alpha": 20, "r": 8}, "a.to_q", 8, 2.5),
        ({"lora_alpha": 20, "r": 16, "use_rslora": True}, "a.to_q", 16, 5.0),
        ({"lora_alpha": 20, "r": 8, "alpha_pattern": {"to_q": 4}}, "a.to_q", 8, 0.5),
        ({"lora_alpha": 20, "r": 8, "alpha_pattern": {"to_q": 4}}, "a.add_to_q", 8, 2.5),
        ({"lora_alpha": 20, "r": 8, "rank_pattern": {"a.to_q": 4}}, "a.to_q", 4, 5.0),
    ],
)
def test_the_scale_follows_the_configuration(config: dict, module: str, rank: int, expected: float) -> None:
    scale = adapter_scale(lora_file(config))
    assert scale is not None
    assert scale.source == "adapter_config.json"
    assert math.isclose(scale.of(module, rank), expected)


def test_patterns_match_as_peft_matches_them() -> None:
    patterns = {"to_q": 3, r"blocks\.\d+\.ff": 5, "ff.net.2": 7, "^proj_out": 9}
    scale = adapter_scale(lora_file({"lora_alpha": 1, "r": 1, "alpha_pattern": patterns}))
    assert scale is not None
    for module in (
        "a.to_q",
        "to_q",
        "add_to_q",
        "a.blocks.12.ff",
        "x.ff.net.2",
        "x.ff_net_2",
        "proj_out",
        "a.proj_out",
    ):
        expected = patterns.get(get_pattern_key(patterns, module), LoraConfig(lora_alpha=1).lora_alpha)
        assert scale.of(module, 1) == expected, module


def test_ranks_of_a_thousand_layers_are_read_at_once() -> None:
    ranks = {f"blocks.{index}.to_q": 1 + index % 9 for index in range(1000)}
    scale = adapter_scale(lora_file({"lora_alpha": 1, "r": 1, "rank_pattern": ranks}))
    assert scale is not None
    start = time.process_time()
    assert all(scale.of(module, rank) == 1 / rank for module, rank in ranks.items())
    assert time.process_time() - start < 5


MODULES = st.lists(st.sampled_from(["a", "b", "to_q", "to_k", "ff", "net", "0", "2", "12"]), min_size=1, max_size=5)


@given(module=MODULES, names=st.lists(MODULES, min_size=1, max_size=4), seed=st.integers(0, 99))
def test_patterns_choose_what_peft_chooses(module: list[str], names: list[list[str]], seed: int) -> None:
    chance = random.Random(seed)
    patterns = {chance.choice(["", "^", r".*\."]) + chance.choice([".", r"\."]).join(name): float(i + 1)
                for i, name in enumerate(names)}  # fmt: skip
    scale = adapter_scale(lora_file({"lora_alpha": 99, "r": 1, "alpha_pattern": patterns}))
    assert scale is not None
    layer = ".".join(module)
    assert scale.of(layer, 1) == patterns.get(get_pattern_key(patterns, layer), 99)


def test_the_scale_may_come_from_metadata() -> None:
    written_by_diffusers = {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": 20, "transformer.r": 8})}
    plain = {"lora_alpha": "20", "r": "8"}
    for metadata in (written_by_diffusers, plain):
        scale = adapter_scale(lora_file(metadata=metadata))
        assert scale is not None
        assert scale.of("a", 8) == 2.5
        assert scale.source == "the file's metadata"
    assert adapter_scale(lora_file(metadata={"format": "pt"})) is None


def test_a_text_encoder_has_settings_of_its_own_in_the_metadata() -> None:
    settings = {"unet.lora_alpha": 20, "unet.r": 8, "text_encoder.lora_alpha": 6, "text_encoder.r": 2}
    lora = lora_file(metadata={"lora_adapter_metadata": json.dumps(settings)})
    model, first, second = (adapter_scale(lora, name) for name in ("", "text_encoder", "text_encoder_2"))
    assert model is not None and model.of("a", 8) == 2.5
    assert first is not None and first.of("a", 2) == 3.0
    assert second is None


@pytest.mark.parametrize(
    ("config", "first_line"),
    [
        ({"r": 8}, "lora_name: lora_alpha in adapter_config.json cannot be used."),
        ({"lora_alpha": 0, "r": 8}, "lora_name: lora_alpha in adapter_config.json cannot be used."),
        ({"lora_alpha": -4, "r": 8}, "lora_name: lora_alpha in adapter_config.json cannot be used."),
        ({"lora_alpha": 1e9, "r": 8}, "lora_name: lora_alpha in adapter_config.json cannot be used."),
        ({"lora_alpha": "20", "r": 8}, "lora_name: lora_alpha in adapter_config.json cannot be used."),
        ({"lora_alpha": 20}, "lora_name: r in adapter_config.json cannot be used."),
        ({"lora_alpha": 20, "r": True}, "lora_name: r in adapter_config.json cannot be used."),
        (
            {"lora_alpha": 20, "r": 8, "rank_pattern": [1]},
            "lora_name: rank_pattern in adapter_config.json cannot be used.",
        ),
        (
            {"lora_alpha": 20, "r": 8, "alpha_pattern": {"q": "x"}},
            "lora_name: q in adapter_config.json cannot be used.",
        ),
    ],
)
def test_a_senseless_configuration_is_refused(config: dict, first_line: str) -> None:
    with pytest.raises(InputError) as error:
        adapter_scale(lora_file(config))
    assert str(error.value).splitlines()[0] == first_line


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora", "gaussian", "orthogonal", True])
def test_a_lora_that_goes_with_other_weights_is_refused(start: str | bool) -> None:
    torch.manual_seed(0)
    layer = torch.nn.ModuleDict({"to_q": torch.nn.Linear(8, 8)})
    weight = layer["to_q"].weight.detach().clone()
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["to_q"], init_lora_weights=start)
    changed = get_peft_model(layer, config).base_model.model["to_q"].base_layer.weight
    lora = lora_file({"lora_alpha": 4, "r": 2, "init_lora_weights": start})
    if torch.equal(changed, weight):
        assert adapter_scale(lora) is not None
    else:
        with pytest.raises(InputError, match=rf"other weights than the model's\.\nFound: init_lora_weights = {start}"):
            adapter_scale(lora)


@pytest.mark.parametrize(
    "config",
    [
        AdaLoraConfig(init_r=4, lora_alpha=8, total_step=9, target_modules=["to_q"]),
        LoHaConfig(target_modules=["to_q"]),
        LoKrConfig(target_modules=["to_q"]),
    ],
    ids=lambda config: config.peft_type.value,
)
def test_another_kind_of_adapter_is_refused(tmp_path: Path, config: PeftConfig) -> None:
    config.save_pretrained(tmp_path)
    save_file({"to_q.lora_A": torch.ones(4, 8), "to_q.lora_B": torch.ones(8, 4)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=f"no LoRA, but another kind.*\nFound: peft_type = '{config.peft_type.value}'"):
        adapter_scale(read_lora(tmp_path / "x.safetensors", "x"))


@pytest.mark.parametrize("kind", ["LORA", "lora", "PeftType.LORA", None])
def test_a_lora_may_be_called_so_in_any_spelling(kind: str | None) -> None:
    """Not every writer is PEFT: some take the name of Python's enumeration, or small letters."""
    assert adapter_scale(lora_file({"lora_alpha": 20, "r": 8, "peft_type": kind})) is not None


def test_a_configuration_of_another_file_is_refused() -> None:
    scale = adapter_scale(lora_file({"lora_alpha": 20, "r": 64}))
    assert scale is not None
    with pytest.raises(InputError, match=r"^lora_name: adapter_config.json does not belong to this file\."):
        scale.of("a.to_q", 128)

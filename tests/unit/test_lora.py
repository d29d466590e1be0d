"""Reading LoRA files: keys, layers, scales, and what is refused."""

from __future__ import annotations

import json
import math
import pickle
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
from swd_pack.swd_core.lora.layers import Layer, find_name, guess_family, parse_layers
from swd_pack.swd_core.lora.scale import adapter_scale


@pytest.mark.parametrize(
    ("down", "up", "name"),
    [
        (
            "base_model.model.proj_out.lora_A.weight",
            "base_model.model.proj_out.lora_B.weight",
            "base_model.model.proj_out",
        ),
        (
            "base_model.model.a.b.lora_A.default.weight",
            "base_model.model.a.b.lora_B.default.weight",
            "base_model.model.a.b",
        ),
        ("transformer.x.lora_A.weight", "transformer.x.lora_B.weight", "transformer.x"),
        ("lora_unet_x_y.lora_down.weight", "lora_unet_x_y.lora_up.weight", "lora_unet_x_y"),
        ("x.to_q_lora.down.weight", "x.to_q_lora.up.weight", "x.to_q"),
        ("x.to_q.lora.down.weight", "x.to_q.lora.up.weight", "x.to_q"),
        ("x.lora_linear_layer.down.weight", "x.lora_linear_layer.up.weight", "x"),
        ("x.lora_A", "x.lora_B", "x"),
    ],
)
def test_both_halves_of_a_pair_are_found_in_every_form(down: str, up: str, name: str) -> None:
    (layer,) = parse_layers([up, down], "file")
    assert layer.name == name
    assert layer.is_pair
    assert layer.keys == {"down": down, "up": up}


def test_other_tensors_of_a_layer_are_told_apart() -> None:
    keys = ["m.lora_A.weight", "m.lora_B.weight", "m.lora_B.bias", "m.lora_magnitude_vector", "m.alpha",
            "m.base_layer.bias", "n.weight", "n.bias", "e.lora_embedding_A", "h.hada_w1_a", "odd"]  # fmt: skip
    layers = {layer.name: layer for layer in parse_layers(keys, "file")}
    assert sorted(layers["m"].keys) == ["alpha", "bias", "down", "magnitude", "up", "up_bias"]
    assert sorted(layers["n"].keys) == ["bias", "weight"]
    assert [name for name, layer in layers.items() if layer.is_pair] == ["m"]
    assert layers["e"].unsupported == ["e.lora_embedding_A"]
    assert layers["h"].host_keys == {".hada_w1_a": "h.hada_w1_a"}
    assert layers["odd"].unsupported == ["odd"]


@pytest.mark.parametrize("name", ["", ".style"])
@pytest.mark.parametrize("end", ["", ".weight"])
def test_the_magnitude_of_a_dora_is_found_in_every_spelling(name: str, end: str) -> None:
    keys = [f"m.lora_A{name}.weight", f"m.lora_B{name}.weight", f"m.lora_magnitude_vector{name}{end}"]
    (layer,) = parse_layers(keys, "file")
    assert layer.keys == dict(zip(("down", "up", "magnitude"), keys, strict=True))


@pytest.mark.parametrize("roles", [(), ("down",), ("up",), ("weight", "bias")])
def test_half_a_pair_is_none(roles: tuple[str, ...]) -> None:
    assert not Layer("m", dict.fromkeys(roles, "key")).is_pair


@pytest.mark.parametrize(
    ("keys", "first_line"),
    [
        (["m.lora_A.weight"], "lora_name: file lacks one half of a pair."),
        (["m.lora_B.weight"], "lora_name: file lacks one half of a pair."),
        (
            ["m.lora_A.weight", "m.lora_A.one.weight", "m.lora_B.weight"],
            "lora_name: file has two tensors for one place.",
        ),
    ],
)
def test_unsound_key_lists_are_refused(keys: list[str], first_line: str) -> None:
    with pytest.raises(InputError) as error:
        parse_layers(keys, "file")
    assert str(error.value).splitlines()[0] == first_line


@pytest.mark.parametrize(("count", "others"), [(1, ""), (2, " and 1 more"), (3, " and 2 more")])
def test_half_pairs_are_counted_and_the_first_is_named(count: int, others: str) -> None:
    with pytest.raises(InputError) as error:
        parse_layers([f"m.{number}.lora_A.weight" for number in range(count)], "file")
    assert str(error.value).splitlines()[1] == f"Found: only one of A and B for m.0{others}"


@pytest.mark.parametrize("prefix", ["base_model.model.", "transformer.", "unet.", "", "base_model.model.transformer."])
@pytest.mark.parametrize(
    "known",
    [
        "transformer.blocks.0.attn.to_q",
        "blocks.0.attn.to_q",
        "lora_unet_blocks_0_attn_to_q",
        "lycoris_blocks_0_attn_to_q",
    ],
)
def test_a_layer_finds_its_name_in_the_key_map_whatever_its_prefix(prefix: str, known: str) -> None:
    (layer,) = parse_layers([f"{prefix}blocks.0.attn.to_q.lora_{half}.weight" for half in "AB"], "file")
    assert layer.module == "blocks.0.attn.to_q"
    assert find_name(layer, {known}) == known
    assert find_name(layer, {"something_else"}) is None


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("single_transformer_blocks.0.attn.to_q", "FLUX"),
        ("double_blocks.0.img_attn.qkv", "FLUX"),
        ("joint_blocks.0.x_block.attn.qkv", "SD3"),
        ("transformer_blocks.0.attn2.to_q", "SD3.5 Medium"),
        ("transformer_blocks.0.attn.to_q", "SD3.5"),
        ("down_blocks.1.attentions.0.proj_in", "SDXL or SD1.5"),
        ("down_blocks.2.attentions.0.transformer_blocks.1.attn1.to_q", "SDXL"),
        ("transformer_blocks.24.attn.to_q", "SD3.5 Large"),
        ("layers.0", "an unknown model"),
    ],
)
def test_the_family_is_guessed_for_messages(name: str, family: str) -> None:
    assert guess_family(parse_layers([f"{name}.lora_A.weight", f"{name}.lora_B.weight"], "file")) == family


# A file that the system lists as an ordinary one and lets nobody read from its start, root as little as others.
UNREADABLE = Path("/proc/self/mem")


@pytest.mark.skipif(not UNREADABLE.is_file(), reason="only Linux has such a file")
def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").symlink_to(UNREADABLE)
    with pytest.raises(InputError, match=r"lora_name: x\.safetensors cannot be read\.\nFound: .*Input/output error"):
        read_lora(tmp_path / "x.safetensors", "x.safetensors")


@pytest.mark.skipif(not UNREADABLE.is_file(), reason="only Linux has such a file")
def test_a_configuration_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    save_file({"x.lora_A.weight": torch.ones(1, 2)}, tmp_path / "x.safetensors")
    (tmp_path / "adapter_config.json").symlink_to(UNREADABLE)
    with pytest.raises(InputError, match=r"x\.safetensors is not a PEFT configuration\.\nFound: .*Input/output error"):
        read_lora(tmp_path / "x.safetensors", "x.safetensors")


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


@pytest.mark.filterwarnings("error")
def test_a_pattern_that_python_may_read_otherwise_one_day_is_no_warning() -> None:
    pattern = r"blocks\.[[0-9]\.to_q"
    scale = adapter_scale(lora_file({"lora_alpha": 1, "r": 1, "alpha_pattern": {pattern: 3}}))
    assert scale is not None
    assert [scale.of(f"blocks.{name}.to_q", 1) for name in ("7", "[", "]")] == [3, 3, 1]


def test_ranks_of_a_thousand_layers_are_read_at_once() -> None:
    ranks = {f"blocks.{index}.to_q": 1 + index % 9 for index in range(1000)}
    scale = adapter_scale(lora_file({"lora_alpha": 1, "r": 1, "rank_pattern": ranks}))
    assert scale is not None
    start = time.perf_counter()
    assert all(scale.of(module, rank) == 1 / rank for module, rank in ranks.items())
    assert time.perf_counter() - start < 5


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
        with pytest.raises(
            InputError, match=f"on other weights than the model's\.\nFound: init_lora_weights = {start}"
        ):
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


def test_a_configuration_of_another_file_is_refused() -> None:
    scale = adapter_scale(lora_file({"lora_alpha": 20, "r": 64}))
    assert scale is not None
    with pytest.raises(InputError, match=r"^lora_name: adapter_config.json does not belong to this file\."):
        scale.of("a.to_q", 128)


def test_a_safetensors_file_is_read_with_its_metadata_and_the_configuration_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "adapter_model.safetensors"
    save_file({"m.lora_A.weight": torch.ones(2, 3)}, path, metadata={"format": "pt"})
    assert read_lora(path, "file").config is None
    (tmp_path / "adapter_config.json").write_text('{"r": 2}')
    lora = read_lora(path, "file")
    assert torch.equal(lora.tensors["m.lora_A.weight"], torch.ones(2, 3))
    assert (lora.metadata, lora.config) == ({"format": "pt"}, {"r": 2})


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": 1}))


def _torch_save(path: Path) -> None:
    torch.save({"a": torch.ones(1)}, path)


def _truncated(path: Path) -> None:
    save_file({"m": torch.ones(64)}, path)
    path.write_bytes(path.read_bytes()[:-100])


def _lying_header(path: Path) -> None:
    path.write_bytes((2**31).to_bytes(8, "little") + b"{}")


@pytest.mark.parametrize("size", [0x180, 0x4B50])
def test_a_header_whose_size_starts_like_a_pickle_is_none(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(1)}, path, {"filling": ""})
    filling = size - int.from_bytes(path.read_bytes()[:8], "little")
    save_file({"a": torch.ones(1)}, path, {"filling": filling * "x"})
    assert path.read_bytes()[:8] == size.to_bytes(8, "little")
    assert read_lora(path, "x").tensors.keys() == {"a"}


@pytest.mark.parametrize(
    ("name", "write", "first_line"),
    [
        ("a.safetensors", _pickle, "lora_name: file is not a safetensors file."),
        ("a.safetensors", _torch_save, "lora_name: file is not a safetensors file."),
        ("a.pt", _torch_save, "lora_name: file is not a safetensors file."),
        ("a.bin", _pickle, "lora_name: file is not a safetensors file."),
        ("a.safetensors", _truncated, "lora_name: file is damaged."),
        ("a.safetensors", _lying_header, "lora_name: file is damaged."),
        ("a.safetensors", lambda path: path.write_bytes(b""), "lora_name: file is damaged."),
        ("a.safetensors", lambda path: path.write_text("hello " * 10), "lora_name: file is damaged."),
    ],
)
def test_what_is_no_sound_safetensors_file_is_refused(tmp_path: Path, name: str, write, first_line: str) -> None:
    write(tmp_path / name)
    with pytest.raises(InputError) as error:
        read_lora(tmp_path / name, "file")
    assert str(error.value).splitlines()[0] == first_line


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '"text"'])
def test_a_configuration_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    save_file({"m": torch.ones(1)}, tmp_path / "a.safetensors")
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(InputError, match=r"^lora_name: adapter_config.json beside file is not a PEFT configuration\."):
        read_lora(tmp_path / "a.safetensors", "file")

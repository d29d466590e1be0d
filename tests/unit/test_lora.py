"""Reading LoRA files: keys, layers, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from swd_pack.swd_core.errors import InputError
from swd_pack.swd_core.lora.file import read_lora
from swd_pack.swd_core.lora.layers import Layer, find_name, guess_family, parse_layers


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

"""LoRA files and configurations that cannot be what they say they are."""

from __future__ import annotations

import io
import json
import math
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import folder_paths
import pytest
import torch
from refusals import refused, same_picture, unchanged
from safetensors.torch import load_file, save_file
from torch import Tensor

LORA = "swd_flux"
LAYER = "base_model.model.proj_out"
A, B = f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight"
DAMAGED = "lora_name: bad.safetensors is damaged."
PICKLE = "lora_name: bad.safetensors is not a safetensors file."
CONFIG = "lora_name: adapter_config.json beside bad.safetensors is not a PEFT configuration."
SHAPE = "lora_name: bad.safetensors does not have the shapes of this model."
NUMBERS = "lora_name: bad.safetensors holds numbers that cannot be used."
NO_LORA = "lora_name: bad.safetensors holds no LoRA."
NOTHING = "lora_name: nothing in bad.safetensors fits this model."
NOT_WHOLE = "lora_name: bad.safetensors is incomplete."
HALF = "lora_name: bad.safetensors lacks one half of a pair."
TWICE = "lora_name: bad.safetensors has two pairs for one layer."


@pytest.fixture(scope="module")
def published(tiny_models: Path) -> tuple[dict[str, Tensor], dict[str, Any], bytes]:
    """Tensors, configuration and bytes of the tiny FLUX LoRA."""
    folder = tiny_models / "loras" / LORA
    file = folder / "adapter_model.safetensors"
    return load_file(file), json.loads((folder / "adapter_config.json").read_text()), file.read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bad")
    folder_paths.add_model_folder_path("loras", str(made))
    return made


@pytest.fixture(scope="module", autouse=True)
def as_before(swd, load) -> Iterator[None]:
    with same_picture(swd, load("flux"), "flux"):
        yield


def apply(swd: dict[str, Any], model: Any, name: str = "bad.safetensors", strength: float = 1.0) -> tuple[Any, str]:
    folder_paths.filename_list_cache.clear()
    return swd["SWDLoraLoader"].execute(model=model, lora_name=name, strength_model=strength).result


@pytest.fixture
def check(swd, load, folder: Path) -> Iterator[Callable[..., None]]:
    """The LoRA in the folder is refused with this first line, and nothing of it stays on the model."""

    def check(first_line: str, family: str = "flux", **options: Any) -> None:
        with unchanged(load(family)):
            refused(lambda: apply(swd, load(family), **options), first_line)

    yield check
    for file in folder.iterdir():
        file.unlink()


def archive(header: Any, data: bytes = b"") -> bytes:
    """A safetensors file of this header, whatever it says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: str, shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def pair(dtype: str, size: int) -> bytes:
    """A and B of 32 numbers each in a data type."""
    return archive({A: entry(dtype, [4, 8], 0, size), B: entry(dtype, [8, 4], size, 2 * size)}, bytes(2 * size))


def torch_file(**options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save({A: torch.ones(2, 2)}, buffer, **options)
    return buffer.getvalue()


def zip_file() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("x", "y")
    return buffer.getvalue()


BYTES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda whole: b"", DAMAGED),
    "7 bytes": (lambda whole: whole[:7], DAMAGED),
    "8 bytes": (lambda whole: whole[:8], DAMAGED),
    "cut in the header": (lambda whole: whole[:100], DAMAGED),
    "cut after the header": (lambda whole: whole[: 8 + struct.unpack("<Q", whole[:8])[0]], DAMAGED),
    "one byte short": (lambda whole: whole[:-1], DAMAGED),
    "one byte more": (lambda whole: whole + b"\0", DAMAGED),
    "header length 0": (lambda whole: bytes(8) + whole[8:], DAMAGED),
    "header length 10": (lambda whole: struct.pack("<Q", 10) + whole[8:], DAMAGED),
    "header length 1 TB": (lambda whole: struct.pack("<Q", 2**40) + whole[8:], DAMAGED),
    "header length 2^64 - 1": (lambda whole: struct.pack("<Q", 2**64 - 1) + whole[8:], DAMAGED),
    "2 GB in 1 KB": (lambda whole: archive({A: entry("F32", [2**29], 0, 2**31)}, bytes(900)), DAMAGED),
    "2 GB between": (lambda whole: archive({A: entry("F32", [2**7, 4], 2**31, 2**31 + 2048)}, bytes(900)), DAMAGED),
    "a shape beyond 64 bits": (lambda whole: archive({A: entry("F32", [2**62, 8], 0, 16)}, bytes(16)), DAMAGED),
    "a shape torch has not": (lambda whole: archive({A: entry("F32", [0, 2**63], 0, 0)}), DAMAGED),
    "an unknown type": (lambda whole: pair("X7", 32), DAMAGED),
    "overlapping tensors": (
        lambda whole: archive({A: entry("F32", [4, 4], 0, 64), B: entry("F32", [4, 4], 0, 64)}, bytes(64)),
        DAMAGED,
    ),
    "a header that is a list": (lambda whole: archive(b"[]"), DAMAGED),
    "a header that is text": (lambda whole: archive(b"hello"), DAMAGED),
    "a header that is no UTF-8": (lambda whole: archive(b'{"\xff": 1}'), DAMAGED),
    "metadata of numbers": (lambda whole: archive({"__metadata__": {"r": 8}}), DAMAGED),
    "zeros": (lambda whole: bytes(1000), DAMAGED),
    "ones": (lambda whole: b"\xff" * 1000, DAMAGED),
    "a web page": (lambda whole: b"<!DOCTYPE html><html>404 not found</html>" * 30, DAMAGED),
    "a pointer of git LFS": (lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", DAMAGED),
    "GGUF": (lambda whole: b"GGUF" + bytes(100), DAMAGED),
    "a text": (lambda whole: b"hello " * 50, DAMAGED),
    "a pickle": (lambda whole: pickle.dumps({"a": 1}), PICKLE),
    "a pickle of protocol 0": (lambda whole: pickle.dumps({"a": 1}, protocol=0), DAMAGED),
    "a torch file": (lambda whole: torch_file(), PICKLE),
    "an old torch file": (lambda whole: torch_file(_use_new_zipfile_serialization=False), PICKLE),
    "a zip": (lambda whole: zip_file(), PICKLE),
    "no tensors": (lambda whole: archive({}), NO_LORA),
    "metadata alone": (lambda whole: archive({"__metadata__": {"format": "pt"}}), NO_LORA),
    "whole numbers": (lambda whole: pair("I64", 256), NUMBERS),
    "bytes": (lambda whole: pair("U8", 32), NUMBERS),
    "true and false": (lambda whole: pair("BOOL", 32), NUMBERS),
    "complex numbers": (lambda whole: pair("C64", 256), NUMBERS),
    "4-bit numbers": (lambda whole: pair("F4", 16), NUMBERS),
}


@pytest.mark.parametrize("name", BYTES)
def test_wrong_bytes(check, folder: Path, published, name: str) -> None:
    make, first_line = BYTES[name]
    (folder / "bad.safetensors").write_bytes(make(published[2]))
    check(first_line)


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".bin", ".pth"])
def test_another_kind_of_file(check, folder: Path, published, suffix: str) -> None:
    (folder / f"bad{suffix}").write_bytes(published[2])
    check(f"lora_name: bad{suffix} is not a safetensors file.", name=f"bad{suffix}")


X = "base_model.model.x_embedder"
OTHER = "base_model.model.norm_out.linear"
NAN, INF = torch.tensor(math.nan), torch.tensor(math.inf)
TENSORS: dict[str, tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], str]] = {
    "rank 0": (lambda t: {A: torch.ones(0, 256), B: torch.ones(64, 0)}, SHAPE),
    "A and B of two ranks": (lambda t: {A: torch.ones(8, 256), B: torch.ones(64, 4)}, SHAPE),
    "A and B changed over": (lambda t: {A: t[B], B: t[A]}, SHAPE),
    "A and B flat": (lambda t: {A: torch.ones(8), B: torch.ones(64)}, SHAPE),
    "too many rows": (lambda t: {B: torch.ones(65, 8)}, SHAPE),
    "too few columns": (lambda t: {A: torch.ones(8, 255)}, SHAPE),
    "a bias of another length": (lambda t: {f"{LAYER}.base_layer.bias": torch.ones(7)}, SHAPE),
    "a bias of B of another length": (lambda t: {f"{LAYER}.lora_B.bias": torch.ones(7)}, SHAPE),
    "a whole weight of another shape": (lambda t: {"base_model.model.norm_out.linear.weight": torch.ones(3, 3)}, SHAPE),
    "a difference of another shape": (lambda t: {f"{X}.diff": torch.ones(7)}, SHAPE),
    "a difference of the bias of another shape": (lambda t: {f"{X}.diff_b": torch.ones(7)}, SHAPE),
    "a weight to set of another shape": (lambda t: {f"{X}.set_weight": torch.ones(1)}, SHAPE),
    "magnitudes of another length": (lambda t: {f"{LAYER}.lora_magnitude_vector": torch.ones(7)}, SHAPE),
    "a DoRA scale of another length": (lambda t: {f"{LAYER}.dora_scale": torch.ones(7)}, SHAPE),
    "a middle of another rank": (lambda t: {f"{LAYER}.lora_mid.weight": torch.ones(3, 3)}, SHAPE),
    "a weight that is to grow without end": (
        lambda t: {f"{LAYER}.reshape_weight": torch.tensor([10**9, 10**9])}, SHAPE
    ),
    "a weight that is to shrink below 0": (lambda t: {f"{LAYER}.reshape_weight": torch.tensor([-64, -256])}, SHAPE),
    "a weight that is to grow to nothing": (lambda t: {f"{LAYER}.reshape_weight": torch.ones(0).long()}, SHAPE),
    "a weight that is to grow by halves": (lambda t: {f"{LAYER}.reshape_weight": torch.tensor([1.5, 2.0])}, NUMBERS),
    "NaN in A": (lambda t: {A: t[A] * NAN}, NUMBERS),
    "one NaN in B": (lambda t: {B: torch.where(torch.arange(512).reshape(64, 8) == 99, NAN, t[B])}, NUMBERS),
    "infinity in B": (lambda t: {B: t[B] + INF}, NUMBERS),
    "NaN in a half precision": (lambda t: {A: (t[A] * NAN).half()}, NUMBERS),
    "NaN in eight bits": (lambda t: {A: (t[A] * NAN).to(torch.float8_e4m3fn)}, NUMBERS),
    "NaN in a layer of another model": (
        lambda t: {"other.lora_A.weight": NAN.reshape(1, 1), "other.lora_B.weight": NAN.reshape(1, 1)}, NUMBERS
    ),
    "an alpha of two numbers": (lambda t: {f"{LAYER}.alpha": torch.ones(2)}, NUMBERS),
    "an alpha of no number": (lambda t: {f"{LAYER}.alpha": torch.ones(0)}, NUMBERS),
    "an alpha that is NaN": (lambda t: {f"{LAYER}.alpha": NAN}, NUMBERS),
    "an alpha that is infinite": (lambda t: {f"{LAYER}.alpha": INF}, NUMBERS),
    "a complex alpha": (lambda t: {f"{LAYER}.alpha": torch.tensor(1j)}, NUMBERS),
    "an unfinished LoKr": (lambda t: {f"{OTHER}.lokr_w1": torch.ones(2, 2)}, SHAPE),
    "a LoKr of another size": (
        lambda t: {f"{OTHER}.lokr_w1": torch.ones(2, 2), f"{OTHER}.lokr_w2": torch.ones(3, 3)}, SHAPE
    ),
    "a LoHa of another size": (
        lambda t: {f"{OTHER}.hada_w{i}_{half}": torch.ones(3, 3) for i in (1, 2) for half in "ab"}, SHAPE
    ),
    "an OFT of another size": (lambda t: {f"{OTHER}.oft_blocks": torch.ones(3, 5, 5)}, SHAPE),
    "a BOFT without alpha, which ComfyUI cannot use": (
        lambda t: {f"{OTHER}.oft_blocks": torch.zeros(2, 32, 8, 8)}, SHAPE
    ),
    "a norm of another size": (lambda t: {f"{OTHER}.w_norm": torch.ones(3)}, SHAPE),
    "a pair and a whole weight for one layer": (lambda t: {f"{LAYER}.base_layer.weight": torch.ones(64, 256)}, TWICE),
    "B without A": (lambda t: {A: None}, HALF),
    "A without B": (lambda t: {B: None}, HALF),
    "two adapters": (
        lambda t: {f"{LAYER}.lora_A.one.weight": t[A], f"{LAYER}.lora_B.one.weight": t[B]},
        "lora_name: bad.safetensors has two tensors for one place.",
    ),
    "one layer under two names": (
        lambda t: {"transformer.proj_out.lora_A.weight": t[A], "transformer.proj_out.lora_B.weight": t[B]}, TWICE
    ),
    "one layer in two forms": (
        lambda t: {"lora_unet_final_layer_linear.lora_down.weight": t[A],
                   "lora_unet_final_layer_linear.lora_up.weight": t[B]}, TWICE
    ),
    "a LoHa with one of four": (lambda t: {f"{X}.hada_w1_a": torch.ones(2, 2)}, NOT_WHOLE),
    "a GLoRA with one of four": (lambda t: {f"{X}.a1.weight": torch.ones(2, 2)}, NOT_WHOLE),
    "a VAE": (lambda t: {**dict.fromkeys(t), "decoder.conv_in.weight": torch.ones(2, 3, 3, 3)}, NO_LORA),
    "names of no model": (
        lambda t: {**dict.fromkeys(t), "q.lora_A.weight": torch.ones(2, 3), "q.lora_B.weight": torch.ones(3, 2)},
        NOTHING,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TENSORS)
def test_wrong_tensors(check, folder: Path, published, name: str) -> None:
    tensors, config, _ = published
    change, first_line = TENSORS[name]
    changed = {**tensors, **change(tensors)}
    save_file({key: value.contiguous().clone() for key, value in changed.items() if value is not None},
              folder / "bad.safetensors")  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    check(first_line)


FAMILIES = [
    ("sd35_medium", "swd_flux", SHAPE), ("sd35_large", "swd_flux", SHAPE), ("sdxl", "swd_flux", NOTHING),
    ("flux", "swd-medium-6-steps", SHAPE), ("flux", "swd-large-4-steps", SHAPE), ("flux", "swd-sdxl", NOTHING),
    ("sdxl", "swd-medium-4-steps", NOTHING), ("sd35_medium", "swd-sdxl", NOTHING),
]  # fmt: skip


@pytest.mark.parametrize(("family", "lora", "first_line"), FAMILIES)
def test_the_lora_of_another_model(check, folder: Path, tiny_models: Path, family: str, lora: str, first_line) -> None:
    for name, new in (("adapter_model.safetensors", "bad.safetensors"), ("adapter_config.json",) * 2):
        (folder / new).write_bytes((tiny_models / "loras" / lora / name).read_bytes())
    check(first_line, family)


def cannot(name: str, source: str = "adapter_config.json") -> str:
    return f"lora_name: {name} in {source} cannot be used."


CONFIGS: dict[str, tuple[dict[str, Any] | bytes, str]] = {
    "empty": (b"", CONFIG),
    "no JSON": (b"hello", CONFIG),
    "half of it": (b'{"r": 8, "lora_al', CONFIG),
    "a list": (b"[]", CONFIG),
    "a number": (b"8", CONFIG),
    "null": (b"null", CONFIG),
    "no text": (bytes(range(256)), CONFIG),
    "UTF-16": ('{"r": 8}'.encode("utf-16"), CONFIG),
    "a list without end": (b"[" * 100_000, CONFIG),
    "an object without end": (b'{"a":' * 100_000, CONFIG),
    "a number of 5000 digits": (b'{"r": ' + b"9" * 5000 + b"}", CONFIG),
    "2 MB": (b'{"r": 8, "lora_alpha": 4, "note": "' + b" " * 2**21 + b'"}', CONFIG),
    "alpha 0": ({"lora_alpha": 0}, cannot("lora_alpha")),
    "alpha negative": ({"lora_alpha": -8}, cannot("lora_alpha")),
    "alpha huge": ({"lora_alpha": 1e300}, cannot("lora_alpha")),
    "alpha of 400 digits": ({"lora_alpha": 10**400}, cannot("lora_alpha")),
    "alpha NaN": ({"lora_alpha": math.nan}, cannot("lora_alpha")),
    "alpha infinite": ({"lora_alpha": math.inf}, cannot("lora_alpha")),
    "alpha a string": ({"lora_alpha": "16"}, cannot("lora_alpha")),
    "alpha a list": ({"lora_alpha": [16]}, cannot("lora_alpha")),
    "alpha true": ({"lora_alpha": True}, cannot("lora_alpha")),
    "alpha null": ({"lora_alpha": None}, cannot("lora_alpha")),
    "r 0": ({"r": 0}, cannot("r")),
    "r negative": ({"r": -8}, cannot("r")),
    "r a string": ({"r": "8"}, cannot("r")),
    "r a fraction": ({"r": 8.5}, cannot("r")),
    "r of another file": ({"r": 64}, "lora_name: adapter_config.json does not belong to this file."),
    "rank_pattern a list": ({"rank_pattern": [8]}, cannot("rank_pattern")),
    "rank_pattern negative": ({"rank_pattern": {"to_q": -1}}, cannot("to_q")),
    "rank_pattern a fraction": ({"rank_pattern": {"to_q": 0.5}}, cannot("to_q")),
    "rank_pattern of another file": (
        {"rank_pattern": {"to_q": 4}}, "lora_name: adapter_config.json does not belong to this file."
    ),
    "rank_pattern no expression": ({"rank_pattern": {"(": 8}}, cannot("rank_pattern")),
    "alpha_pattern no expression": ({"alpha_pattern": {"*": 8}}, cannot("alpha_pattern")),
    # Python 3.10 takes them, and so does PEFT there.
    **(
        {"alpha_pattern flags in the middle": ({"alpha_pattern": {"(?i)to_q": 8}}, cannot("alpha_pattern"))}
        if sys.version_info >= (3, 11)
        else {}
    ),
    "alpha_pattern that takes ages": ({"alpha_pattern": {"(a+)+b": 8}}, cannot("alpha_pattern")),
    "alpha_pattern of many repeats": ({"alpha_pattern": {".*.*.*.*.*.*.*x": 8}}, cannot("alpha_pattern")),
    "alpha_pattern a string": ({"alpha_pattern": "to_q"}, cannot("alpha_pattern")),
    "use_rslora a string": ({"use_rslora": "no"}, cannot("use_rslora")),
}  # fmt: skip


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", CONFIGS)
def test_a_wrong_configuration(check, folder: Path, published, name: str) -> None:
    _, config, whole = published
    change, first_line = CONFIGS[name]
    (folder / "bad.safetensors").write_bytes(whole)
    text = change if isinstance(change, bytes) else json.dumps({**config, **change}).encode()
    (folder / "adapter_config.json").write_bytes(text)
    check(first_line)


FILE = "the file's metadata"
METADATA = {
    "alpha no number": ({"lora_alpha": "sixteen", "r": "8"}, cannot("lora_alpha", FILE)),
    "alpha 0": ({"lora_alpha": "0", "r": "8"}, cannot("lora_alpha", FILE)),
    "r a list": ({"lora_alpha": "8", "r": "[8]"}, cannot("r", FILE)),
    "r of another file": ({"lora_alpha": "8", "r": "4"}, f"lora_name: {FILE} does not belong to this file."),
    "diffusers' no JSON": ({"lora_adapter_metadata": "hello"}, cannot("lora_adapter_metadata", FILE)),
    "diffusers' a list": ({"lora_adapter_metadata": "[1]"}, cannot("lora_adapter_metadata", FILE)),
    "diffusers' null": ({"lora_adapter_metadata": "null"}, cannot("lora_adapter_metadata", FILE)),
    "diffusers' empty": ({"lora_adapter_metadata": "{}"}, cannot("lora_alpha", FILE)),
    "scales no numbers": (
        {"swd.scales": "wide", "swd.timesteps": "1"}, "swd.scales in the file: 'wide' is not a number."
    ),
    "scales empty": ({"swd.scales": "", "swd.timesteps": "1"}, "swd.scales in the file: the list is empty."),
    "scales fall": ({"swd.scales": "2, 1", "swd.timesteps": "1, .5"}, "swd.scales in the file: they must not fall."),
    "timesteps rise": (
        {"swd.scales": "1, 2", "swd.timesteps": ".5, 1"},
        "swd.timesteps in the file: each must be below the one before.",
    ),
    "lists of two lengths": (
        {"swd.scales": "1, 2", "swd.timesteps": "1"},
        "swd.scales in the file and swd.timesteps in the file: their lengths differ, 2 and 1.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", METADATA)
def test_a_wrong_header(check, folder: Path, published, name: str) -> None:
    metadata, first_line = METADATA[name]
    save_file(published[0], folder / "bad.safetensors", metadata)
    check(first_line)


@pytest.mark.parametrize("strength", [math.nan, math.inf, -math.inf])
def test_a_wrong_strength(check, folder: Path, published, strength: float) -> None:
    (folder / "bad.safetensors").write_bytes(published[2])
    check(f"strength_model: {strength} is not a finite number.", strength=strength)


ODD = {
    "eight bits": (lambda t: {A: t[A].to(torch.float8_e4m3fn)}, "loaded 43 of 43 pairs"),
    "a whole-number alpha": (lambda t: {f"{LAYER}.alpha": torch.tensor(4)}, "from alpha in the file"),
    "a layer without a name": (lambda t: {"": torch.ones(1)}, "NOT loaded: "),
    "a layer with a name without end": (lambda t: {"a" * 100_000: torch.ones(1)}, "NOT loaded: " + "a" * 100),
    "a name with a null": (lambda t: {"a\0b": torch.ones(1)}, "NOT loaded: a\0b"),
    "half of a LoKr, which ComfyUI ignores": (
        lambda t: {f"{OTHER}.lokr_w1_b": torch.ones(2, 2)},
        f"loaded 43 of 44 pairs, scale 1.0 assumed: no adapter_config.json and no alpha in the file, FLUX.1-dev; "
        f"NOT loaded: {OTHER}",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_is_loaded_and_what_is_left_out_is_told(swd, load, folder: Path, published, name: str) -> None:
    change, said = ODD[name]
    save_file({**published[0], **change(published[0])}, folder / "bad.safetensors")
    report = apply(swd, load("flux"))[1]
    assert report.endswith(said) or said in report
    assert len(report) < 500

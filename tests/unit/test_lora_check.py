"""What the numbers of a LoRA must be."""

from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import torch
from swd_pack.swd_core.errors import InputError
from swd_pack.swd_core.lora.check import check_numbers
from swd_pack.swd_core.lora.layers import parse_layers

A, B = torch.ones(2, 3), torch.ones(4, 2)


def check(**others: torch.Tensor) -> None:
    tensors = {"m.lora_A.weight": A, "m.lora_B.weight": B, **{f"m.{key}": value for key, value in others.items()}}
    check_numbers(parse_layers(tensors, "file"), tensors, "file")


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_decimal_numbers_of_any_width_pass(dtype: torch.dtype) -> None:
    check(bias=torch.ones(4).to(dtype), alpha=torch.tensor(4).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2])
def test_large_numbers_pass_though_their_sum_is_infinite(dtype: torch.dtype) -> None:
    bias = torch.full((4,), torch.finfo(dtype).max).to(dtype)
    assert bias.float().sum().to(dtype if dtype.itemsize > 1 else torch.float16).isinf()
    check(bias=bias)


@pytest.mark.parametrize(("place", "seen"), [(slice(None), True), (slice(2**11 - 1, 2**11), True), (2**11, False)])
def test_of_a_large_tensor_the_first_numbers_are_looked_at(place: slice | int, seen: bool) -> None:
    down, up = torch.ones(2, 3), torch.ones(2**12, 2)
    up[place] = math.nan
    tensors = {"m.lora_A.weight": down, "m.lora_B.weight": up}
    with pytest.raises(InputError, match="cannot be used") if seen else nullcontext():
        check_numbers(parse_layers(tensors, "file"), tensors, "file")


def test_what_need_not_be_decimal_may_be_whole() -> None:
    check(alpha=torch.tensor(4), reshape_weight=torch.tensor([4, 6]))
    check(alpha=torch.tensor([4.0]))
    check(alpha=torch.tensor([[-4.0]]))


@pytest.mark.parametrize(
    ("key", "tensor", "found"),
    [
        ("bias", torch.tensor([1.0, math.nan]), "NaN or infinity in m.bias"),
        ("bias", torch.tensor([math.inf, 1.0]), "NaN or infinity in m.bias"),
        ("bias", torch.tensor([math.inf, -math.inf]), "NaN or infinity in m.bias"),
        ("lora_magnitude_vector", torch.full((4,), math.nan).half(), "NaN or infinity in m.lora_magnitude_vector"),
        ("dora_scale", torch.full((4, 1), math.nan), "NaN or infinity in m.dora_scale"),
        ("diff", torch.ones(2).long(), "int64 in m.diff"),
        ("bias", torch.ones(2, dtype=torch.bool), "bool in m.bias"),
        ("bias", torch.ones(2, dtype=torch.complex64), "complex64 in m.bias"),
        ("alpha", torch.ones(2), "2 numbers of float32 in m.alpha"),
        ("alpha", torch.ones(0), "0 numbers of float32 in m.alpha"),
        ("alpha", torch.tensor(1j), "1 numbers of complex64 in m.alpha"),
        ("alpha", torch.tensor(math.nan), "NaN or infinity in m.alpha"),
        ("alpha", torch.tensor(-math.inf), "NaN or infinity in m.alpha"),
        ("reshape_weight", torch.tensor([4.0, 6.0]), "a shape of decimal numbers in m.reshape_weight"),
        ("reshape_weight", torch.tensor([4j]), "a shape of decimal numbers in m.reshape_weight"),
    ],
)
def test_what_is_no_number_to_work_with_is_refused(key: str, tensor: torch.Tensor, found: str) -> None:
    with pytest.raises(InputError) as error:
        check(**{key: tensor})
    lines = str(error.value).splitlines()
    assert lines[0] == "lora_name: file holds numbers that cannot be used."
    assert lines[1] == f"Found: {found}"


def test_a_long_key_is_cut_in_a_message() -> None:
    tensors = {f"{'m' * 300}.lora_{half}.weight": weight * math.nan for half, weight in (("A", A), ("B", B))}
    with pytest.raises(InputError, match=rf"\nFound: NaN or infinity in {'m' * 100}\n"):
        check_numbers(parse_layers(tensors, "file"), tensors, "file")


def test_half_of_a_file_is_not_enough_to_pass() -> None:
    tensors = {"a.lora_A.weight": A, "a.lora_B.weight": B, "z.lora_A.weight": A, "z.lora_B.weight": B * math.nan}
    with pytest.raises(InputError, match=r"z\.lora_B\.weight"):
        check_numbers(parse_layers(tensors, "file"), tensors, "file")

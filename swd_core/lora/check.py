"""What the numbers of a LoRA must be to be worked with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ..errors import InputError
from .layers import Layer

_DECIMALS = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz,
)  # fmt: skip

# Numbers of a tensor that are looked at. A training that diverged leaves NaN all over; to read all of a gigabyte would
# double the time of loading. What is missed is named by the run that it spoils (host/faults.py).
_LOOKED_AT = 1 << 12


def check_numbers(layers: Iterable[Layer], tensors: Mapping[str, Tensor], file_name: str) -> None:
    """Refuse weights that are no decimal numbers or not finite, and an alpha that is not one finite number.

    Of a large tensor the first numbers are looked at.

    Raises:
        InputError: names the first such tensor.
    """
    for layer in layers:
        for role, key in (*layer.keys.items(), *layer.host_keys.items()):
            problem = _PROBLEMS.get(role, _weight_problem)(tensors[key])
            if problem:
                raise InputError(
                    f"lora_name: {file_name} holds numbers that cannot be used.",
                    found=f"{problem} in {key[:100]}",
                    allowed="weights in finite decimal numbers, and an alpha that is one of them",
                    remedy="download the file again, or take an earlier checkpoint: the training may have diverged.",
                )


def do_multiply(up: Tensor, down: Tensor) -> bool:
    """Whether the halves B and A of a pair have a product, of a rank above 0."""
    return up.ndim >= 2 and down.ndim >= 2 and up.shape[1] == down.shape[0] > 0


def _weight_problem(tensor: Tensor) -> str | None:
    if tensor.dtype not in _DECIMALS:
        return str(tensor.dtype).removeprefix("torch.")
    return None if is_finite(tensor.flatten()[:_LOOKED_AT]) else "NaN or infinity"


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity."""
    # NaN and infinity stay in a sum, which is twenty times as fast as torch.isfinite on a CPU and three times as fast
    # in the tensor's own type as in float32. A sum of finite numbers may overflow; eight bits cannot be added at all.
    numbers = tensor if tensor.dtype.itemsize > 1 else tensor.float()
    return math.isfinite(numbers.sum()) or bool(numbers.isfinite().all())


def _alpha_problem(tensor: Tensor) -> str | None:
    if tensor.numel() != 1 or tensor.is_complex():
        return f"{tensor.numel()} numbers of {str(tensor.dtype).removeprefix('torch.')}"
    return None if torch.isfinite(tensor.float()).all() else "NaN or infinity"


def _shape_problem(tensor: Tensor) -> str | None:
    return None if not tensor.is_floating_point() and not tensor.is_complex() else "a shape of decimal numbers"


# By the role or the suffix of a tensor; all others are weights.
_PROBLEMS = {"alpha": _alpha_problem, ".reshape_weight": _shape_problem}

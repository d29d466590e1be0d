"""The settings of a training run: the same for the node and for a file on the command line."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import InputError
from .grid import Range
from .mmd import HUBER_C, KERNELS, RBF_SIGMA

PRECISIONS = ("fp32", "bf16")
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
NETWORKS = ("fake", "teacher")
DECAYS = ("constant", "cosine")


@dataclass(frozen=True)
class DistillSettings:
    """How a LoRA is trained. Defaults are upstream's (main.py and train_sd35_medium.sh @9c51e19).

    `steps`: updates of the student. `batch_size`: pictures an update, over all processes; `micro_batch`: pictures a
    forward pass, 0 for as many as there are. `alpha`: None for the rank. `targets`: endings of diffusers layer names;
    empty for attention and MLP layers. `warmup`: steps in which the learning rates rise from 0; `decay`: what follows.
    `mmd_range`, `dmd_range`: (first, end) on the grid of timesteps; None for upstream's. `mmd_network`: whose features
    the MMD compares, those of the fake-score network (upstream's code) or of the teacher (the paper); the same where
    neither DMD nor GAN is on. `teacher_cfg`, `fake_cfg`: guidance within DMD, off at 1 or less. `feature_block`: index
    of the block, -1 for the family's middle one. `precision`: that of the forward passes. `lora_dtype`: that of the
    file. `ema`: decay of an average of the LoRA's weights, 0 for none.
    `save_every`, `preview_every`: steps; 0 for never (the last step always saves).
    """

    steps: int = 3000
    batch_size: int = 8
    micro_batch: int = 0
    seed: int = 42
    rank: int = 64
    alpha: float | None = None
    targets: tuple[str, ...] = ()
    learning_rate: float = 5e-6
    fake_learning_rate: float = 5e-6
    warmup: int = 0
    decay: str = "constant"
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 1e-2
    epsilon: float = 1e-8
    max_grad_norm: float = 10.0
    mmd: bool = True
    mmd_weight: float = 1.0
    mmd_kernel: str = "linear"
    mmd_c: float = HUBER_C
    mmd_sigma: float = RBF_SIGMA
    mmd_range: Range | None = None
    mmd_network: str = "fake"
    dmd: bool = True
    dmd_weight: float = 1.0
    dmd_range: Range | None = None
    teacher_cfg: float = 4.5
    fake_cfg: float = 1.0
    fake_steps: int = 5
    gan: bool = True
    gan_weight: float = 5e-3
    discriminator_weight: float = 1e-2
    discriminator_layers: int = 4
    feature_block: int = -1
    precision: str = "bf16"
    lora_dtype: str = "fp32"
    gradient_checkpointing: bool = True
    ema: float = 0.0
    save_every: int = 250
    preview_every: int = 250

    def __post_init__(self) -> None:
        for name, allowed, good in _RULES:
            if not good(getattr(self, name)):
                raise _refusal(name, getattr(self, name), allowed)
        if not (self.mmd or self.dmd or self.gan):
            raise InputError(
                "settings: mmd, dmd and gan are all off.",
                found="no loss to train with",
                allowed="at least one of them",
                remedy="switch mmd on, or dmd or gan.",
            )

    @property
    def adversary(self) -> bool:
        """Whether a second LoRA, the fake-score network, is trained beside the student."""
        return self.dmd or self.gan

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, as a JSON or TOML file holds them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


def settings_from(values: Mapping[str, Any]) -> DistillSettings:
    """Settings from plain values, as a JSON or TOML file holds them; what is missing takes its default.

    Raises:
        InputError: an unknown name, a value of another type or out of its range.
    """
    kinds = typing.get_type_hints(DistillSettings)
    known = [field.name for field in dataclasses.fields(DistillSettings)]
    for name in values:
        if name not in known:
            raise InputError(
                f"settings: there is no setting {name}.",
                found=name,
                allowed=", ".join(known),
                remedy="correct the name or remove the line.",
            )
    return DistillSettings(**{name: _read(name, value, kinds[name]) for name, value in values.items()})


def _read(name: str, value: Any, kind: Any) -> Any:
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    for option in options:
        if option is types.NoneType and value is None:
            return None
        origin = typing.get_origin(option)
        if origin is tuple and isinstance(value, (list, tuple)):
            inner = typing.get_args(option)
            if inner[-1] is ... or len(inner) == len(value):
                return tuple(_read(name, item, inner[0]) for item in value)
        if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if isinstance(option, type) and type(value) is option:
            return value
    raise _refusal(name, value, " or ".join(getattr(option, "__name__", str(option)) for option in options))


def _at_least(least: float) -> tuple[str, Any]:
    return f"{least:g} or more", lambda value: value is None or value >= least


def _one_of(options: tuple[str, ...]) -> tuple[str, Any]:
    return ", ".join(options), lambda value: value in options


_POSITIVE = ("above 0", lambda value: value is None or value > 0)
_DECAY = ("0 or more and below 1", lambda value: 0 <= value < 1)
_RULES: tuple[tuple[str, str, Any], ...] = (
    *((name, *_at_least(1)) for name in ("steps", "batch_size", "rank", "fake_steps", "discriminator_layers")),
    *(
        (name, *_at_least(0))
        for name in ("micro_batch", "seed", "warmup", "weight_decay", "save_every", "preview_every")
    ),
    *((name, *_at_least(0)) for name in ("mmd_weight", "dmd_weight", "gan_weight", "discriminator_weight", "mmd_c")),
    *((name, *_POSITIVE) for name in ("learning_rate", "fake_learning_rate", "alpha", "epsilon", "max_grad_norm")),
    *((name, *_DECAY) for name in ("beta1", "beta2", "ema")),
    ("mmd_sigma", *_POSITIVE),
    ("feature_block", *_at_least(-1)),
    ("mmd_kernel", *_one_of(KERNELS)),
    ("mmd_network", *_one_of(NETWORKS)),
    ("precision", *_one_of(PRECISIONS)),
    ("decay", *_one_of(DECAYS)),
    ("lora_dtype", *_one_of(tuple(DTYPES))),
)


def _refusal(name: str, value: object, allowed: str) -> InputError:
    return InputError(f"settings: {name} cannot be {value!r}.", found=repr(value), allowed=allowed, remedy="change it.")

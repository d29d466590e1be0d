"""Gradient checkpointing of the blocks of a model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .lora import Adapters


@contextlib.contextmanager
def checkpointed(blocks: Sequence[nn.Module], adapters: Adapters) -> Iterator[None]:
    """Let blocks forget their activations and compute them again in the backward pass, for the time of the context."""
    own = [block.__dict__.get("forward") for block in blocks]
    for block in blocks:
        block.forward = _Checkpointed(block.forward, adapters)
    try:
        yield
    finally:
        for block, forward in zip(blocks, own, strict=True):
            if forward is None:
                del block.forward
            else:
                block.forward = forward


class _Checkpointed:
    def __init__(self, forward: Any, adapters: Adapters) -> None:
        self._forward = forward
        self._adapters = adapters

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._forward(*arguments, **named)
        # The backward pass runs when another LoRA may be in use, or none.
        role, frozen = self._adapters.in_use

        def forward(*arguments: Any, **named: Any) -> Any:
            with self._adapters.use(role, frozen):
                # Copies, for a block that writes into its input would not find the same input the second time.
                copies = [_copy(argument) for argument in arguments]
                return self._forward(*copies, **{name: _copy(value) for name, value in named.items()})

        return checkpoint(forward, *arguments, use_reentrant=False, preserve_rng_state=False, **named)


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) and value.is_floating_point() else value

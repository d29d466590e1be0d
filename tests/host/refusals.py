"""What every refusal has in common: a first line that names the input, three more, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from reference import make_text
from running import all_in_one, conditioning, empty_latent

PARTS = ["Found", "Allowed", "To do"]


def refused(call: Callable[[], Any], first_line: str) -> str:
    """The call ends in the error of this pack for wrong inputs, with exactly this first line. Returns the whole."""
    with pytest.raises(ValueError) as error:
        call()
    assert type(error.value).__name__ == "InputError", repr(error.value)
    lines = str(error.value).splitlines()
    assert lines[0] == first_line
    assert [line.split(":")[0] for line in lines[1:]] == PARTS, lines
    assert all(len(line) <= 1500 for line in lines), "a message, not a dump"
    return str(error.value)


def state_of(model: Any) -> dict[str, Any]:
    """What a node could leave on a model."""
    return {
        "patches": {key: list(patches) for key, patches in model.patches.items()},
        "object_patches": dict(model.object_patches),
        "attachments": dict(model.attachments),
        "options": repr(model.model_options),
        "hook_mode": model.hook_mode,
    }


@contextmanager
def unchanged(model: Any) -> Iterator[None]:
    before = state_of(model)
    yield
    assert state_of(model) == before


@contextmanager
def same_picture(swd: dict[str, Any], model: Any, family: str) -> Iterator[None]:
    """The model gives the same bits before and after."""

    def latent() -> torch.Tensor:
        positive = conditioning(family, make_text(family))
        return all_in_one(swd, model, positive, empty_latent(family, (16, 16)), 3, "auto")["samples"]

    before = latent()
    yield
    assert torch.equal(latent(), before)

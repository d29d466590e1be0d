"""Small stages wait for launches, not for arithmetic: what a device is given to do between two forward passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_custom_sampler import BasicGuider, RandomNoise, SamplerCustomAdvanced
from reference import make_text
from running import advanced, conditioning, empty_latent, schedule_of
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

PRESETS = {
    "sd35_medium": "SD3.5 Medium, 4 steps",
    "sd35_large": "SD3.5 Large, 4 steps",
    "flux": "FLUX.1-dev, 4 steps",
    "sdxl": "SDXL, 4 steps",
}
SIZE = (16, 24)
# The noise of a stage goes from the CPU to a GPU; on a CPU there is nothing to copy.
COPIES = 1


class Launches(TorchDispatchMode):
    """Counts operators that compute or copy, outside the forward passes: `between[k]` of them after pass k."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.between: list[int] = []
        self._inside = False
        self.model = model.clone()
        self.model.set_model_unet_function_wrapper(self._pass)

    def _pass(self, apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        self._inside = True
        out: Tensor = apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
        self._inside = False
        self.between.append(0)
        return out

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if self.between and not self._inside and _computes(function, (args, kwargs), out):
            self.between[-1] += 1
        return out


def _computes(function: Any, given: Any, out: Any) -> bool:
    """False for views and for conversions that change nothing."""
    memory = {tensor.untyped_storage().data_ptr() for tensor in _tensors(given)}
    own = all(tensor.untyped_storage().data_ptr() not in memory for tensor in _tensors(out))
    return own or function.__name__.split(".")[0].endswith("_")


def _tensors(values: Any) -> Iterator[Tensor]:
    return (value for value in tree_leaves(values) if isinstance(value, Tensor))


@pytest.mark.parametrize("family", PRESETS)
def test_no_more_than_lcm_gives_it(swd, load, figure, family: str) -> None:
    positive, latent = conditioning(family, make_text(family)), empty_latent(family, SIZE)
    _, sigmas = schedule_of(swd, load(family), PRESETS[family])
    ours, theirs = Launches(load(family)), Launches(load(family))
    with torch.inference_mode():
        with ours:
            advanced(swd, ours.model, positive, latent, 0, PRESETS[family])
        with theirs:
            SamplerCustomAdvanced.execute(
                noise=RandomNoise.execute(noise_seed=0).result[0],
                guider=BasicGuider.execute(model=theirs.model, conditioning=positive).result[0],
                sampler=comfy.samplers.sampler_object("lcm"),
                sigmas=sigmas,
                latent_image=latent,
            )
    steps = len(sigmas) - 1
    assert len(ours.between) == len(theirs.between) == steps
    # After the last pass ComfyUI ends the run.
    swd_most, lcm_least = max(ours.between[:-1]) + COPIES, min(theirs.between[:-1])
    figure("operators between two forward passes, lcm", lcm_least)
    figure("operators between two forward passes, SwD", swd_most, lcm_least)
    assert 0 < swd_most <= lcm_least

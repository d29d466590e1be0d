"""Out of memory at a stage: an honest sentence, in the exception that ComfyUI recovers from."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import pytest
import torch
from reference import make_text
from running import advanced, all_in_one, conditioning, empty_latent

FAMILY, PRESET, SIZE = "sd35_large", "SD3.5 Large, 4 steps", (16, 24)
RUNS = [pytest.param(advanced, id="SamplerCustomAdvanced"), pytest.param(all_in_one, id="SWDSampler")]
CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB."
# The words of torch's allocators for the other devices, whose exception is a plain RuntimeError.
OTHERS = {
    "mps": "MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB, max allowed: 9.07 GB).",
    "cpu": "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
    "allocate 4398046511104 bytes. Error code 12 (Cannot allocate memory)",
    "directml": "Could not allocate tensor with 268435456 bytes. There is not enough GPU video memory available!",
}


def short_of_memory(model: Any, width: int, error: RuntimeError) -> Any:
    """A clone of the model that runs out of memory at one size."""
    clone = model.clone()

    def run_out(apply_model: Any, arguments: dict[str, Any]) -> torch.Tensor:
        if arguments["input"].shape[-1] == width:
            raise error
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    clone.set_model_unet_function_wrapper(run_out)
    return clone


@pytest.fixture(scope="module")
def positive() -> list[Any]:
    return conditioning(FAMILY, make_text(FAMILY))


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize(("step", "side"), list(enumerate(("12 x 8", "16 x 10", "18 x 12", "24 x 16"))))
def test_the_stage_its_size_and_what_to_do(swd, load, positive, run, step: int, side: str) -> None:
    model = short_of_memory(load(FAMILY), int(side.split()[0]), torch.OutOfMemoryError(CUDA))
    with pytest.raises(comfy.model_management.OOM_EXCEPTION) as error:
        run(swd, model, positive, empty_latent(FAMILY, SIZE, 2), 1, PRESET)
    assert str(error.value).splitlines() == [
        f"model: out of memory at step {step + 1} of 4, at {side}, with 2 pictures.",
        f"Found: {CUDA}",
        "Allowed: what fits into memory; the last step, at 24 x 16, needs the most",
        "To do: make fewer pictures at a time or a smaller latent_image, use weights of fewer bits, close other "
        "programs, or start ComfyUI with --novram.",
    ]
    assert isinstance(error.value.__cause__, torch.OutOfMemoryError)


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_devices_whose_lack_of_memory_is_a_plain_error_get_the_same_recovery(swd, load, positive, text: str) -> None:
    model = short_of_memory(load(FAMILY), 18, RuntimeError(text))
    with pytest.raises(comfy.model_management.OOM_EXCEPTION, match=r"^model: out of memory at step 3 of 4, at 18 x 12"):
        all_in_one(swd, model, positive, empty_latent(FAMILY, SIZE), 1, PRESET)


def test_the_cpu_says_so_in_these_words() -> None:
    """The table above is what torch really says, where that can be tried."""
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        torch.empty(2**42)


def test_the_next_run_is_as_before(swd, load, positive) -> None:
    expected = all_in_one(swd, load(FAMILY), positive, empty_latent(FAMILY, SIZE), 1, PRESET)["samples"]
    model = short_of_memory(load(FAMILY), 18, torch.OutOfMemoryError(CUDA))
    with pytest.raises(torch.OutOfMemoryError):
        all_in_one(swd, model, positive, empty_latent(FAMILY, SIZE), 1, PRESET)
    # What ComfyUI does next (execution.py).
    comfy.model_management.unload_all_models()
    assert torch.equal(
        all_in_one(swd, load(FAMILY), positive, empty_latent(FAMILY, SIZE), 1, PRESET)["samples"], expected
    )

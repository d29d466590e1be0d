"""Golden latents: every preset and every family on the tiny models gives what it gave when they were written.

They hold on every ComfyUI version, torch and number of threads, within BAR. A change here is a changed picture for
every user: name it in CHANGELOG.md, then write them anew with
  python dev.py test --only pytest tests/host/test_golden.py --update-golden
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.model_management
import pytest
import torch
from reference import make_text
from running import all_in_one, conditioning, empty_latent, relative_error
from safetensors.torch import load_file, safe_open, save_file
from swd_dev.tiny.families import FAMILIES, load_family, make_conditioning
from swd_pack.swd_core.presets import PRESETS

FILE = Path(__file__).resolve().parents[1] / "fixtures" / "golden.safetensors"
# Measured: at most 5e-7 between the five versions of ComfyUI and between one thread and two.
BAR = 1e-5
# The same weights, whatever the processor that made them; another generator would be far off.
WEIGHTS_BAR = 1e-5
SEED = 2025
SIZE = (8, 12)
CUSTOM = ("2, 3, 4", "1.0, 0.8, 0.6")

TINY = {"SD3.5 Medium": "sd35_medium", "SD3.5 Large": "sd35_large", "FLUX.1-dev": "flux", "SDXL": "sdxl"}
LORAS = {"swd-flux": "swd_flux", "swd-large-6-steps": "swd-large-4-steps", "": "swd-medium-4-steps"}


@dataclass(frozen=True)
class Golden:
    """A run: the model with its LoRA where there is one, and the schedule."""

    name: str
    family: str
    schedule: str | tuple[str, str]
    lora: str | None


RUNS = [
    *(Golden(preset.name, TINY[preset.family], preset.name,
             "swd_flux" if preset.family == "FLUX.1-dev" else LORAS.get(preset.lora, preset.lora))
      for preset in PRESETS),
    *(Golden(family, family, CUSTOM, None) for family in FAMILIES),
]  # fmt: skip
Model = Callable[[Golden], Any]


@pytest.fixture(scope="module")
def model_of(swd, load) -> Model:
    def make(run: Golden) -> Any:
        if run.lora is None:
            return load_family(run.family)
        name = f"{run.lora}/adapter_model.safetensors"
        return swd["SWDLoraLoader"].execute(model=load(run.family), lora_name=name, strength_model=1.0).result[0]

    return make


def latent_of(swd: dict[str, Any], model: Any, run: Golden) -> torch.Tensor:
    if run.lora is None:
        latent = {"samples": torch.zeros(FAMILIES[run.family].latent_shape(1, *SIZE))}
        positive = make_conditioning(run.family)
    else:
        latent, positive = empty_latent(run.family, SIZE), conditioning(run.family, make_text(run.family))
    return all_in_one(swd, model, positive, latent, SEED, run.schedule)["samples"]


def fingerprint(model: Any) -> float:
    """A number that tells one set of weights from another and hardly moves with the last digit of each."""
    # The model may have the LoRA of an earlier run on its weights.
    comfy.model_management.unload_all_models()
    weights = model.model.diffusion_model.state_dict().values()
    return float(sum(weight.double().abs().sum() for weight in weights if weight.is_floating_point()))


def test_written_anew_where_that_is_asked_for(swd, model_of: Model, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        latents, prints = {}, {}
        for run in RUNS:
            model = model_of(run)
            prints[run.name] = str(fingerprint(model))
            latents[run.name] = latent_of(swd, model, run).contiguous()
        FILE.parent.mkdir(exist_ok=True)
        save_file(latents, FILE, {"weights": json.dumps(prints)})
    assert set(load_file(FILE)) == {run.name for run in RUNS}, "a preset or a family is new: --update-golden"
    assert FILE.stat().st_size < 200_000


@pytest.mark.parametrize(
    ("run", "threads"),
    [(run, 1) for run in RUNS] + [(run, 2) for run in RUNS if run.lora is not None],
    ids=lambda value: getattr(value, "name", f"{value} threads"),
)
def test_as_it_was(swd, model_of: Model, figure, run: Golden, threads: int) -> None:
    with safe_open(FILE, framework="pt") as file:
        golden, prints = file.get_tensor(run.name), json.loads(file.metadata()["weights"])
    model = model_of(run)
    weights = fingerprint(model)
    assert weights == pytest.approx(float(prints[run.name]), rel=WEIGHTS_BAR), "another tiny model: --update-golden"
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        latent = latent_of(swd, model, run)
    finally:
        torch.set_num_threads(before)
    assert latent.shape == golden.shape
    error = relative_error(latent, golden)
    figure("relative error", error, BAR)
    assert error <= BAR

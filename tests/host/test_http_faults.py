"""Wrong inputs and faults over HTTP: one sentence each, and the queue goes on as before."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from serving import node, run_latent, small_prompt
from swd_dev.client import ComfyClient
from swd_dev.errors import DevError
from swd_dev.server import ComfyServer

EMPTY_QUEUE: dict[str, list[Any]] = {"queue_running": [], "queue_pending": []}


@pytest.fixture(scope="module")
def server(fault_server: ComfyServer) -> ComfyServer:
    return fault_server


@pytest.fixture(scope="module")
def client(server: ComfyServer) -> ComfyClient:
    return ComfyClient(server.url)


@pytest.fixture(scope="module", autouse=True)
def as_before(server: ComfyServer, client: ComfyClient) -> Iterator[None]:
    """A good prompt gives the same latent before and after all the wrong ones."""
    before = run_latent(server, client, small_prompt("flux", seed=5))
    yield
    assert torch.equal(run_latent(server, client, small_prompt("flux", seed=5, prefix="again")), before)


def changed(change: dict[str, Any], family: str = "flux", **options: Any) -> dict[str, Any]:
    """A good prompt with inputs changed, {"node.input": value}, or whole nodes, {"node": node}."""
    prompt = small_prompt(family, options.pop("preset", ("1, 2", "1, 0.5")), **options)
    for place, value in change.items():
        name, _, key = place.partition(".")
        if key:
            prompt[name]["inputs"][key] = value
        else:
            prompt[name] = value
    return prompt


NAME = "lora_name: {} is not in models/loras."
# What ComfyUI refuses before anything runs, in its own words or ours.
REFUSED = [
    ({"lora flux.lora_name": "../outside.safetensors"}, NAME.format("../outside.safetensors")),
    ({"lora flux.lora_name": "/etc/passwd"}, NAME.format("/etc/passwd")),
    ({"lora flux.lora_name": "..\\..\\outside.safetensors"}, NAME.format("..\\..\\outside.safetensors")),
    ({"lora flux.lora_name": "swd_flux/../swd_flux/adapter_model.safetensors"}, "is not in models/loras."),
    ({"lora flux.lora_name": "swd_flux/adapter_config.json"}, NAME.format("swd_flux/adapter_config.json")),
    ({"lora flux.lora_name": ""}, NAME.format("")),
    ({"lora flux.lora_name": 5}, NAME.format("5")),
    ({"lora flux.lora_name": {"a": 1}}, NAME.format("{'a': 1}")),
    ({"lora flux.strength_model": math.inf}, "bigger than max of 100.0: strength_model"),
    ({"sampler.cfg": "much"}, "cfg"),
    ({"sampler.denoise": 1.5}, "bigger than max of 1.0: denoise"),
    ({"sampler.seed": -1}, "smaller than min of 0: seed"),
    ({"sampler.seed": 2**64}, "bigger than max"),
    ({"sampler.upscale_method": "lanczos"}, "upscale_method"),
]


@pytest.mark.parametrize(("change", "said"), REFUSED, ids=str)
def test_refused_before_anything_runs(client: ComfyClient, change: dict[str, Any], said: str) -> None:
    with pytest.raises(DevError) as error:
        client.run(changed(change))
    assert said in str(error.value)


# What runs into an error: the node, and the first line that the user reads.
ERRORS = [
    ({"schedule.scales": "64, 48"}, "SWDCustomSchedule (node schedule): scales: they must not fall."),
    ({"schedule.scales": ""}, "SWDCustomSchedule (node schedule): scales: the list is empty."),
    ({"schedule.scales": None}, "SWDCustomSchedule (node schedule): scales: 'None' is not a number."),
    ({"schedule.scales": "1e308, 1e308"}, "SWDCustomSchedule (node schedule): scales: 1e+308 is above 1000000."),
    ({"schedule.timesteps": 1e400}, "SWDCustomSchedule (node schedule): timesteps: 'inf' is not a number."),
    ({"schedule.timesteps": "1, 0, 0.5"},
     "SWDCustomSchedule (node schedule): timesteps: 0 is not above 0 and at most 1."),
    ({"schedule.model": ["lora sdxl", 0]},
     "SWDSampler (node sampler): schedule: made for SDXL, but the model is FLUX.1-dev."),
    ({"lora flux.lora_name": None}, "SWDLoraLoader (node lora flux): lora_name: None is not in models/loras."),
    ({"lora flux.lora_name": "swd-sdxl/adapter_model.safetensors"},
     "SWDLoraLoader (node lora flux): lora_name: nothing in swd-sdxl/adapter_model.safetensors fits this model."),
    ({"lora flux.strength_model": math.nan},
     "SWDLoraLoader (node lora flux): strength_model: nan is not a finite number."),
    ({"schedule": node("SWDScaleSchedule", model=["lora flux", 0], preset="SDXL, 4 steps")},
     "SWDScaleSchedule (node schedule): preset: SDXL, 4 steps is not for FLUX.1-dev."),
    ({"sampler.cfg": math.nan}, "SWDSampler (node sampler): cfg: nan is not a finite number."),
    ({"sampler.cfg": 4.0}, "SWDSampler (node sampler): negative: cfg needs a negative prompt."),
    ({"sampler.denoise": math.nan}, "SWDSampler (node sampler): denoise: nan is not a finite number."),
]  # fmt: skip


@pytest.mark.parametrize(("change", "first_line"), ERRORS, ids=str)
def test_an_error_is_one_sentence_first(client: ComfyClient, change: dict[str, Any], first_line: str) -> None:
    result = client.run(changed(change))
    assert result.status == "error"
    first, *rest = result.error.splitlines()
    assert first == first_line
    assert [line.split(":")[0] for line in rest[:3]] == ["Found", "Allowed", "To do"]
    # ComfyUI's notice only says that the node failed, and words of an earlier run would stay in the node.
    assert result.texts[-1] == f"{first.split('): ', 1)[1]}\n{rest[0]}\n{rest[2]}"


PREFIXES = ["../out", "/tmp/swd-out", "a/../../out"]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_nothing_is_written_outside_the_output_folder(server: ComfyServer, client: ComfyClient, prefix: str) -> None:
    inputs = {"lora_name": "swd_flux/adapter_model.safetensors", "filename_prefix": prefix}
    before = set(server.base_directory.rglob("*.safetensors"))
    result = client.run({"save": {"class_type": "SWDLoraSave", "inputs": inputs}})
    assert result.error.startswith("SWDLoraSave (node save): filename_prefix: it leads out of the output folder.\n")
    assert result.texts[-1].startswith("filename_prefix: it leads out of the output folder.\nFound: ")
    assert set(server.base_directory.rglob("*.safetensors")) == before


def test_out_of_memory_is_told_comfyui_recovers_and_the_next_prompt_runs(server: ComfyServer, client) -> None:
    good = run_latent(server, client, small_prompt("flux", seed=3, prefix="before"))
    already = server.log_tail(100_000).count("Got an OOM, unloading all loaded models.")
    result = client.run(small_prompt("flux", size=(96, 64), fault=("out of memory", 10)))
    first, found, *_ = result.error.splitlines()
    assert first == "SWDSampler (node sampler): model: out of memory at step 3 of 4, at 10 x 6, with 1 picture."
    assert found == "Found: CUDA out of memory. Tried to allocate 2.00 GiB."
    assert result.texts[-1].startswith(f"{first.split('): ', 1)[1]}\n{found}\nTo do: make fewer pictures")
    assert server.log_tail(100_000).count("Got an OOM, unloading all loaded models.") == already + 1
    assert torch.equal(run_latent(server, client, small_prompt("flux", seed=3, prefix="after")), good)


def test_nan_is_told_and_the_next_prompt_runs(server: ComfyServer, client: ComfyClient) -> None:
    good = run_latent(server, client, small_prompt("sd35_large", seed=3, prefix="before"))
    result = client.run(small_prompt("sd35_large", fault=("NaN", 6)))
    first, *_ = result.error.splitlines()
    assert first == "SWDSampler (node sampler): model: the latent of step 2 of 4, at 6 x 6, is not finite."
    assert torch.equal(run_latent(server, client, small_prompt("sd35_large", seed=3, prefix="after")), good)


def test_the_text_encoder_of_another_model_is_told_in_comfyuis_words(client: ComfyClient) -> None:
    """Nothing has grown when the first step meets it."""
    result = client.run(changed({"sampler.positive": ["text flux", 0]}, "sd35_large", preset="auto"))
    assert "make sure the correct file(s) and type is selected" in result.error
    assert "grows" not in result.error


def test_many_wrong_prompts_in_a_row_leave_the_queue_empty(client: ComfyClient) -> None:
    for _ in range(10):
        client.queue(changed({"schedule.scales": "64, 48"}))
    assert client.run(small_prompt("sdxl", prefix="last")).status == "success"
    # A prompt has told its end a moment before it leaves the queue.
    deadline = time.monotonic() + 10
    while json.loads(client.request("/queue")) != EMPTY_QUEUE:
        assert time.monotonic() < deadline, client.request("/queue")
        time.sleep(0.05)


def test_a_prompt_that_is_valid_in_part_is_told(client: ComfyClient) -> None:
    """ComfyUI answers 200 and runs the outputs that it found valid."""
    prompt = small_prompt("flux", ("1, 2", "1, 0.5"), seed=6, prefix="part")
    prompt["wrong"] = node("SaveLatent", samples=["sampler", 0], filename_prefix=["gone", 0])
    with pytest.raises(DevError, match=r"only a part of the prompt:\nSaveLatent \(node wrong\)"):
        client.run(prompt)

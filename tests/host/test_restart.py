"""A server that is killed in the middle of a run starts again and makes the same picture."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psutil
import pytest
import torch
from serving import run_latent, serve, small_prompt
from swd_dev.client import ComfyClient

STEPS = ", ".join(["1"] * 20), ", ".join(f"{1 - i / 30:.2f}" for i in range(20))


@pytest.mark.timeout(900)
def test_killed_in_the_middle_of_a_run(comfyui: Path, tiny_models: Path, tmp_path: Path) -> None:
    prompts = [small_prompt("flux", seed=4), small_prompt("sd35_large", size=(96, 64), seed=4)]
    with serve(comfyui, tiny_models, tmp_path) as server:
        client = ComfyClient(server.url)
        before = [run_latent(server, client, prompt) for prompt in prompts]
        client.queue(small_prompt("flux", STEPS, fault=("slow", 0)))
        deadline = time.monotonic() + 60
        while not json.loads(client.request("/queue"))["queue_running"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1.5)  # into one of twenty slow steps
        assert json.loads(client.request("/queue"))["queue_running"]
        (running,) = psutil.Process(server.process.pid).children()
        running.kill()
        running.wait(30)
    # The folders are as the killed server left them.
    with serve(comfyui, tiny_models, tmp_path) as server:
        client = ComfyClient(server.url)
        assert json.loads(client.request("/queue")) == {"queue_running": [], "queue_pending": []}
        after = [run_latent(server, client, prompt) for prompt in prompts]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))

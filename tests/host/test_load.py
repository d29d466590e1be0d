"""200 prompts at once, of all kinds: each ends in its own result or its own error, and nothing piles up."""

from __future__ import annotations

import itertools
import json
import random
import time
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
import torch
import websocket
from serving import LORAS, PRESETS, run_latent, saved_latent, small_prompt
from swd_dev.client import ComfyClient, Prompt
from swd_dev.server import ComfyServer

PROMPTS = 200
SPARE = 20
SECONDS = 400.0
LARGEST_GROWTH = 0.05
SIZES = [(64, 64), (96, 64), (64, 128)]
STEPS = ", ".join(["1"] * 40), ", ".join(f"{1 - i / 50:.2f}" for i in range(40))


@dataclass
class Case:
    """One prompt and how it must end: in a latent, in an error of a known first line, interrupted, or not at all."""

    name: str
    prompt: Prompt
    ends: str
    expected: torch.Tensor | str | None = None
    prompt_id: str = ""


def single_runs(server: ComfyServer, client: ComfyClient) -> list[Case]:
    """Every family, preset and size once, each alone: the results that the crowd has to give again."""
    made = []
    for family, presets in PRESETS.items():
        for number, preset in enumerate(presets):
            size = SIZES[(len(made) + number) % len(SIZES)]
            options = {"family": family, "preset": preset, "size": size, "seed": len(made)}
            latent = run_latent(server, client, small_prompt(**options, prefix="single"))
            made.append(Case(f"{family} {preset} {size}", small_prompt(**options, prefix="crowd"), "success", latent))
    return made


ERRORS = [
    ({"preset": ("64, 48", "1, 0.5")}, "SWDCustomSchedule (node schedule): scales: they must not fall."),
    ({"preset": ("1", "0")}, "SWDCustomSchedule (node schedule): timesteps: 0 is not above 0 and at most 1."),
    ({"cfg": 3.0}, "SWDSampler (node sampler): negative: cfg needs a negative prompt."),
    ({"fault": ("NaN", 8), "preset": ("1, 2", "1, 0.5")},
     "SWDSampler (node sampler): model: the latent of step 2 of 2, at 8 x 8, is not finite."),
    ({"fault": ("out of memory", 4), "preset": ("1, 2", "1, 0.5")},
     "SWDSampler (node sampler): model: out of memory at step 1 of 2, at 4 x 4, with 1 picture."),
]  # fmt: skip


def crowd(singles: list[Case]) -> list[Case]:
    chance = random.Random(0)
    families = list(LORAS)
    cases = []
    for i in range(30):
        options, message = ERRORS[i % len(ERRORS)]
        cases.append(Case(f"error {i}", small_prompt(families[i % 4], **options), "error", message))
    for i in range(8):
        prompt = small_prompt(families[i % 4], STEPS, seed=i, fault=("slow", 0))
        cases.append(Case(f"interrupted {i}", prompt, "interrupted"))
    for i in range(12):
        cases.append(Case(f"deleted {i}", small_prompt(families[i % 4], seed=900 + i), "deleted"))
    while len(cases) < PROMPTS + SPARE:
        single = chance.choice(singles)
        cases.append(Case(single.name, single.prompt, single.ends, single.expected))
    chance.shuffle(cases)
    # One prompt after another may not be the same, or it would come from the cache.
    return [cases[0], *(case for before, case in itertools.pairwise(cases) if before.prompt != case.prompt)]


def memory(server: ComfyServer) -> int:
    """Resident bytes of the server behind its guard."""
    (child,) = psutil.Process(server.process.pid).children()
    return child.memory_info().rss


def queue_and_leave(server: ComfyServer, prompt: Prompt) -> str:
    """Queue a prompt as a browser that goes away without a word."""
    client = ComfyClient(server.url)
    address = server.url.replace("http", "ws", 1) + f"/ws?clientId={client.client_id}"
    socket = websocket.create_connection(address, timeout=30, http_no_proxy=["127.0.0.1"])
    prompt_id = client.queue(prompt)
    socket.sock.close()
    return prompt_id


def queue_all(server: ComfyServer, client: ComfyClient, cases: list[Case]) -> None:
    for number, case in enumerate(cases):
        leave = case.ends == "success" and number % 10 == 0
        case.prompt_id = queue_and_leave(server, case.prompt) if leave else client.queue(case.prompt)
        if case.ends == "deleted":
            client.request("/queue", {"delete": [case.prompt_id]})


def interrupt_until_empty(client: ComfyClient, cases: list[Case]) -> None:
    """Watch the queue to its end, and interrupt what is to be interrupted as soon as it runs."""
    wanted = {case.prompt_id for case in cases if case.ends == "interrupted"}
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        queue = json.loads(client.request("/queue"))
        running = [entry[1] for entry in queue["queue_running"]]
        for prompt_id in wanted.intersection(running):
            client.request("/interrupt", {"prompt_id": prompt_id})
        if not running and not queue["queue_pending"]:
            return
        time.sleep(0.1)
    pytest.fail(f"the queue was not empty after {SECONDS:.0f} s: {len(queue['queue_pending'])} are left")


def ending(record: dict[str, Any]) -> tuple[str, str]:
    """How a run ended, and the message of its error as the client shows it."""
    messages = {kind: data for kind, data in record["status"]["messages"]}
    if "execution_error" in messages:
        error = messages["execution_error"]
        return "error", f"{error['node_type']} (node {error['node_id']}): {error['exception_message']}".splitlines()[0]
    return "interrupted" if "execution_interrupted" in messages else record["status"]["status_str"], ""


def was_computed(record: dict[str, Any]) -> bool:
    cached = [data["nodes"] for kind, data in record["status"]["messages"] if kind == "execution_cached"]
    return "sampler" not in cached[0]


@pytest.mark.timeout(900)
def test_every_prompt_of_a_crowd_ends_in_its_own_way(fault_server: ComfyServer, capsys) -> None:
    server, client = fault_server, ComfyClient(fault_server.url)
    singles = single_runs(server, client)
    run_latent(server, client, singles[0].prompt)
    before = memory(server)  # after the first ten
    cases = crowd(singles)
    start = time.monotonic()
    queue_all(server, client, cases)
    interrupt_until_empty(client, cases)
    seconds = time.monotonic() - start
    time.sleep(0.5)
    grown = memory(server) / before - 1
    history = json.loads(client.request("/history"))
    wrong = []
    for case in cases:
        record = history.get(case.prompt_id)
        if case.ends == "deleted":
            wrong += [f"{case.name}: ran"] if record else []
        elif record is None:
            wrong.append(f"{case.name}: no end")
        elif case.ends == "success":
            same = ending(record)[0] == "success" and torch.equal(saved_latent(server, record), case.expected)
            wrong += [] if same else [f"{case.name}: {ending(record)}, or another latent"]
        elif ending(record) != (case.ends, case.expected or ""):
            wrong.append(f"{case.name}: {ending(record)}")
    assert not wrong, "\n".join(wrong)
    kinds = {kind: sum(case.ends == kind for case in cases) for kind in ("success", "error", "interrupted", "deleted")}
    computed = sum(was_computed(history[case.prompt_id]) for case in cases if case.ends == "success")
    with capsys.disabled():
        print(f"\n    {len(cases)} prompts {kinds} in {seconds:.0f} s, memory {grown:+.1%}", end="")
    assert len(cases) >= PROMPTS
    assert computed > 0.9 * kinds["success"], "most are computed and not from the cache"
    assert grown <= LARGEST_GROWTH
    assert client.run(small_prompt("flux", prefix="after")).status == "success"

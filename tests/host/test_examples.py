"""The example client as a program of its own, against a live server with tiny models."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from PIL import Image
from prompt_file import set_seed, set_text
from swd_dev.client import ComfyClient
from swd_dev.environment import clean_env
from swd_dev.prompts import load_template
from swd_dev.server import ComfyServer

Process: TypeAlias = "subprocess.Popen[str]"
Start: TypeAlias = Callable[..., Process]

PACK = Path(__file__).resolve().parents[2]
CLIENT = PACK / "example_client" / "api_client.py"
EXAMPLE = PACK / "example_client" / "sd35_medium_6_steps.json"
TEMPLATES = sorted((PACK / "workflows").glob("*.json"))
TEMPLATE = PACK / "workflows" / "SwD text to image - SD3.5 Medium, 6 steps.json"
SMALL = ("--set", "EmptySD3LatentImage.width=256", "--set", "EmptySD3LatentImage.height=192")
IDS = {node["class_type"]: key for key, node in json.loads(EXAMPLE.read_text(encoding="utf-8")).items()}
SAMPLER = IDS["SWDSampler"]
# Long enough to be stopped under way.
LONG = (*SMALL, "--set", "EmptySD3LatentImage.batch_size=6")
WAIT_SECONDS = 120.0


@pytest.fixture
def start(server: ComfyServer, tmp_path: Path) -> Iterator[Start]:
    """Start the client, without site-packages, and end it with the test."""
    started: list[Process] = []

    def with_arguments(*arguments: str) -> Process:
        command = [sys.executable, "-E", "-S", str(CLIENT), "--server", server.url, "--out", str(tmp_path), *arguments]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, env=clean_env(), stdout=pipe, stderr=pipe, encoding="utf-8"))
        return started[-1]

    yield with_arguments
    for process in started:
        process.kill()
        process.communicate()


def finish(process: Process) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    out, err = process.communicate(timeout=WAIT_SECONDS)
    return process.returncode, out, err


def wait_for(process: Process, line: str) -> None:
    assert process.stdout
    assert any(line in found for found in process.stdout), f"{line!r} never came"


def queue(client: ComfyClient) -> tuple[list[str], list[str]]:
    """Ids of the prompts that run and that wait."""
    answer = json.loads(client.request("/queue"))
    return [entry[1] for entry in answer["queue_running"]], [entry[1] for entry in answer["queue_pending"]]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def last_run(client: ComfyClient) -> dict[str, Any]:
    """The newest record of the server."""
    wait_until(lambda: queue(client) == ([], []))
    return list(json.loads(client.request("/history")).values())[-1]


def without_titles(prompt: dict[str, Any]) -> dict[str, Any]:
    """Titles of ComfyUI's own nodes differ between its versions."""
    return {key: {**node, "_meta": None} for key, node in prompt.items()}


def test_the_example_is_the_template_in_the_api_format(object_info, request: pytest.FixtureRequest) -> None:
    prompt = load_template(TEMPLATE, object_info)
    if request.config.getoption("--update-frozen"):
        EXAMPLE.write_text(json.dumps(prompt, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    written = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    assert without_titles(written) == without_titles(prompt), (
        "write it anew: python dev.py test --only pytest tests/host/test_examples.py --update-frozen"
    )


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_text_and_a_seed_find_their_place_in_every_template(object_info, path: Path) -> None:
    old, prompt = load_template(path, object_info), load_template(path, object_info)
    set_text(prompt, "a red fox")
    set_seed(prompt, 7)
    changed = {
        (old[key]["class_type"], name)
        for key, node in prompt.items()
        for name, value in node["inputs"].items()
        if value != old[key]["inputs"][name]
    }
    assert changed == {("CLIPTextEncode", "text"), ("SWDSampler", "seed")}
    assert [node["inputs"].get("text") for node in prompt.values()].count("a red fox") == 1


def test_the_picture_arrives_with_every_step_on_the_way(start: Start, client: ComfyClient, tmp_path: Path) -> None:
    code, out, err = finish(start(*SMALL, "--prompt", "a red fox", "--seed", "7"))
    assert (code, err) == (0, "")
    steps = re.findall(r"^  step (\d) of 6 at (\d+) x (\d+)$", out, re.MULTILINE)
    assert [int(number) for number, *_ in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[-1][1:] == ("32", "24")
    assert out.index("\nSWDSampler\n") < out.index("step 1 of 6")
    assert "  loaded " in out, "the report of the LoRA"
    (path,) = tmp_path.glob("*.png")
    assert f"saved {path}" in out
    with Image.open(path) as picture:
        assert picture.size == (256, 192)
        prompt = json.loads(picture.text["prompt"])
    assert (prompt[IDS["CLIPTextEncode"]]["inputs"]["text"], prompt[SAMPLER]["inputs"]["seed"]) == ("a red fox", 7)
    (content,) = (content for _, content in client.images(last_run(client)["prompt"][1]))
    assert path.read_bytes() == content


def test_a_second_run_of_the_same_prompt_does_not_overwrite_the_first(start: Start, tmp_path: Path) -> None:
    """The server has every result already and repeats the name of the picture."""
    for _ in range(2):
        assert finish(start(*SMALL, "--seed", "8"))[0] == 0
    first, second = tmp_path.glob("*.png")
    assert first.read_bytes() == second.read_bytes()


def test_our_sentence_is_the_error(start: Start, tmp_path: Path) -> None:
    code, _, err = finish(start(*SMALL, "--set", "SWDScaleSchedule.preset=FLUX.1-dev, 4 steps"))
    assert code == 1
    node = f"SWDScaleSchedule (node {IDS['SWDScaleSchedule']})"
    assert err.startswith(f"error: {node}: preset: FLUX.1-dev, 4 steps is not for SD3.5 Medium.\n")
    assert "Allowed: auto; " in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


LOADER, SAMPLING = f"SWDLoraLoader (node {IDS['SWDLoraLoader']})", f"SWDSampler (node {SAMPLER})"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # Every output needs the LoRA, so the server refuses the prompt.
        ("SWDLoraLoader.lora_name=none.safetensors", f"{LOADER}: "),
        # The report needs no sampler: the server takes the prompt and would run that part alone.
        ("SwD Sampler.denoise=3", f"{SAMPLING}: Value 3.0 bigger than max of 1.0: denoise"),
        (f"{SAMPLER}.steps=3", f"--set {SAMPLER}.steps=3: {SAMPLER} has no value 'steps'; it has seed, cfg, denoise"),
        ("SWDSampler.model=3", "--set SWDSampler.model=3: SWDSampler has no value 'model'; it has seed, cfg, denoise"),
        ("SWDSampler.cfg=high", "--set SWDSampler.cfg=high: a number, true or false is wanted here."),
        ("KSampler.cfg=1", "--set: 0 nodes are called 'KSampler'; give the id of one of these: 1 ("),
        ("cfg=1", "--set cfg=1: write it as NODE.INPUT=VALUE."),
    ],
)
def test_a_wrong_value_is_an_error_before_anything_runs(
    start: Start, client: ComfyClient, tmp_path: Path, change: str, message: str
) -> None:
    code, out, err = finish(start(*SMALL, "--set", change))
    assert code == 1
    assert err.startswith(f"error: {message}"), err
    assert "step" not in out
    wait_until(lambda: queue(client) == ([], []))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (str(TEMPLATE), f"error: {TEMPLATE} is not a workflow in the API format; export one in"),
        ("nowhere.json", "error: [Errno 2] No such file or directory: 'nowhere.json'"),
    ],
    ids=["of the web page", "absent"],
)
def test_a_file_that_is_no_prompt(start: Start, file: str, message: str) -> None:
    code, _, err = finish(start(file))
    assert code == 1
    assert err.startswith(message), err


def test_a_server_that_is_not_there(start: Start) -> None:
    code, _, err = finish(start("--server", "http://127.0.0.1:9"))
    assert code == 1
    assert re.fullmatch(r"error: no ComfyUI answers at http://127\.0\.0\.1:9 \(.+\); start it, or .*--server\.\n", err)


def test_ctrl_c_stops_the_run_on_the_server(start: Start, client: ComfyClient, tmp_path: Path) -> None:
    process = start(*LONG, "--seed", "9")
    wait_for(process, "step 1 of 6")
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert (code, err) == (130, "stopped\n")
    messages = [name for name, _ in last_run(client)["status"]["messages"]]
    assert messages[-1] == "execution_interrupted"
    assert not list(tmp_path.iterdir())


def test_ctrl_c_takes_a_waiting_prompt_out_of_the_queue_and_lets_the_other_go_on(
    start: Start, client: ComfyClient
) -> None:
    running = start(*LONG, "--seed", "10")
    wait_for(running, "step 1 of 6")
    (first,), _ = queue(client)
    waiting = start(*SMALL, "--seed", "11")
    wait_until(lambda: len(queue(client)[1]) == 1)
    waiting.send_signal(signal.SIGINT)
    assert finish(waiting)[0] == 130
    assert queue(client) == ([first], [])
    assert finish(running)[0] == 0
    assert last_run(client)["prompt"][1] == first


def test_a_run_stopped_by_somebody_else_is_told(start: Start, client: ComfyClient) -> None:
    process = start(*LONG, "--seed", "12")
    wait_for(process, "step 1 of 6")
    client.interrupt()
    code, _, err = finish(process)
    assert (code, err) == (1, "error: the run was stopped at the server.\n")

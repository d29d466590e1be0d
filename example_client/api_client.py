"""Send a workflow to a running ComfyUI, follow it, and save its pictures. Standard library only; see README.md."""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from prompt_file import ClientError, Prompt, load, set_seed, set_text, set_value
from websocket_client import WebSocket

EXAMPLE = Path(__file__).with_name("sd35_medium_6_steps.json")
SERVER = "http://127.0.0.1:8188"
PROGRESS_TEXT = 3
ANSWER_SECONDS = 60.0
INTERRUPTED = 130


class Server:
    """A ComfyUI server. Every method raises ClientError if it refuses or does not answer."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        # A proxy from the environment knows no local server.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def request(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        """GET a path, or POST `body` to it as JSON, and return the answer."""
        data = None if body is None else json.dumps(body).encode()
        try:
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(self.url + path, data, headers)  # noqa: S310 (the url of the user)
            with self._opener.open(request, timeout=ANSWER_SECONDS) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            raise ClientError(_refusal(error.read()) or f"{path} gave {error}") from error
        except (OSError, ValueError) as error:
            raise self._silent(error) from error

    def listen(self, client_id: str) -> WebSocket:
        """Connect to the messages for a client."""
        try:
            return WebSocket(f"{self.url.replace('http', 'ws', 1)}/ws?clientId={client_id}")
        except OSError as error:
            raise self._silent(error) from error

    def cancel(self, prompt_id: str) -> None:
        """Take a prompt out of the queue, or stop it if it runs; other prompts go on."""
        self.request("/queue", {"delete": [prompt_id]})
        self.request("/interrupt", {"prompt_id": prompt_id})

    def _silent(self, error: Exception) -> ClientError:
        return ClientError(f"no ComfyUI answers at {self.url} ({error}); start it, or give its address by --server.")


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 with the pictures saved, 1 with a message on standard error, 130 after Ctrl-C."""
    options = _parse(arguments)
    try:
        prompt = load(options.workflow)
        if options.prompt is not None:
            set_text(prompt, options.prompt)
        if options.seed is not None:
            set_seed(prompt, options.seed)
        for change in options.set:
            set_value(prompt, change)
        server = Server(options.server)
        for picture in run(server, prompt):
            print(f"saved {save(server, picture, options.out)}")
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except (ClientError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workflow", nargs="?", type=Path, default=EXAMPLE, help="made by File > Export (API)")
    parser.add_argument("--server", default=SERVER, metavar="URL", help=f"default: {SERVER}")
    parser.add_argument("--prompt", metavar="TEXT", help="what the picture shows")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the noise")
    change = "change an input, for example EmptySD3LatentImage.width=768; NODE is an id, a class or a title"
    parser.add_argument("--set", action="append", default=[], metavar="NODE.INPUT=VALUE", help=change)
    parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where the pictures go")
    return parser.parse_args(arguments)


def run(server: Server, prompt: Prompt) -> list[dict[str, str]]:
    """Queue a prompt, show how it goes, and return the pictures it saved. Ctrl-C cancels it on the server.

    Raises ClientError if it is refused, fails, is stopped or saves nothing.
    """
    client_id, prompt_id = uuid.uuid4().hex, str(uuid.uuid4())
    # Connected before the prompt is queued: the server does not repeat what it said earlier.
    with server.listen(client_id) as messages:
        try:
            answer = server.request("/prompt", {"prompt": prompt, "client_id": client_id, "prompt_id": prompt_id})
            # Where one output is sound and another is not, the server takes the prompt and runs the sound one.
            if refused := _refusal(answer):
                server.cancel(prompt_id)
                raise ClientError(refused)
            pictures = follow(messages, prompt, prompt_id)
        except KeyboardInterrupt:
            server.cancel(prompt_id)
            raise
    if not pictures:
        raise ClientError("the run saved no picture; the workflow needs a SaveImage node.")
    return pictures


def follow(messages: WebSocket, prompt: Prompt, prompt_id: str) -> list[dict[str, str]]:
    """Print what the server says of a prompt until it ends, and return the pictures that it saved."""
    pictures: list[dict[str, str]] = []
    started = False
    while True:
        message = messages.receive()
        if isinstance(message, bytes):
            # Progress text goes to every client, so it is ours only while our prompt runs.
            if started:
                _print_progress(message)
            continue
        event = json.loads(message)
        kind, data = event["type"], event.get("data") or {}
        if data.get("prompt_id") != prompt_id:
            continue
        if kind == "execution_start":
            started = True
        elif kind == "executing" and data["node"] in prompt:
            print(prompt[data["node"]]["class_type"], flush=True)
        elif kind == "executed":
            output = data.get("output") or {}
            pictures += [image for image in output.get("images", ()) if image["type"] == "output"]
            for text in output.get("text", ()):
                print(f"  {text}", flush=True)
        elif kind == "execution_error":
            raise ClientError(f"{data['node_type']} (node {data['node_id']}): {data['exception_message'].strip()}")
        elif kind == "execution_interrupted":
            raise ClientError("the run was stopped at the server.")
        elif kind == "execution_success":
            return pictures


def _print_progress(message: bytes) -> None:
    """Show a binary message of progress text: its kind, the length of the node's id, the id, the text."""
    kind, length = int.from_bytes(message[:4], "big"), int.from_bytes(message[4:8], "big")
    if kind == PROGRESS_TEXT:
        print(f"  {message[8 + length :].decode()}", flush=True)


def _refusal(body: bytes) -> str:
    """The server's reasons for not taking a prompt, a line each; empty if the answer holds none."""
    try:
        answer = json.loads(body)
        reasons = [
            f"{node['class_type']} (node {key}): {error['message']}: {error['details']}"
            for key, node in (answer.get("node_errors") or {}).items()
            for error in node["errors"]
        ]
        return "\n".join(reasons) or f"{answer['error']['message']} {answer['error'].get('details', '')}".strip()
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def save(server: Server, picture: dict[str, str], folder: Path) -> Path:
    """Fetch a picture into `folder`, under the server's name for it or the next free one."""
    content = server.request("/view?" + urlencode({key: picture[key] for key in ("filename", "subfolder", "type")}))
    folder.mkdir(parents=True, exist_ok=True)
    name = path = folder / Path(picture["filename"]).name
    number = 1
    while path.exists():
        number += 1
        path = name.with_stem(f"{name.stem} ({number})")
    path.write_bytes(content)
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

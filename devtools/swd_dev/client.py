"""A client of ComfyUI's HTTP and websocket interface."""

import json
import struct
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import websocket

from .errors import DevError

Prompt = dict[str, dict[str, Any]]

SILENCE_SECONDS = 600.0
HISTORY_SECONDS = 10.0
TEXT_FRAME = 3
ENDS = {"execution_success": "success", "execution_error": "error", "execution_interrupted": "interrupted"}


@dataclass(frozen=True)
class Event:
    """One message of a run: its type, its JSON data, and the seconds of the monotonic clock when it came.

    Progress text comes as the type "text" with `node` and `text` in the data.
    """

    kind: str
    data: dict[str, Any]
    at: float


@dataclass(frozen=True)
class Result:
    """How a run ended: status "success", "error" or "interrupted", and for an error its node and message."""

    prompt_id: str
    status: str
    error: str
    seconds: float
    texts: list[str] = field(default_factory=list)


class ComfyClient:
    """Talks to one server. Every method raises DevError if the server refuses or does not answer."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.client_id = uuid.uuid4().hex
        # The address is local: a proxy from the environment must not be asked.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def object_info(self) -> dict[str, Any]:
        """Return the inputs and outputs of every node class."""
        info: dict[str, Any] = json.loads(self.request("/object_info"))
        return info

    def queue(self, prompt: Prompt, workflow: dict[str, Any] | None = None) -> str:
        """Queue a prompt in API format and return its id; DevError holds the text of every rejected input."""
        body: dict[str, Any] = {"prompt": prompt, "client_id": self.client_id}
        if workflow is not None:
            body["extra_data"] = {"extra_pnginfo": {"workflow": workflow}}
        answer = json.loads(self.request("/prompt", body))
        if answer.get("node_errors"):
            # ComfyUI runs the outputs that it found valid, which is less than was asked for.
            raise DevError("ComfyUI took only a part of the prompt:\n" + "\n".join(_faulty_inputs(answer)))
        return str(answer["prompt_id"])

    def interrupt(self) -> None:
        """Stop the run that is under way."""
        self.request("/interrupt", {})

    def run(
        self, prompt: Prompt, on_event: Callable[[Event], None] | None = None, workflow: dict[str, Any] | None = None
    ) -> Result:
        """Queue a prompt and follow it to its end, whatever that is; `on_event` gets every message on the way."""
        address = self.url.replace("http", "ws", 1) + f"/ws?clientId={self.client_id}"
        texts: list[str] = []
        try:
            # Connected first: the server sends nothing that was said before.
            socket = websocket.create_connection(address, timeout=SILENCE_SECONDS, http_no_proxy=["127.0.0.1"])
            try:
                start = time.monotonic()
                prompt_id = self.queue(prompt, workflow)
                while True:
                    event = _parse(socket.recv())
                    if event is None or event.data.get("prompt_id", prompt_id) != prompt_id:
                        continue
                    if event.kind == "text":
                        texts.append(event.data["text"])
                    if on_event:
                        on_event(event)
                    if event.kind in ENDS:
                        return Result(prompt_id, ENDS[event.kind], _error_text(event), event.at - start, texts)
            finally:
                socket.close()
        except (websocket.WebSocketException, OSError) as error:
            raise DevError(f"the connection to ComfyUI at {self.url} broke: {error}") from error

    def images(self, prompt_id: str, folder_type: str = "output") -> list[tuple[str, bytes]]:
        """Return name and content of each image file a finished run left in ComfyUI's output (or temp) folder."""
        files = []
        for output in self.history(prompt_id)["outputs"].values():
            for image in output.get("images", ()):
                if image["type"] == folder_type:
                    files.append((str(image["filename"]), self.request("/view?" + urllib.parse.urlencode(image))))
        return files

    def history(self, prompt_id: str) -> dict[str, Any]:
        """Return the record of a finished run: outputs and status."""
        deadline = time.monotonic() + HISTORY_SECONDS
        while True:
            # The record is written a moment after the last message of the run.
            record: dict[str, Any] | None = json.loads(self.request(f"/history/{prompt_id}")).get(prompt_id)
            if record is not None:
                return record
            if time.monotonic() > deadline:
                raise DevError(f"ComfyUI keeps no record of the run {prompt_id}; was it deleted from the queue?")
            time.sleep(0.05)

    def request(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        """GET a path, or POST `body` as JSON to it, and return the answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with self._opener.open(request, timeout=SILENCE_SECONDS) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            raise DevError(f"ComfyUI refused {path} ({error.code}): {_refusal(error.read())}") from error
        except OSError as error:
            raise DevError(f"ComfyUI at {self.url} does not answer: {error}") from error


def _parse(message: str | bytes) -> Event | None:
    """Read one websocket message; None for preview images and for what this client does not know."""
    at = time.monotonic()
    if isinstance(message, str):
        content = json.loads(message) if message else {}
        return Event(content["type"], content.get("data") or {}, at) if "type" in content else None
    if len(message) < 8 or struct.unpack(">I", message[:4])[0] != TEXT_FRAME:
        return None
    end = 8 + int(struct.unpack(">I", message[4:8])[0])
    return Event("text", {"node": message[8:end].decode(), "text": message[end:].decode()}, at)


def _error_text(event: Event) -> str:
    if event.kind != "execution_error":
        return ""
    data = event.data
    return f"{data.get('node_type')} (node {data.get('node_id')}): {str(data.get('exception_message')).strip()}"


def _faulty_inputs(answer: dict[str, Any]) -> list[str]:
    return [
        f"{report['class_type']} (node {node}): {error['message']}: {error['details']}"
        for node, report in (answer.get("node_errors") or {}).items()
        for error in report["errors"]
    ]


def _refusal(body: bytes) -> str:
    """Turn the answer to a rejected prompt into text: the error, and each input at fault."""
    try:
        answer = json.loads(body)
        lines = [f"{answer['error']['message']} {answer['error'].get('details', '')}".strip()]
        lines += _faulty_inputs(answer)
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:500] or "no reason given"
    return "\n".join(lines)

"""The websocket part of the example client against RFC 6455: the frames of its section 5.7, and what it forbids."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import threading
import time

import pytest
from websocket_client import ConnectionBroken, WebSocket

HELLO = bytes.fromhex("81 05 48 65 6c 6c 6f")
PARTS = (bytes.fromhex("01 03 48 65 6c"), bytes.fromhex("80 02 6c 6f"))
PING = bytes.fromhex("89 05 48 65 6c 6c 6f")
GOODBYE = b"\x88\x0a\x03\xe9restarts"  # 1001, going away
ACCEPT = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n"
)


class Peer:
    """A server for one connection: answers the request by `head`, sends `frames`, and keeps what the client sends."""

    def __init__(self, frames: bytes, head: str = ACCEPT, chunk: int | None = None, silence: float = 0) -> None:
        self.frames, self.head, self.chunk, self.silence = frames, head, chunk, silence
        self.request = b""
        self.received = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}/a/ws?clientId=x"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        # A client that leaves at once resets the connection.
        with connection, self._listener, contextlib.suppress(ConnectionError):
            while b"\r\n\r\n" not in self.request:
                self.request += connection.recv(4096)
            (key,) = (line[19:] for line in self.request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key: "))
            digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            answer = self.head.format(base64.b64encode(digest).decode()).encode() + self.frames
            size = self.chunk or len(answer)
            for start in range(0, len(answer), size):
                connection.sendall(answer[start : start + size])
            time.sleep(self.silence)
            connection.sendall(HELLO if self.silence else b"")
            while data := connection.recv(4096):
                self.received += data

    def wait(self) -> list[tuple[int, bytes]]:
        """The client's frames, opcode and payload without its mask, once it has closed the connection."""
        self._thread.join(10)
        assert not self._thread.is_alive(), "the client left the connection open"
        found, data = [], self.received
        while data:
            assert data[0] & 0xF0 == 0x80, "whole frames without extensions"
            assert data[1] & 0x80, "a client masks its frames"
            size, mask, rest = data[1] & 0x7F, data[2:6], data[6:]
            found.append((data[0] & 0x0F, bytes(b ^ mask[i % 4] for i, b in enumerate(rest[:size]))))
            data = rest[size:]
        return found


def frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    return bytes((first, 126)) + size.to_bytes(2, "big") + payload if size < 65536 else (
        bytes((first, 127)) + size.to_bytes(8, "big") + payload
    )  # fmt: skip


def test_the_request_is_that_of_the_standard() -> None:
    peer = Peer(HELLO)
    with WebSocket(peer.url) as messages:
        assert messages.receive() == "Hello"
    assert peer.wait() == [(8, b"\x03\xe8")], "a goodbye with code 1000"
    line, *fields = peer.request.decode().removesuffix("\r\n\r\n").split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    assert line == "GET /a/ws?clientId=x HTTP/1.1"
    assert headers["Host"] == peer.url.split("/")[2]
    assert (headers["Upgrade"], headers["Connection"], headers["Sec-WebSocket-Version"]) == (
        "websocket",
        "Upgrade",
        "13",
    )
    assert len(base64.b64decode(headers["Sec-WebSocket-Key"])) == 16


def test_the_keys_of_two_connections_differ() -> None:
    requests = set()
    for _ in range(2):
        peer = Peer(b"")
        WebSocket(peer.url).close()
        peer.wait()
        requests.add(peer.request.split(b"Key: ")[1][:24])
    assert len(requests) == 2


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_text_binary_and_parts_arrive_whole(chunk: int | None) -> None:
    """However the network cuts them."""
    frames = HELLO + b"".join(PARTS) + frame(0x82, b"\x00\xff") + frame(0x81, "größer".encode()) + frame(0x81, b"")
    peer = Peer(frames, chunk=chunk)
    with WebSocket(peer.url) as messages:
        assert [messages.receive() for _ in range(5)] == ["Hello", "Hello", b"\x00\xff", "größer", ""]


@pytest.mark.parametrize("size", [125, 126, 65535, 65536, 3_000_000])
def test_every_form_of_a_length(size: int) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    peer = Peer(frame(0x82, payload) + HELLO)
    with WebSocket(peer.url) as messages:
        assert messages.receive() == payload
        assert messages.receive() == "Hello"


def test_a_long_silence_is_no_error() -> None:
    with WebSocket(Peer(b"", silence=1.2).url) as messages:
        assert messages.receive() == "Hello"


def test_a_character_may_be_cut_between_two_parts() -> None:
    text = "ß".encode()
    peer = Peer(frame(0x01, text[:1]) + frame(0x80, text[1:]))
    with WebSocket(peer.url) as messages:
        assert messages.receive() == "ß"


def test_a_ping_is_answered_even_between_the_parts_of_a_message() -> None:
    peer = Peer(PARTS[0] + PING + frame(0x8A, b"unasked pong") + PARTS[1])
    with WebSocket(peer.url) as messages:
        assert messages.receive() == "Hello"
    assert peer.wait() == [(10, b"Hello"), (8, b"\x03\xe8")]


@pytest.mark.parametrize(
    ("frames", "words", "code"),
    [
        (GOODBYE, r"closed the connection \(1001: restarts\)", 1001),
        (frame(0x88, b""), r"closed the connection \(1000\)", 1000),
        (PARTS[1], "a message began inside another, or went on without a beginning", 1002),
        (PARTS[0] + HELLO, "a message began inside another", 1002),
        (b"\xc1\x01a", "unknown frame 0xc1", 1002),
        (b"\x83\x01a", "unknown frame 0x83", 1002),
        (b"\x81\x81\x00\x00\x00\x00a", "a server's frames have no mask", 1002),
        (b"\x09\x01a", "a control frame is short and whole", 1002),
        (frame(0x89, bytes(126)), "a control frame is short and whole", 1002),
        (frame(0x81, b"\xff"), "a text message is not UTF-8", 1007),
    ],
)
def test_what_ends_the_connection_is_told_to_both_sides(frames: bytes, words: str, code: int) -> None:
    peer = Peer(frames)
    with WebSocket(peer.url) as messages, pytest.raises(ConnectionBroken, match=words):
        messages.receive()
    assert peer.wait() == [(8, code.to_bytes(2, "big"))], "one goodbye with this code"


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answered 'HTTP/1.1 404 Not Found' and not 101"),
        (ACCEPT.replace("{}", "wrong"), "not that of a websocket server"),
        (ACCEPT.replace("Upgrade: WebSocket\r\n", ""), "not that of a websocket server"),
        ("x" * 100_000, "no HTTP head"),
    ],
)
def test_a_server_that_speaks_no_websocket_is_an_error(head: str, words: str) -> None:
    with pytest.raises(ConnectionBroken, match=words):
        WebSocket(Peer(b"", head).url)


def test_a_server_that_hangs_up_is_an_error() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: listener.accept()[0].close())
    thread.start()
    with listener, pytest.raises(OSError):
        WebSocket(f"ws://127.0.0.1:{listener.getsockname()[1]}/")
    thread.join()


@pytest.mark.parametrize("url", ["http://127.0.0.1/ws", "ws:///ws", "127.0.0.1:8188"])
def test_another_kind_of_address_is_refused(url: str) -> None:
    with pytest.raises(ConnectionBroken, match="is not the address of a websocket"):
        WebSocket(url)

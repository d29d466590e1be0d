"""A receiving websocket client in the standard library: RFC 6455 without extensions."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socket
import ssl
import struct
from urllib.parse import urlsplit

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
NORMAL, PROTOCOL_ERROR, NOT_UTF8 = 1000, 1002, 1007
# Of RFC 6455, section 1.3: shows that the answer comes from a websocket server.
MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONNECT_SECONDS = 10.0
# Receiving wakes up this often, as Ctrl-C does not end a waiting recv on Windows.
WAKE_SECONDS = 0.5
LONGEST_HEAD = 65536


class ConnectionBroken(ConnectionError):
    """The server refused the connection, closed it, or sent what the protocol forbids."""


class WebSocket:
    """`with WebSocket("ws://127.0.0.1:8188/ws") as messages:` connects; `receive` then returns one message a call.

    Raises OSError where the server does not answer, ConnectionBroken, one of its kind, where it speaks no websocket.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ConnectionBroken(f"{url} is not the address of a websocket; it begins with ws:// or wss://.")
        secure = parts.scheme == "wss"
        port = parts.port or (443 if secure else 80)
        self._received = bytearray()
        self._socket = socket.create_connection((parts.hostname, port), CONNECT_SECONDS)
        try:
            # A server that is gone without a word shows as an error after some minutes, and not never.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if secure:
                self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=parts.hostname)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            self._shake_hands(parts.netloc.rpartition("@")[2], target)
            self._socket.settimeout(WAKE_SECONDS)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def receive(self) -> str | bytes:
        """Wait for the next message and return it whole; a text message is str. Pings are answered on the way."""
        kind, parts = CONTINUATION, []
        while True:
            last, opcode, payload = self._read_frame()
            if opcode == PING:
                self._write_frame(PONG, payload)
            elif opcode == CLOSE:
                self._end(payload)
            elif opcode != PONG:
                if (opcode == CONTINUATION) == (kind == CONTINUATION):
                    raise self._failure("a message began inside another, or went on without a beginning")
                kind = opcode or kind
                parts.append(payload)
                if last:
                    return self._decode(b"".join(parts)) if kind == TEXT else b"".join(parts)

    def close(self, code: int = NORMAL) -> None:
        """Say goodbye and close the connection; harmless where it is closed already."""
        with contextlib.suppress(OSError):
            self._write_frame(CLOSE, struct.pack(">H", code))
        self._socket.close()

    def _shake_hands(self, host: str, target: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            f"GET {target} HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        )
        self._socket.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii"))
        while b"\r\n\r\n" not in self._received:
            if len(self._received) > LONGEST_HEAD:
                raise ConnectionBroken("the server's answer is no HTTP head")
            self._fill()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        status, *fields = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in fields)}
        digest = hashlib.sha1((key + MAGIC).encode(), usedforsecurity=False).digest()
        accept = base64.b64encode(digest).decode()
        if status.split(" ")[1:2] != ["101"]:
            raise ConnectionBroken(f"the server answered {status!r} and not 101")
        if headers.get("upgrade", "").lower() != "websocket" or headers.get("sec-websocket-accept") != accept:
            raise ConnectionBroken("the server's answer is not that of a websocket server")

    def _read_frame(self) -> tuple[bool, int, bytes]:
        first, second = self._read(2)
        opcode, length = first & 0x0F, second & 0x7F
        if first & 0x70 or opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise self._failure(f"unknown frame {first:#04x}")
        if second & 0x80:
            raise self._failure("a server's frames have no mask")
        if opcode >= CLOSE and (length > 125 or not first & 0x80):
            raise self._failure("a control frame is short and whole")
        if length == 126:
            (length,) = struct.unpack(">H", self._read(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self._read(8))
        return bool(first & 0x80), opcode, self._read(length)

    def _write_frame(self, opcode: int, payload: bytes) -> None:
        # Only control frames are written, and those hold 125 bytes at most. A client's frames are masked.
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self._socket.sendall(struct.pack(">BB", 0x80 | opcode, 0x80 | len(payload)) + mask + masked)

    def _read(self, count: int) -> bytes:
        while len(self._received) < count:
            with contextlib.suppress(TimeoutError):
                self._fill()
        data = bytes(self._received[:count])
        del self._received[:count]
        return data

    def _fill(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionBroken("the server closed the connection without a word")
        self._received += data

    def _decode(self, payload: bytes) -> str:
        try:
            return payload.decode()
        except UnicodeDecodeError as error:
            raise self._failure("a text message is not UTF-8", NOT_UTF8) from error

    def _end(self, payload: bytes) -> None:
        code = int(struct.unpack(">H", payload[:2])[0]) if len(payload) > 1 else NORMAL
        self.close(code)
        reason = payload[2:].decode(errors="replace")
        raise ConnectionBroken(f"the server closed the connection ({code}{f': {reason}' if reason else ''})")

    def _failure(self, reason: str, code: int = PROTOCOL_ERROR) -> ConnectionBroken:
        self.close(code)
        return ConnectionBroken(f"the server broke the websocket protocol: {reason}")

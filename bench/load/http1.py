"""As much of HTTP/1.1 as the peer's load needs: requests over a kept connection, and a stream of events."""

import socket
from collections.abc import Callable
from contextlib import suppress

READ_BYTES = 1 << 18
OnAnswer = Callable[[int, bytes], None]
"""Is told the status and the body."""


def request(method: str, path: str, token: str = "", body: bytes = b"") -> bytes:
    """Write a request."""
    lines = [f"{method} {path} HTTP/1.1", "host: peer", f"content-length: {len(body)}"]
    if body:
        lines.append("content-type: application/json")
    if token:
        lines.append(f"authorization: Bearer {token}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class HttpConnection:
    """One connection to an HTTP server, one request at a time.

    Args:
        address: host:port.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(0)  # never wait
        self._out = bytearray()
        self._in = bytearray()
        self._on_answer: OnAnswer | None = None
        self._on_data: Callable[[bytes], None] | None = None
        self._streams = False

    def fileno(self) -> int:
        """Return the socket, for a selector."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def ask(self, raw: bytes, on_answer: OnAnswer) -> None:
        """Send a request; it goes out with `flush`."""
        self._out += raw
        self._on_answer = on_answer

    def follow(self, raw: bytes, on_answer: OnAnswer, on_data: Callable[[bytes], None]) -> None:
        """Ask for a stream of events.

        Args:
            raw: The request.
            on_answer: Is told of the status, when that is not 200 with the body.
            on_data: Is given whole events, several at once, with the marks of chunks between them.
        """
        self.ask(raw, on_answer)
        self._on_data = on_data

    def flush(self) -> bool:
        """Send what can be sent now; return whether something is left."""
        with suppress(BlockingIOError):
            while self._out:
                del self._out[: self._socket.send(self._out)]
        return bool(self._out)

    def receive(self) -> None:
        """Read once and take what came. Raises ConnectionError when the server left."""
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionError("the server closed the connection")
        self._in += data
        if not self._streams:
            self._take_answer()
        if self._streams:
            self._take_events()
        self.flush()

    def _take_answer(self) -> None:
        head, found, _ = self._in.partition(b"\r\n\r\n")
        if not found or self._on_answer is None:
            return
        status = int(head[9:12])
        if status == 200 and self._on_data is not None:
            del self._in[: len(head) + 4]
            self._streams = True
            self._on_answer(status, b"")
            return
        end = len(head) + 4 + _content_length(bytes(head))
        if len(self._in) >= end:
            body = bytes(self._in[len(head) + 4 : end])
            del self._in[:end]
            self._on_answer(status, body)

    def _take_events(self) -> None:
        end = self._in.rfind(b"\n\n") + 2
        if end > 1 and self._on_data is not None:
            events = bytes(self._in[:end])
            del self._in[:end]
            self._on_data(events)


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    return 0

"""As much of gRPC over HTTP/2 (RFC 9113) as load needs: calls and streams over one connection, without TLS.

A client of grpc.aio takes nearly as much CPU as the server of an echo, and on a small machine that is in the way of
what is measured. This one takes a third: it counts instead of decoding.
"""

import socket
from collections.abc import Callable
from contextlib import suppress

from bench.load.hpack import RequestHeaders, describe, has_status, is_ok

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_WINDOW = 65_535
WIDE_WINDOW = (1 << 31) - 1
LARGEST_FRAME = 16_384
READ_BYTES = 1 << 18

OnMessage = Callable[[bytes], None]
OnEnd = Callable[[str], None]
"""Is told why the call failed; nothing when it succeeded."""


def _ignore(_: bytes) -> None:
    return


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _setting(name: int, value: int) -> bytes:
    return name.to_bytes(2) + value.to_bytes(4)


class Call:
    """A call under way.

    Attributes:
        done: Whether it has ended.
    """

    __slots__ = ("_received", "closing", "done", "on_end", "on_message", "pending", "stream", "window")

    def __init__(self, stream: int, window: int, on_message: OnMessage, on_end: OnEnd) -> None:
        self.stream = stream
        self.window = window
        self.pending = bytearray()
        self.closing = False
        self.done = False
        self.on_message = on_message
        self.on_end = on_end
        self._received = bytearray()

    def take(self, data: memoryview) -> None:
        """Take what came for the call; pass whole messages on."""
        received = self._received
        received += data
        while len(received) >= 5:
            end = 5 + int.from_bytes(received[1:5])
            if len(received) < end:
                return
            message = bytes(received[5:end])
            del received[:end]
            self.on_message(message)


class Connection:
    """One connection to one method of a gRPC server.

    Args:
        address: host:port.
        path: `/package.Service/Method`.
        token: Bearer token; empty for none.
        wide: Take as much as comes. Otherwise the server may send 64 KiB until `receive` has taken them.
    """

    def __init__(self, address: str, path: str, token: str = "", *, wide: bool = True) -> None:
        self._headers = RequestHeaders(path, address, token)
        self._calls: dict[int, Call] = {}
        self._next_stream = 1
        self._out = bytearray(PREFACE)
        self._in = bytearray()
        self._block = b""
        self._buffer = bytearray(READ_BYTES)
        self._window = self._stream_window = DEFAULT_WINDOW
        self._wide = wide
        self._taken = 0
        settings = _setting(HEADER_TABLE_SIZE, 0)
        if wide:
            settings += _setting(INITIAL_WINDOW_SIZE, WIDE_WINDOW)
        self._out += _frame(SETTINGS, 0, 0, settings)
        if wide:
            self._out += _frame(WINDOW_UPDATE, 0, 0, (WIDE_WINDOW - DEFAULT_WINDOW).to_bytes(4))
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(0)  # never wait

    def fileno(self) -> int:
        """Return the socket, for a selector."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection; calls under way are not told."""
        self._socket.close()

    def call(self, message: bytes, on_end: OnEnd, on_message: OnMessage = _ignore, *, more: bool = False) -> Call:
        """Start a call; it goes out with the next `flush`.

        Args:
            message: The request, or the first of them.
            on_end: Called at the end.
            on_message: Called with every answer.
            more: More requests will follow, by `send`.
        """
        call = Call(self._next_stream, self._stream_window, on_message, on_end)
        self._next_stream += 2
        self._calls[call.stream] = call
        self._out += _frame(HEADERS, END_HEADERS, call.stream, self._headers.block())
        self.send(call, message, last=not more)
        return call

    def send(self, call: Call, message: bytes, *, last: bool = False) -> None:
        """Send a request; it goes out with `flush`, and as fast as the server takes it."""
        call.pending += b"\0" + len(message).to_bytes(4) + message
        call.closing = last
        self._pump(call)

    def _pump(self, call: Call) -> None:
        while call.pending:
            size = min(len(call.pending), call.window, self._window, LARGEST_FRAME)
            if size <= 0:
                return
            ends = call.closing and size == len(call.pending)
            self._out += _frame(DATA, END_STREAM if ends else 0, call.stream, bytes(call.pending[:size]))
            del call.pending[:size]
            call.window -= size
            self._window -= size

    def flush(self) -> bool:
        """Send what can be sent now; return whether something is left."""
        out = self._out
        with suppress(BlockingIOError):
            while out:
                del out[: self._socket.send(out)]
        return bool(out)

    def receive(self) -> None:
        """Read once and take what came; answers that are due go out. Raises ConnectionError when the server left."""
        try:
            size = self._socket.recv_into(self._buffer)
        except BlockingIOError:
            return
        if not size:
            raise ConnectionError("the server closed the connection")
        self._in += memoryview(self._buffer)[:size]
        self._take_frames()
        if self._taken > WIDE_WINDOW // 4:
            self._out += _frame(WINDOW_UPDATE, 0, 0, self._taken.to_bytes(4))
            self._taken = 0
        self.flush()

    def _take_frames(self) -> None:
        received, place = self._in, 0
        with memoryview(received) as view:
            while len(received) - place >= 9:
                end = place + 9 + int.from_bytes(view[place : place + 3])
                if end > len(received):
                    break
                stream = int.from_bytes(view[place + 5 : place + 9]) & WIDE_WINDOW
                with view[place + 9 : end] as payload:
                    self._take_frame(received[place + 3], received[place + 4], stream, payload)
                place = end
        del received[:place]

    def _take_frame(self, kind: int, flags: int, stream: int, payload: memoryview) -> None:
        call = self._calls.get(stream)
        if kind == DATA:
            self._take_data(call, payload, ends=bool(flags & END_STREAM))
        elif kind in {HEADERS, CONTINUATION}:
            self._take_headers(call, kind, flags, bytes(payload))
        elif kind == SETTINGS and not flags & ACK:
            self._take_settings(bytes(payload))
        elif kind == PING and not flags & ACK:
            self._out += _frame(PING, ACK, 0, bytes(payload))
        elif kind == WINDOW_UPDATE:
            self._take_window(stream, int.from_bytes(payload))
        elif kind == RST_STREAM:
            self._end(call, f"the server reset the call with error {int.from_bytes(payload)}")
        elif kind == GOAWAY:
            for under_way in list(self._calls.values()):
                self._end(under_way, "the server ended the connection (GOAWAY)")

    def _take_data(self, call: Call | None, payload: memoryview, *, ends: bool) -> None:
        self._taken += len(payload) if self._wide else 0
        if call is not None:
            call.take(payload)
        if ends:
            self._end(call, "the server ended the call without a status")

    def _take_headers(self, call: Call | None, kind: int, flags: int, block: bytes) -> None:
        assert not flags & (PADDED | PRIORITY) or kind == CONTINUATION, "gRPC pads nothing and gives no priorities"
        self._block += block
        if not flags & END_HEADERS:
            return
        block, self._block = self._block, b""
        if has_status(block):
            self._end(call, "" if is_ok(block) else describe(block))

    def _take_settings(self, payload: bytes) -> None:
        for start in range(0, len(payload), 6):
            if int.from_bytes(payload[start : start + 2]) == INITIAL_WINDOW_SIZE:
                size = int.from_bytes(payload[start + 2 : start + 6])
                for call in self._calls.values():
                    call.window += size - self._stream_window
                self._stream_window = size
        self._out += _frame(SETTINGS, ACK, 0)
        self._pump_all()

    def _take_window(self, stream: int, more: int) -> None:
        if not stream:
            self._window += more
            self._pump_all()
        elif stream in self._calls:
            self._calls[stream].window += more
            self._pump(self._calls[stream])

    def _pump_all(self) -> None:
        for call in self._calls.values():
            if call.pending:
                self._pump(call)

    def _end(self, call: Call | None, problem: str) -> None:
        if call is None or call.done:
            return
        del self._calls[call.stream]
        call.done = True
        call.on_end(problem)

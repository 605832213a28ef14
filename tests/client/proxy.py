"""A TCP proxy in the test's process, whose connections can be cut, frozen and slowed down."""

import socket
import threading
import time
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Self


class Proxy:
    """Passes bytes on to a server until it is told otherwise.

    With several servers it is a load balancer: each connection goes to the next one that listens.

    Attributes:
        address: host:port to connect to.
        connections: How many were made.
    """

    def __init__(self, *targets: str) -> None:
        self._targets = deque((host, int(port)) for host, _, port in (target.rpartition(":") for target in targets))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._refusing = False
        self._flowing = threading.Event()
        self._flowing.set()
        self._delay = 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Reset every connection, in the middle of whatever they carry."""
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        """Cut, and let nobody in any more."""
        self._refusing = True
        self.cut()

    def admit(self) -> None:
        """Let callers in again."""
        self._refusing = False

    def freeze(self) -> None:
        """Pass nothing on any more, and let everyone wait: connections stay, as those of a server that hangs."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Pass on again, beginning with what came meanwhile."""
        self._flowing.set()

    def delay(self, seconds: float) -> None:
        """Let each piece wait that long from now on."""
        self._delay = seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self.thaw()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                near.close()
                continue
            self.connections += 1
            far = self._connect()
            if far is None:
                near.close()
                continue
            with self._lock:
                self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _connect(self) -> socket.socket | None:
        for target in list(self._targets):
            self._targets.rotate(-1)
            with suppress(OSError):
                return socket.create_connection(target)
        return None

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(64 * 1024):
                self._flowing.wait()
                if self._delay:
                    time.sleep(self._delay)
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open.discard(source)
        source.close()

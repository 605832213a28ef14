"""Many connections in one thread."""

import selectors
import time
from collections.abc import Callable
from typing import Protocol


class Wire(Protocol):
    """A connection."""

    def fileno(self) -> int:
        """Return its socket."""

    def receive(self) -> None:
        """Take what came."""

    def flush(self) -> bool:
        """Send what can be sent; return whether something is left."""

    def close(self) -> None:
        """Close it."""


class Loop:
    """Receives and sends on all connections that were added."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wires: list[Wire] = []

    def add(self, wire: Wire) -> None:
        """Add a connection, and send what it has to send."""
        self._wires.append(wire)
        self._selector.register(wire, selectors.EVENT_READ, wire)
        self.send(wire)

    def ignore(self, wire: Wire) -> None:
        """Read nothing more from a connection, which stays open."""
        self._selector.unregister(wire)

    def send(self, wire: Wire) -> None:
        """Send what a connection has to send, the rest when there is room again."""
        left = wire.flush()
        self._selector.modify(wire, selectors.EVENT_READ | (selectors.EVENT_WRITE if left else 0), wire)

    def run(self, until: Callable[[], bool], deadline: float) -> bool:
        """Run until something holds, or it is so late by the monotonic clock; return whether it holds."""
        while not until():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.turn(min(left, 0.1))
        return True

    def turn(self, timeout: float) -> None:
        """Wait for something to happen, at most that many seconds, and deal with it."""
        for key, events in self._selector.select(max(timeout, 0)):
            wire: Wire = key.data
            if events & selectors.EVENT_READ:
                wire.receive()
            if events & selectors.EVENT_WRITE:
                self.send(wire)
            elif wire.flush():
                self._selector.modify(wire, selectors.EVENT_READ | selectors.EVENT_WRITE, wire)

    def close(self) -> None:
        """Close all connections."""
        for wire in self._wires:
            wire.close()
        self._selector.close()

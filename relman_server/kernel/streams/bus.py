"""Wake-ups: "something is new under this topic".

They carry no data and may be lost; who sleeps also looks by itself.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Protocol


class Bus(Protocol):
    """Passes wake-ups from writers to those who follow."""

    def publish(self, topic: str) -> None:
        """Wake everyone who listens to the topic. From any thread; never blocks, never raises."""

    def listen(self, *topics: str) -> AbstractContextManager[asyncio.Event]:
        """Return a context whose event is set at every wake-up of any of the topics; the one who waits clears it."""


class LocalBus:
    """The bus within one process: enough when it is the only one."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._topics: dict[str, set[asyncio.Event]] = {}

    def publish(self, topic: str) -> None:
        """Wake everyone who listens to the topic. From any thread."""
        if topic not in self._topics:  # a look at a dict needs no lock; a listener who comes now reads afterwards
            return
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._wake, topic)

    @contextmanager
    def listen(self, *topics: str) -> Iterator[asyncio.Event]:
        """Receive wake-ups of any of the topics while the block runs."""
        event = asyncio.Event()
        for topic in topics:
            self._topics.setdefault(topic, set()).add(event)
        try:
            yield event
        finally:
            for topic in topics:
                listeners = self._topics[topic]
                listeners.discard(event)
                if not listeners:
                    del self._topics[topic]

    def _wake(self, topic: str) -> None:
        for event in self._topics.get(topic, ()):
            event.set()

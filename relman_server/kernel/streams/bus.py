"""Wake-ups: "something is new under this topic".

They carry no data and may be lost; who sleeps also looks by itself.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Protocol


class Bus(Protocol):
    """Passes wake-ups from writers to those who follow."""

    def publish(self, topic: str, *, here: bool = True) -> None:
        """Wake everyone who listens to the topic. From any thread; never blocks, never raises.

        Args:
            topic: What something is new under.
            here: Also those of this process; not when they have been told already, and what.
        """

    def subscribe(self, topic: str, callback: Callable[[], None]) -> AbstractContextManager[None]:
        """Return a context in which every wake-up of the topic calls back, in the event loop; it must be quick."""

    def listen(self, *topics: str) -> AbstractContextManager[asyncio.Event]:
        """Return a context whose event is set at every wake-up of any of the topics; the one who waits clears it."""


class LocalBus:
    """The bus within one process: enough when it is the only one."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._topics: dict[str, dict[object, Callable[[], None]]] = {}

    def publish(self, topic: str, *, here: bool = True) -> None:
        """Wake everyone who listens to the topic. From any thread."""
        # A look at a dict needs no lock; a listener who comes now reads afterwards.
        if not here or topic not in self._topics:
            return
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._wake, topic)

    @contextmanager
    def subscribe(self, topic: str, callback: Callable[[], None]) -> Iterator[None]:
        """Call back at wake-ups of the topic while the block runs."""
        subscription = object()
        self._topics.setdefault(topic, {})[subscription] = callback
        try:
            yield
        finally:
            subscribers = self._topics[topic]
            del subscribers[subscription]
            if not subscribers:
                del self._topics[topic]

    @contextmanager
    def listen(self, *topics: str) -> Iterator[asyncio.Event]:
        """Receive wake-ups of any of the topics while the block runs."""
        event = asyncio.Event()
        with ExitStack() as subscriptions:
            for topic in topics:
                subscriptions.enter_context(self.subscribe(topic, event.set))
            yield event

    def _wake(self, topic: str) -> None:
        for callback in list(self._topics.get(topic, {}).values()):
            callback()

"""The bus between processes: wake-ups go to the others by whatever passes short texts on.

What is published while the last texts are under way is sent together, each topic once. A process hears its own texts,
too: it passes over them, and knows by them that the bus works. When it hears none for a while the connection is dead,
though nothing says so, and another one is made. Meanwhile wake-ups are lost, which costs those who follow no more than
the time until they look by themselves.
"""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import structlog

from relman_server.kernel.streams.bus import LocalBus

BEAT = 2.0
"""Seconds after which a process sends itself a sign of life."""
SILENCE = 5.0
"""Seconds without one after which the connection is given up."""
AN_END = 0.5
"""Seconds that what waits for a connection has to notice that it is broken off."""
AT_ONCE = 500
"""Texts sent in one go."""
LONGEST_PAUSE = 5.0
"""Seconds between attempts to connect, at most."""

log = structlog.get_logger(__name__)


class Link(Protocol):
    """A connection that passes texts on to every process that has one, this one included."""

    async def send(self, texts: Sequence[str]) -> None:
        """Send texts; raises whatever the connection's library does when it is broken."""

    def texts(self) -> AsyncIterator[str]:
        """Return what arrives, until the connection breaks."""

    def break_off(self) -> None:
        """Let what waits for the other side, which may be dead, fail now."""


class Transport(Protocol):
    """A way to connect."""

    name: str

    def connect(self) -> AbstractAsyncContextManager[Link]:
        """Return a context with a connection."""


class RemoteBus(LocalBus):
    """Wakes those who listen in this process at once, and those of other processes by a transport.

    Args:
        transport: Connects to the other processes.
        on_change: Told 1 when it is connected, and 0 when it is so no more.
    """

    def __init__(self, transport: Transport, on_change: Callable[[int], None] = lambda _: None) -> None:
        super().__init__()
        self._transport = transport
        self._on_change = on_change
        self._me = secrets.token_hex(4)
        self._topics_to_send: set[str] = set()
        self._kick = asyncio.Event()
        self._heard_at = 0.0
        self._is_broken = False

    def publish(self, topic: str, *, here: bool = True) -> None:
        """Wake everyone who listens to the topic, in every process. From any thread; never blocks, never raises."""
        super().publish(topic, here=here)
        if not self._is_broken:  # else the others look by themselves, and what is kept for them would only grow
            self._topics_to_send.add(topic)
            self.call_soon(self._kick.set)

    async def keep_connected(self) -> None:
        """Pass wake-ups on, for as long as the server runs."""
        failures = 0
        while True:
            try:
                async with self._transport.connect() as link:
                    await self._work(link, self._connected)
            except Exception as error:  # noqa: BLE001 - of whatever library; the next attempt is all there is to do
                failures = 0 if self._heard_at else failures + 1
                self._broken(error)
            await asyncio.sleep(random.uniform(0.5, 1.0) * min(0.1 * 2**failures, LONGEST_PAUSE))  # noqa: S311 - jitter

    async def _work(self, link: Link, connected: Callable[[], None]) -> None:
        self._heard_at = 0.0
        began = time.monotonic()
        tasks = [asyncio.ensure_future(work) for work in (self._hear(link, connected), self._send(link))]
        try:
            while True:
                done, _ = await asyncio.wait(tasks, timeout=BEAT, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                    raise ConnectionError("the connection ended")
                if time.monotonic() - max(self._heard_at, began) > SILENCE:
                    raise TimeoutError("nothing arrives any more")
                self._kick.set()
        finally:
            link.break_off()
            await asyncio.wait(tasks, timeout=AN_END)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, link: Link) -> None:
        """Send what is to be sent; with nothing to say, a sign of life."""
        while True:
            topics, self._topics_to_send = self._topics_to_send, set()
            texts = [f"{self._me} {topic}" for topic in sorted(topics)] or [f"{self._me} "]
            for begin in range(0, len(texts), AT_ONCE):
                await link.send(texts[begin : begin + AT_ONCE])
            self._kick.clear()
            if not self._topics_to_send:
                await self._kick.wait()

    async def _hear(self, link: Link, connected: Callable[[], None]) -> None:
        async for text in link.texts():
            sender, _, topic = text.partition(" ")
            if sender != self._me:
                self._wake(topic)
            elif not self._heard_at:
                self._heard_at = time.monotonic()
                connected()
            else:
                self._heard_at = time.monotonic()

    def _connected(self) -> None:
        """What was published while there was no connection has been missed: everyone looks once."""
        if self._is_broken:
            log.info("connected to the bus again", bus=self._transport.name)
        self._is_broken = False
        self._on_change(1)
        for topic in list(self._topics):
            self._wake(topic)

    def _broken(self, error: Exception) -> None:
        self._on_change(0)
        if not self._is_broken:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            log.warning(
                "not connected to the bus; what other processes do is seen by polling",
                bus=self._transport.name,
                error=reason,
            )
        self._is_broken = True

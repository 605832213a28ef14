"""Running a command: its output as it comes, signals passed on, its exit status."""

import fcntl
import os
import selectors
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from relman_client.log_lines import MAX_LINE_BYTES

STDOUT, STDERR = 1, 2
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# How long to go on reading when the command has ended, but something it started still holds its output open.
_LINGER = 2.0
GRACE = 10.0
"""Seconds that a command has to end when it is told to, before it is killed."""


class CannotStartError(Exception):
    """The command could not be started; `status` is what a shell would exit with."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Reins:
    """What holds one command: signals for it, from any thread, also before it runs.

    Handlers of signals call it, so it takes no lock.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._waiting: deque[int] = deque()
        self._killed_at: float | None = None

    @property
    def is_slack(self) -> bool:
        """Whether the command was started and has ended, though what it printed may still be on its way."""
        return self._child is not None and self._child.poll() is not None

    def send(self, number: int) -> None:
        """Send a signal to the command's group; one that comes before it runs, as soon as it does."""
        self._waiting.append(number)
        self._deliver()

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it: by this signal, and by SIGKILL if something of its group is still there 10 seconds later."""
        if self._killed_at is None:
            self._killed_at = time.monotonic() + GRACE
            killer = threading.Timer(GRACE, self._kill)
            killer.daemon = True
            killer.start()
        self.send(number)

    def take(self, child: subprocess.Popen[bytes]) -> None:
        """Hold this command from now on."""
        self._child = child
        self._deliver()

    def let_go(self) -> None:
        """Its first process has ended. When it was told to end, wait for the rest of its group."""
        while self._killed_at is not None and self._child is not None and _group_is_there(self._child):
            if time.monotonic() > self._killed_at:
                self._kill()
                break
            time.sleep(0.05)
        self._child = None

    def _deliver(self) -> None:
        child = self._child
        while child is not None and self._waiting:
            with suppress(IndexError):  # another thread was quicker
                number = self._waiting.popleft()
                if child.returncode is None:
                    _signal_group(child, number)

    def _kill(self) -> None:
        if self._child is not None:
            _signal_group(self._child, signal.SIGKILL)


def run(
    command: Sequence[str],
    on_data: Callable[[int, bytes], None],
    reins: Reins,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run a command to its end; answers its exit status, 128 + the signal when one ended it.

    It gets a process group of its own, so that signals reach it by its reins alone. KeyboardInterrupt ends the reading
    of what it leaves behind. Standard input is passed on unless it is a terminal: the command is then not in the
    foreground and must not wait for someone to type.

    Args:
        command: Program and arguments.
        on_data: Called with 1 or 2 and what came from that stream, in order of arrival.
        reins: Who holds them may signal and end it.
        environment: Of the command; unset: the same as here.

    Raises:
        CannotStartError: There is no such command (127), or it cannot be executed (126).
    """
    try:
        child = subprocess.Popen(  # noqa: S603 - what the caller asked for, without a shell
            command,
            stdin=subprocess.DEVNULL if sys.stdin is None or sys.stdin.isatty() else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            process_group=0,
            env=environment,
        )
    except FileNotFoundError as error:
        raise CannotStartError(f"command not found: {error.filename or command[0]}", 127) from error
    except OSError as error:
        raise CannotStartError(f"cannot execute {command[0]}: {error.strerror}", 126) from error
    with child:
        reins.take(child)
        with suppress(KeyboardInterrupt):
            _read(child, on_data)
        while (code := child.poll()) is None:  # it closed its output and goes on; Python heeds signals in between
            time.sleep(0.05)
        reins.let_go()
    return code if code >= 0 else 128 - code


def _read(child: subprocess.Popen[bytes], on_data: Callable[[int, bytes], None]) -> None:
    with selectors.DefaultSelector() as selector:
        for number, pipe in ((STDOUT, child.stdout), (STDERR, child.stderr)):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, number)
        left: dict[int, int] | None = None  # by pipe, how much of what was there at the command's end is to be read
        ended_at = 0.0
        while selector.get_map():
            ready = selector.select(0.1)
            if left is None and child.poll() is not None:
                left = {key.fd: _waiting_in(key.fd) for key in selector.get_map().values()}
                ended_at = time.monotonic()
            for key, _ in ready:
                data = os.read(key.fd, 64 * 1024)
                if not data:
                    selector.unregister(key.fileobj)
                    continue
                on_data(key.data, data)
                if left is not None:
                    left[key.fd] -= len(data)
            if left is not None and time.monotonic() - ended_at > _LINGER and max(left.values()) <= 0:
                return


def _waiting_in(pipe: int) -> int:
    """How many bytes can be read at once."""
    (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return int(count)


@contextmanager
def heeding(signals_to: Callable[[int], None]) -> Iterator[None]:
    """While it lasts, signals that would end this process go there instead."""

    def handle(number: int, _frame: FrameType | None) -> None:
        signals_to(number)

    heeded = [number for number in _PASSED_ON if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores some
    before = {number: signal.signal(number, handle) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signal_group(child: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it has just ended, or became someone else
        os.killpg(child.pid, number)


def _group_is_there(child: subprocess.Popen[bytes]) -> bool:
    try:
        os.killpg(child.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


class Lines:
    """Cuts a stream of bytes into lines; one of more than 64 KiB is cut between characters."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete now, without their ends."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > MAX_LINE_BYTES:
            end = MAX_LINE_BYTES
            while end > MAX_LINE_BYTES - 4 and self._rest[end] & 0xC0 == 0x80:  # in the middle of a character
                end -= 1
            lines.append(self._rest[:end])
            self._rest = self._rest[end:]
        return lines

    def end(self) -> list[bytes]:
        """What is left at the end of the stream."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []

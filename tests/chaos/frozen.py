"""A follower in a process of its own, to be stopped where it is: its connections stay, and nothing answers."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

GONE = 30.0
"""Seconds within which a server gives up one who does not answer."""
COMMAND = "from relman_client.cli.main import main; main()"
LOOK_EVERY = 0.1


@contextmanager
def following(address: str, token: str, deployment: str) -> Iterator[psutil.Process]:
    """Follow a log with `relman logs -f` while the block runs; it has got a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "logs", deployment, "-f"],
        env=os.environ | {"RELMAN_SERVER": address, "RELMAN_TOKEN": token},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def freeze(follower: psutil.Process, server: psutil.Process) -> float:
    """Freeze a follower; return after how many seconds the server has no connection to it any more, or gave it up."""
    ports = {one.laddr.port for one in follower.net_connections("tcp")}
    follower.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    while time.monotonic() - began <= 2 * GONE:
        remote = {getattr(one.raddr, "port", None) for one in server.net_connections("tcp")}  # () when it listens
        if not remote & ports:
            break
        await asyncio.sleep(LOOK_EVERY)
    return time.monotonic() - began

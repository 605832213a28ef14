"""How many places the allocator of a server has."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")

SCRIPT = """
import ctypes, threading
from relman_server.kernel.allocator import use_few_arenas

use_few_arenas()
libc = ctypes.CDLL(None)
everyone = threading.Barrier(6)

def allocate():
    everyone.wait()
    libc.malloc(1000)  # a thread's first finds it a place
    everyone.wait()

threads = [threading.Thread(target=allocate) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.fdopen.restype = ctypes.c_void_p
stream = libc.fdopen(1, b"w")
libc.malloc_info(0, ctypes.c_void_p(stream))
libc.fflush(ctypes.c_void_p(stream))
"""


def _places(**environment: str) -> int:
    clean = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=clean | environment, capture_output=True, check=True)
    return done.stdout.count(b"<heap nr=")


def test_all_threads_allocate_in_two_places() -> None:
    assert _places() == 2


@pytest.mark.parametrize("said", [{"MALLOC_ARENA_MAX": "5"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=5"}])
def test_who_runs_the_server_decides(said: dict[str, str]) -> None:
    assert _places(**said) == 5

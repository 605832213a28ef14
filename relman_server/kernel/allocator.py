"""The C library's allocator, told that this is a program of many threads of which one runs at a time."""

import ctypes
import os
from contextlib import suppress

M_ARENA_MAX = -8
"""Of glibc's malloc.h."""
ARENAS = 2


def use_few_arenas() -> None:
    """Let glibc allocate for all threads in two places, rather than in eight for each processor.

    Each place has its own free memory that no other can use: what one thread takes and another gives back, as gRPC's
    and ours do, leaves more of it the longer the server runs. Threads wait for each other there only while they
    allocate, and most of them hold the interpreter's lock then anyway.

    To be called before there are threads. Who has said how many there are to be, by MALLOC_ARENA_MAX or GLIBC_TUNABLES,
    has decided. Other C libraries have nothing of the kind.
    """
    if "MALLOC_ARENA_MAX" in os.environ or "malloc.arena_max" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)

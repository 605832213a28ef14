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
    and ours do, leaves more of it the longer the server runs. The interpreter's lock keeps threads from waiting for
    each other there. Whoever has set MALLOC_ARENA_MAX has decided; other C libraries have nothing of the kind.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)

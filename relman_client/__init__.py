"""Client of relman, a release manager over gRPC.

`Client` is the synchronous client. `LogWriter`, `Tail`, `Download`, `Watch` and `Feed` keep streams going over broken
connections, and `LeaseKeeper` a lease. `relman_client.aio` has the same for asyncio; `relman_client.v1` holds the
generated messages and stubs of the contract in proto/relman/v1.
Nothing is imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relman_client.channel import ClientOptions
    from relman_client.client import Client
    from relman_client.credentials import Credentials, Login, StaticToken, Tokens, TokenStore
    from relman_client.errors import (
        ClientClosedError,
        CursorUnknownError,
        LinesLostError,
        LogFinishedError,
        LogQuotaError,
        RelmanError,
        SequenceConflictError,
        SequenceGapError,
        Violation,
        WriterFencedError,
    )
    from relman_client.leases import LeaseKeeper
    from relman_client.logs import LogWriter, WriterOptions
    from relman_client.paging import aeach, each, each_page
    from relman_client.resume import ResumeOptions
    from relman_client.retries import RetryOptions
    from relman_client.tail import Download, Tail
    from relman_client.watch import Feed, Watch

__all__ = [
    "Client",
    "ClientClosedError",
    "ClientOptions",
    "Credentials",
    "CursorUnknownError",
    "Download",
    "Feed",
    "LeaseKeeper",
    "LinesLostError",
    "LogFinishedError",
    "LogQuotaError",
    "LogWriter",
    "Login",
    "RelmanError",
    "ResumeOptions",
    "RetryOptions",
    "SequenceConflictError",
    "SequenceGapError",
    "StaticToken",
    "Tail",
    "TokenStore",
    "Tokens",
    "Violation",
    "Watch",
    "WriterFencedError",
    "WriterOptions",
    "aeach",
    "each",
    "each_page",
]

_MODULES = {
    "channel": ["ClientOptions"],
    "client": ["Client"],
    "credentials": ["Credentials", "Login", "StaticToken", "TokenStore", "Tokens"],
    "errors": [
        "ClientClosedError",
        "CursorUnknownError",
        "LinesLostError",
        "LogFinishedError",
        "LogQuotaError",
        "RelmanError",
        "SequenceConflictError",
        "SequenceGapError",
        "Violation",
        "WriterFencedError",
    ],
    "leases": ["LeaseKeeper"],
    "logs": ["LogWriter", "WriterOptions"],
    "paging": ["aeach", "each", "each_page"],
    "resume": ["ResumeOptions"],
    "retries": ["RetryOptions"],
    "tail": ["Download", "Tail"],
    "watch": ["Feed", "Watch"],
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:  # a module's attributes are of any type
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)

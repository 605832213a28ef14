"""First step: give the call a correlation id, and note where it comes from."""

import re
from typing import Any
from urllib.parse import unquote

from relman_server.kernel.identity import Call
from relman_server.kernel.ids import new_id
from relman_server.kernel.rpc.chain import Context, Proceed

HEADER = "x-request-id"
_ACCEPTED = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}\Z")


class RequestId:
    """Takes the caller's x-request-id, or makes one, and sends it back with the answer."""

    async def __call__(self, call: Call, request: Any, context: Context, proceed: Proceed) -> Any:
        """Fill in `request_id`, `address` and `user_agent`."""
        metadata = metadata_of(context)
        sent = metadata.get(HEADER, "")
        call.request_id = sent if _ACCEPTED.match(sent) else str(new_id())
        call.user_agent = metadata.get("user-agent", "")[:300]
        call.address = _address(context.peer())
        context.set_trailing_metadata(((HEADER, call.request_id),))
        return await proceed(call, request, context)


def metadata_of(context: Context) -> dict[str, str]:
    """Return the textual metadata of a call; of repeated keys the first."""
    found: dict[str, str] = {}
    for key, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            found.setdefault(key, value)
    return found


def _address(peer: str) -> str:
    """Return the address of "ipv4:127.0.0.1:5000", "ipv6:%5B::1%5D:5000" or "unix:/path"."""
    kind, _, rest = peer.partition(":")
    if kind not in {"ipv4", "ipv6"}:
        return kind
    return unquote(rest).rpartition(":")[0].strip("[]")

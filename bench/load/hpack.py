"""Headers of HTTP/2 (RFC 7541): what is sent is the same for every call, and of what comes only the status matters."""

_STATUS = b"grpc-status"
_MESSAGE = b"grpc-message"
_OK = bytes((len(_STATUS),)) + _STATUS + b"\x010"
_FIRST_DYNAMIC = 62


class RequestHeaders:
    """The headers of every call on one connection, as any client sends them: in full first, by index from then on.

    Args:
        path: Of the method.
        authority: The server's address.
        token: Bearer token; empty for none.
    """

    def __init__(self, path: str, authority: str, token: str) -> None:
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": authority,
            "te": "trailers",
            "content-type": "application/grpc",
            "user-agent": "relman-bench",
        }
        if token:
            fields["authorization"] = f"Bearer {token}"
        # 0x40: literal with incremental indexing, so the receiver keeps the field; the newest one has index 62.
        self._in_full = b"".join(b"\x40" + _string(name) + _string(value) for name, value in fields.items())
        self._by_index = bytes(0x80 | _FIRST_DYNAMIC + index for index in reversed(range(len(fields))))
        self._sent = False

    def block(self) -> bytes:
        """Return the header block of the next call."""
        if self._sent:
            return self._by_index
        self._sent = True
        return self._in_full


def _string(text: str) -> bytes:
    raw = text.encode()
    if len(raw) < 127:
        return bytes((len(raw),)) + raw
    length, rest = b"\x7f", len(raw) - 127
    while rest >= 128:
        length += bytes((rest % 128 + 128,))
        rest //= 128
    return length + bytes((rest,)) + raw


def is_ok(block: bytes) -> bool:
    """Return whether a header block says that the call succeeded.

    The server was told to keep no table (SETTINGS_HEADER_TABLE_SIZE 0), so the field is there in full or not at all.
    """
    return _OK in block


def has_status(block: bytes) -> bool:
    """Return whether a header block is the last of its call."""
    return _STATUS in block


def describe(block: bytes) -> str:
    """Return what a header block says of how a call failed, for a person."""
    return f"status {_value(block, _STATUS)} {_value(block, _MESSAGE)}".rstrip()


def _value(block: bytes, name: bytes) -> str:
    _, found, rest = block.partition(name)
    if not found or not rest:
        return ""
    return rest[1 : 1 + rest[0] % 128].decode(errors="replace")

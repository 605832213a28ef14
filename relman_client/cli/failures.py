"""Errors as a person reads them: one sentence, then every field that is wrong on a line of its own."""

from relman_client.cli.config import ConfigError
from relman_client.cli.text import safe
from relman_client.errors import RelmanError

_LOGIN_REASONS = {
    "TOKEN_MISSING": "you are not logged in",
    "TOKEN_EXPIRED": "your login has expired",
    "TOKEN_REVOKED": "your login has been ended",
    "TOKEN_INVALID": "the server does not accept your token",
}


class CommandError(Exception):
    """What the command itself has to say: one sentence, and what to do about it on lines of its own."""


def describe(error: Exception) -> str | None:
    """Lines for standard error; None for what nobody foresaw."""
    if isinstance(error, RelmanError):
        return _relman(error)
    if isinstance(error, CommandError | ConfigError):
        return "Error: " + "".join(f"{safe(line)}\n" for line in str(error).splitlines() or [""])
    if isinstance(error, UnicodeEncodeError):
        return f"Error: {safe(repr(error.object))} is not UTF-8 text\n"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"Error: {safe(where)}{error.strerror or error}\n"
    return None


def sentence(error: RelmanError) -> str:
    """The error in one sentence."""
    if error.is_unreachable:
        return f"cannot reach relman at {error.address}: {_why(error.message)}"
    if error.reason in _LOGIN_REASONS:
        return f"{_LOGIN_REASONS[error.reason]}: run `relman login`, or set RELMAN_TOKEN"
    if error.reason == "INTERNAL":
        return f"the server failed unexpectedly; its log has more under {error.metadata.get('correlation_id', '?')}"
    if error.code.name == "UNIMPLEMENTED":
        return "this server does not offer that yet"
    if not error.reason and error.code.name == "DEADLINE_EXCEEDED":
        return f"relman at {error.address} did not answer in time"
    return safe(error.message) or error.code.name


def _relman(error: RelmanError) -> str:
    first = "the request is wrong:" if error.reason == "INVALID_INPUT" else sentence(error)
    lines = [f"{safe(v.field)}: {safe(v.description)}" for v in error.violations if v.description != error.message]
    return "\n  ".join([f"Error: {first}", *lines]) + "\n"


def _why(message: str) -> str:
    """The telling part of what gRPC says of a connection that failed."""
    for part in ("Connection refused", "Connection reset by peer", "No route to host", "Network is unreachable"):
        if part in message:
            return part.lower()
    if "DNS resolution failed" in message or "Domain name not found" in message:
        return "there is no such host"
    if "SSL" in message or "handshake" in message.lower() or "certificate" in message.lower():
        return "the TLS handshake failed (--ca-file names an authority to trust, --plaintext does without TLS)"
    if "Timeout" in message or "timed out" in message:
        return "it does not answer"
    return safe(message)

"""When a call may be repeated, and how long to wait in between."""

import random
from dataclasses import dataclass
from functools import cache

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message import Message

from relman_client.errors import RelmanError
from relman_client.v1 import options_pb2

# These need no request_id: repeating them has one effect by what they are.
_REPEATABLE = frozenset({"AppendLogs", "HeartbeatDeployment", "RefreshToken"})

# Seconds at most between a stream's attempts at a server that is not there: they burden nobody, since the channel
# connects at a pace of its own, and whoever asks that often goes on soon after the server is back.
_ABSENT = 1.0


@dataclass(frozen=True)
class RetryOptions:
    """How often and how fast to repeat."""

    attempts: int = 5
    """Calls in all, the first one included; 1 means never repeat."""
    initial_delay: float = 0.1
    """Seconds before the first repetition; each further one waits twice as long, up to `max_delay`."""
    max_delay: float = 3.0
    """Streams wait 1 second at most for a server that does not answer at all."""


class Backoff:
    """Growing delays with jitter, so that many clients do not return in step."""

    def __init__(self, options: RetryOptions | None = None) -> None:
        self._options = options or RetryOptions()
        self.failures = 0

    def next(self, error: RelmanError | None = None, *, is_absent: bool = False) -> float:
        """Seconds to wait after one more failure; never less than the server asked for, and not in step either then.

        Args:
            error: How it failed.
            is_absent: Nobody answered at all.
        """
        longest = min(self._options.max_delay, _ABSENT) if is_absent else self._options.max_delay
        delay = min(self._options.initial_delay * 2.0 ** min(self.failures, 30), longest)
        self.failures += 1
        delay *= random.uniform(0.5, 1.0)  # noqa: S311 - spreads load; nothing secret
        asked = error.retry_after if error else None
        return delay if asked is None else asked + delay

    def reset(self) -> None:
        """Begin anew after a success."""
        self.failures = 0


@dataclass(frozen=True)
class MethodTraits:
    """What the contract says of an RPC."""

    is_repeatable: bool
    """Repeating it has no further effect, also without a request_id."""
    takes_token: bool


@cache
def traits_of(path: str) -> MethodTraits:
    """Look an RPC up in the contract by its path, `/relman.v1.ReleaseService/CreateRelease`."""
    name = path.strip("/").replace("/", ".")
    try:
        method = descriptor_pool.Default().FindMethodByName(name)
    except KeyError:  # not relman's: health, reflection
        return MethodTraits(is_repeatable=True, takes_token=True)
    policy = method.GetOptions().Extensions[options_pb2.policy]
    in_auth = method.containing_service.name == "AuthService"
    is_repeatable = not policy.audit or method.name in _REPEATABLE
    return MethodTraits(is_repeatable=is_repeatable, takes_token=not (policy.public and in_auth))


def may_repeat(path: str, request: Message, error: RelmanError) -> bool:
    """Whether repeating a failed call can neither harm nor be known to fail again.

    UNAVAILABLE leaves open whether a mutation happened; with a request_id the server gives the first answer again.
    A server that is overloaded refuses before it begins.
    """
    if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return error.reason == "OVERLOADED"
    if error.code is not grpc.StatusCode.UNAVAILABLE:
        return False
    return traits_of(path).is_repeatable or bool(getattr(request, "request_id", ""))

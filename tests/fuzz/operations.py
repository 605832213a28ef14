"""Operations: who sends what to which RPC, and how. Each is a matter of the seed, its number and the world alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

from tests.contract import Rpc
from tests.fuzz.messages import Messages, sterile
from tests.fuzz.world import World

DEADLINE = 20.0
"""Seconds within which every call has to end."""

CONTENTS = {
    "sound": 22,
    "likely": 18,
    "spoiled": 25,
    "outlandish": 9,
    "damaged": 12,
    "forged": 7,
    "foreign": 3,
    "noise": 3,
    "huge": 1,
}
CALLERS = {"admin": 55, "maintainer": 8, "member": 12, "auditor": 4, "outsider": 7, "nobody": 6, "garbage": 8}

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True)
class Operation:
    """One call.

    Attributes:
        number: Its place in the run.
        rpc: What is called.
        content: How the requests were made.
        caller: Role of the caller.
        requests: What is sent; several in streams only.
        metadata: What is sent with them.
        deadline: Seconds that the caller gives.
        leaves_after: Seconds after which the caller cancels; None to wait for the end.
        stays: Whether the caller leaves its side of a stream open until then.
    """

    number: int
    rpc: Rpc
    content: str
    caller: str
    requests: tuple[bytes, ...]
    metadata: Metadata
    deadline: float = DEADLINE
    leaves_after: float | None = None
    stays: bool = False

    @property
    def is_bulky(self) -> bool:
        """Whether gRPC itself may refuse it."""
        longest = max((len(request) for request in self.requests), default=0)
        return longest > 3 << 20 or sum(len(key) + len(value) for key, value in self.metadata) > 6000


def correlation_id(number: int) -> str:
    """Return the x-request-id of an operation, unless it has an odd one."""
    return f"operation-{number}"


def compose(seed: int, number: int, rpcs: Sequence[Rpc], world: World) -> Operation:
    """Return the operation of this number."""
    rng = Random(f"{seed}:{number}")
    rpc, other = rng.choice(rpcs), rng.choice(rpcs)
    content = rng.choices(list(CONTENTS), list(CONTENTS.values()))[0]
    caller = rng.choices(list(CALLERS), list(CALLERS.values()))[0]
    messages = Messages(rng, world)
    if rpc.method.client_streaming:
        requests = _stream(rng, messages, rpc, content, other)
    else:
        requests = (_content(messages, rpc, content, other),)
    metadata = (*_credentials(rng, caller, world.tokens), *_more(rng, number))
    follows = rpc.method.client_streaming or rpc.method.server_streaming
    patient = rng.random() < 0.96
    return Operation(
        number,
        rpc,
        content,
        caller,
        requests,
        metadata,
        deadline=DEADLINE if patient or follows else rng.choice((0.001, 0.005, 0.02)),
        leaves_after=rng.choice((0.01, 0.05, 0.3)) if follows else None if patient else rng.uniform(0, 0.02),
        stays=rng.random() < 0.3,
    )


def _content(messages: Messages, rpc: Rpc, content: str, other: Rpc) -> bytes:
    ways: dict[str, Any] = {
        "damaged": lambda: messages.damaged(rpc, other),
        "foreign": lambda: messages.foreign(other),
        "forged": lambda: messages.forged(rpc),
        "huge": lambda: messages.huge(rpc),
        "noise": messages.noise,
    }
    if content in ways:
        data: bytes = ways[content]()
        return data
    request: Any = getattr(messages, content)(rpc)
    serialized: bytes = request.SerializeToString()
    return serialized


def _stream(rng: Random, messages: Messages, rpc: Rpc, content: str, other: Rpc) -> tuple[bytes, ...]:
    """Return the requests of a stream: in their order, or not; all sound, or one that is not among them."""
    requests = [sterile(request) for request in messages.conversation(rpc)]
    order = rng.random()
    if order < 0.15:
        rng.shuffle(requests)
    elif order < 0.25:
        requests = requests[1:]
    elif order < 0.35:
        requests *= 2
    if content not in {"sound", "likely"}:
        requests.insert(rng.randint(0, len(requests)), _content(messages, rpc, content, other))
    return tuple(requests[: rng.choice((0, 1, 9, 9, 9, 9))])


def _credentials(rng: Random, caller: str, tokens: dict[str, str]) -> Metadata:
    if caller == "nobody":
        return ()
    if caller != "garbage":
        return (("authorization", f"Bearer {tokens[caller]}"),)
    token = tokens["admin"]
    place = rng.randrange(len(token))
    odd = (
        "",
        "Bearer",
        "Bearer ",
        "Basic YWRtaW46YWRtaW4=",
        f"Bearer {token[:place]}",
        f"Bearer {token[:place]}{rng.choice('aZ0-_.')}{token[place + 1 :]}",
        f"Bearer {token}.{token}",
        f"bearer  {token} ",
        token,
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
        "Bearer eyJhbGciOiJIUzI1NiJ9." + "A" * rng.choice((10, 4100)) + ".x",
        "Bearer ..",
        f"Bearer {'[' * 2000}",
        f"Bearer {UUID(int=rng.getrandbits(128))}",
    )
    headers = [("authorization", rng.choice(odd)) for _ in range(rng.choice((1, 1, 2)))]
    return (*headers, ("authorization-bin", rng.randbytes(20))) if rng.random() < 0.1 else tuple(headers)


def _more(rng: Random, number: int) -> Metadata:
    """Return the rest of the metadata: mostly a correlation id, sometimes what a broken proxy would add."""
    if rng.random() < 0.9:
        return (("x-request-id", correlation_id(number)),)
    odd: tuple[tuple[str, str | bytes], ...] = (
        ("x-request-id", ""),
        ("x-request-id", 'a b"c'),
        ("x-request-id", "x" * rng.choice((128, 129, 5000))),
        ("x-request-id", "../../etc"),
        ("x-request-id-bin", rng.randbytes(30)),
        ("traceparent", f"00-{rng.getrandbits(128):032x}-{rng.getrandbits(64):016x}-01"),
        ("traceparent", "ff-" + "0" * 70),
        ("traceparent", "00--"),
        ("tracestate", "a=" * 200),
        ("x-forwarded-for", "127.0.0.1, ;drop"),
        ("grpc-previous-rpc-attempts", "-1"),
        ("cookie", "x" * rng.choice((100, 7000, 20_000))),
        ("grpc-trace-bin", rng.randbytes(29)),
    )
    return tuple(rng.choice(odd) for _ in range(rng.randint(1, 3)))

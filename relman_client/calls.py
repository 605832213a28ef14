"""What happens around every call of a client: token, request_id, deadline, repetition, errors."""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from relman_client import retries
from relman_client.channel import ClientOptions
from relman_client.credentials import Credentials, Tokens
from relman_client.errors import ClientClosedError, RelmanError, from_rpc_error

Request = TypeVar("Request", bound=Message)
Metadata = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True)
class CallContext:
    """What all calls of one client share."""

    address: str
    current: Callable[[], Credentials | None]
    """The credentials now: a login changes them."""
    options: ClientOptions
    exchange: Callable[[str], Tokens]
    """Turns a refresh token into new tokens."""

    def token_for(self, path: str) -> str:
        """The access token to send; none to the RPCs that hand them out."""
        credentials = self.current()
        if credentials is None or not retries.traits_of(path).takes_token:
            return ""
        return credentials.access_token

    def refreshed(self, token: str, error: RelmanError) -> bool:
        """Get another access token when this one was rejected as expired."""
        credentials = self.current()
        if error.reason != "TOKEN_EXPIRED" or credentials is None or not token:
            return False
        try:
            return credentials.refresh(token, self.exchange)
        except RelmanError as failure:
            if failure.code is grpc.StatusCode.UNAUTHENTICATED:
                return False  # the refresh token is of no use either: the first error says it best
            raise


def with_token(metadata: Metadata | None, token: str) -> Metadata | None:
    """Add the token, unless the caller brought one."""
    if not token or any(key == "authorization" for key, _ in metadata or ()):
        return metadata
    return [*(metadata or ()), ("authorization", f"Bearer {token}")]


def with_request_id(path: str, request: Request) -> Request:
    """Give a mutation an id of its own, so that repeating it has one effect. The caller's message stays as it is."""
    takes_none = getattr(request, "request_id", None) != ""  # there is no such field, or it is set
    if takes_none or retries.traits_of(path).is_repeatable:
        return request
    copy = type(request)()
    copy.CopyFrom(request)
    copy.request_id = str(uuid.uuid4())  # type: ignore[attr-defined]
    return copy


class Attempts:
    """Decides after each failure of one unary call whether to try again."""

    def __init__(self, context: CallContext, path: str, request: Message, timeout: float | None) -> None:
        self._context = context
        self._path = path
        self._request = request
        self._deadline = time.monotonic() + (context.options.timeout if timeout is None else timeout)
        self._backoff = retries.Backoff(context.options.retries)
        self._refreshed = False

    @property
    def remaining(self) -> float:
        """Seconds left for the call."""
        return max(self._deadline - time.monotonic(), 0.0)

    def may_refresh(self) -> bool:
        """Once for each call."""
        first, self._refreshed = not self._refreshed, True
        return first

    def delay(self, error: RelmanError) -> float:
        """Seconds to wait before the next attempt; raises the error when there should be none."""
        spent = self._backoff.failures + 1 >= self._context.options.retries.attempts
        if spent or not retries.may_repeat(self._path, self._request, error):
            raise error
        delay = self._backoff.next(error)
        if delay >= self.remaining:
            raise error
        return delay


class UnaryCall:
    """Stands in for grpc's callable of a unary RPC."""

    def __init__(self, raw: Any, path: str, context: CallContext) -> None:  # Any: grpc's own class is abstract
        self._raw = raw
        self._path = path
        self._context = context

    def __call__(
        self, request: Message, timeout: float | None = None, metadata: Metadata | None = None, **options: Any
    ) -> Any:
        """Call and wait. Raises RelmanError."""
        return self.with_call(request, timeout, metadata, **options)[0]

    def with_call(
        self, request: Message, timeout: float | None = None, metadata: Metadata | None = None, **options: Any
    ) -> tuple[Any, grpc.Call]:
        """Call and wait; answers what grpc knows of the call as well. Raises RelmanError."""
        request = with_request_id(self._path, request)
        attempts = Attempts(self._context, self._path, request, timeout)
        while True:
            token = self._context.token_for(self._path)
            sent = with_token(metadata, token)
            try:
                result: tuple[Any, grpc.Call] = self._raw.with_call(
                    request, timeout=attempts.remaining, metadata=sent, **options
                )
            except grpc.RpcError as rpc_error:
                error = from_rpc_error(rpc_error, self._context.address)
                if attempts.may_refresh() and self._context.refreshed(token, error):
                    continue
                delay = attempts.delay(error)
            else:
                return result
            time.sleep(delay)


class StreamCall:
    """Stands in for grpc's callable of an RPC that answers a stream."""

    def __init__(self, raw: Any, path: str, context: CallContext) -> None:  # Any: as above
        self._raw = raw
        self._path = path
        self._context = context

    def __call__(self, request: Any, timeout: float | None = None, metadata: Metadata | None = None) -> "Responses":
        """Open the stream: a message, or an iterator of messages where the RPC takes a stream."""
        token = self._context.token_for(self._path)
        try:
            call = self._raw(request, timeout=timeout, metadata=with_token(metadata, token))
        except ValueError as error:
            raise ClientClosedError(self._context.address) from error
        return Responses(call, token, self._context)


class Responses(Iterator[Any]):
    """The answers of a stream. It is not resumed when it breaks: see `Tail`, `Watch` and `LogWriter`."""

    def __init__(self, call: Any, token: str, context: CallContext) -> None:  # Any: grpc has no type for it
        self._call = call
        self._token = token
        self._context = context

    def __next__(self) -> Any:
        try:
            return next(self._call)
        except grpc.RpcError as rpc_error:
            error = from_rpc_error(rpc_error, self._context.address)
            error.token_was_refreshed = self._context.refreshed(self._token, error)
            raise error from rpc_error

    def cancel(self) -> None:
        """End the stream; whoever waits for an answer gets a RelmanError CANCELLED."""
        self._call.cancel()


class WrappedChannel:
    """What the generated stubs are given: they ask it for one callable for each RPC."""

    def __init__(self, channel: grpc.Channel, context: CallContext) -> None:
        self._channel = channel
        self._context = context

    def unary_unary(self, path: str, **how: Any) -> UnaryCall:
        """A callable for a unary RPC."""
        return UnaryCall(self._channel.unary_unary(path, **how), path, self._context)

    def unary_stream(self, path: str, **how: Any) -> StreamCall:
        """A callable for an RPC that answers a stream."""
        return StreamCall(self._channel.unary_stream(path, **how), path, self._context)

    def stream_stream(self, path: str, **how: Any) -> StreamCall:
        """A callable for an RPC that takes and answers streams."""
        return StreamCall(self._channel.stream_stream(path, **how), path, self._context)

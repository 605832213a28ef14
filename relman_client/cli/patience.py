"""Calls that are worth waiting for: those that would leave a deployment half done."""

import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message

from relman_client.errors import RelmanError
from relman_client.retries import Backoff

Answer = TypeVar("Answer")


def patiently(call: Callable[[Any], Answer], request: Message, deadline: float) -> Answer:
    """Make a call, and again while it may still succeed and there is time.

    It is the same request every time, so that it has one effect.

    Args:
        call: The RPC.
        request: Gets a request_id when it takes one.
        deadline: When to give up, by the monotonic clock.

    Raises:
        RelmanError: It was refused, or there is no time left.
    """
    if getattr(request, "request_id", None) == "":
        request.request_id = str(uuid.uuid4())  # type: ignore[attr-defined]
    backoff = Backoff()
    while True:
        try:
            return call(request)
        except RelmanError as error:
            delay = backoff.next(error)
            if not error.is_passing or time.monotonic() + delay > deadline:
                raise
        time.sleep(delay)

"""What is noted while a run goes on: answers that leave open what happened, and what must not be."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import grpc

from relman_client import RelmanError

T = TypeVar("T")
REST = 0.1


@dataclass
class Notes:
    """Notes of a run.

    Attributes:
        indeterminate: Answers after which only a repetition tells whether something happened, and how often.
        faults: What must not be, beside what the histories say.
    """

    indeterminate: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    async def persist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until there is an answer that says what happened; raises the RelmanError when that is a refusal."""
        while True:
            try:
                return await call()
            except RelmanError as error:
                if not (error.is_passing or error.code is grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                self.indeterminate[f"{error.code.name} {error.reason}".strip()] += 1
            await asyncio.sleep(REST)

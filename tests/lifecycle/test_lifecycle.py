"""Random lives of deployments, each step compared with a small model: where they differ, one of them is wrong.

A failure prints the steps that led to it. `make model` takes many more, and looks for the fewest steps.
"""

import asyncio
import os
import time
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.factories import RunningServer
from tests.lifecycle.rollbacks import Lifecycle
from tests.lifecycle.world import StandingClock, World

EXAMPLES = int(os.environ.get("RELMAN_MODEL_EXAMPLES", "0"))  # 0: a few, always the same
STEPS = int(os.environ.get("RELMAN_MODEL_STEPS", "30"))
MINUTES = float(os.environ.get("RELMAN_MODEL_MINUTES", "10"))
FEW, BATCH = 3, 25

# A machine that never gets anywhere proves nothing.
MUST_HAPPEN = (
    "deployment.create",
    "deployment.approve",
    "deployment.start",
    "stage.complete",
    "deployment.complete",
    "rollback.create",
)


def _live(server: RunningServer, clock: StandingClock, loop: asyncio.AbstractEventLoop, taken: Counter[str]) -> None:
    until = time.monotonic() + MINUTES * 60
    left = EXAMPLES or FEW
    while left > 0 and time.monotonic() < until:
        run_state_machine_as_test(
            lambda: Lifecycle(World(server, clock, loop), taken),  # type: ignore[arg-type] # as good as a class
            settings=settings(
                max_examples=min(left, BATCH),
                stateful_step_count=STEPS,
                derandomize=not EXAMPLES,
                deadline=None,
                database=None,
                report_multiple_bugs=False,
                phases=(Phase.generate, Phase.shrink) if EXAMPLES else (Phase.generate,),  # shrinking takes minutes
                suppress_health_check=list(HealthCheck),
            ),
        )
        left -= BATCH


@pytest.mark.timeout(MINUTES * 60 + 600 if EXAMPLES else 120)
async def test_the_server_does_what_the_model_does(
    standing_server: RunningServer, standing_clock: StandingClock
) -> None:
    taken: Counter[str] = Counter()
    try:
        await asyncio.to_thread(_live, standing_server, standing_clock, asyncio.get_running_loop(), taken)
    finally:
        print(*(f"{count:7} {name}" for name, count in sorted(taken.items())), sep="\n")  # noqa: T201 - for `make model`
    for name in MUST_HAPPEN:
        assert taken[name], taken

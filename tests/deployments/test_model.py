"""Hundreds of random steps, each compared with a small model: what one allows and the other refuses is a fault.

A failure names the seed and the step; the same seed takes the same steps.
"""

import pytest

from tests.conftest import MovableClock
from tests.deployments.driver import Driver
from tests.factories import RunningServer

STEPS = 250


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_server_does_what_the_model_does(own_server: RunningServer, clock: MovableClock, seed: int) -> None:
    driver = Driver(own_server, clock, seed)
    await driver.prepare()
    for number in range(STEPS):
        try:
            await driver.step()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, step {number}: {error}") from error
    await driver.compare()
    # A driver that never gets anywhere proves nothing.
    for name in ("create", "start", "start refused", "succeeded", "failed", "cancelled", "retry", "pass stage"):
        assert driver.taken[name], driver.taken

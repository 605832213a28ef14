"""The tests of this folder share a server, and one more whose clock they move."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.analytics.steps import Delivery
from tests.conftest import MovableClock, empty_database, serving
from tests.factories import RunningServer
from tests.shared import engine_name, own_server, server

__all__ = ["engine_name", "own_server", "server"]

Timed = tuple[RunningServer, MovableClock]


@pytest.fixture(scope="session")
async def timed(
    engine_name: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Timed]:
    """A server whose clock only moves on, and so may be shared."""
    folder: Path = tmp_path_factory.mktemp("timed")
    clock = MovableClock()
    with empty_database(engine_name, request, folder) as url:
        async with serving(url, folder / "data", clock) as running:
            yield running, clock


@pytest.fixture
async def delivery(timed: Timed) -> Delivery:
    """A service and a production environment of the test's own."""
    running, clock = timed
    # Tokens are short-lived, and the tests before let days pass.
    running.admin = await running.user(is_admin=True)
    return await Delivery(running, clock).prepare()

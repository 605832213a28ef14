"""A server whose time stands still until the test moves it, on each engine."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relman_server.kernel import reconciler
from tests.conftest import serving
from tests.factories import RunningServer
from tests.lifecycle.world import StandingClock


@pytest.fixture
def standing_clock() -> StandingClock:
    """The server's clock."""
    return StandingClock()


@pytest.fixture
async def standing_server(
    database_url: str, standing_clock: StandingClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RunningServer]:
    """A server that looks at what is due when it is told to."""
    monkeypatch.setattr(reconciler, "EVERY", 1e9)
    async with serving(database_url, tmp_path / "data", standing_clock) as running:
        yield running

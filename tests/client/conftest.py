"""The client does not care which database is behind the server: one engine is enough, unless a test asks for both."""

import pytest


@pytest.fixture
def engine_name(request: pytest.FixtureRequest) -> str:
    """SQLite; the others by `@pytest.mark.parametrize("engine_name", ENGINES, indirect=True)`."""
    return str(getattr(request, "param", "sqlite"))

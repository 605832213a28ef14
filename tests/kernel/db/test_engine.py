"""What holds for every engine."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select, table

from relman_server.kernel.db.engine import STATEMENTS, read_engine, write_engine


@pytest.mark.parametrize("url", ["sqlite:///relman.db", "postgresql+psycopg://nobody@localhost/relman"])
@pytest.mark.parametrize("make", [write_engine, read_engine])
def test_statements_of_all_kinds_do_not_fill_the_memory(make: Callable[[str, int], Engine], url: str) -> None:
    """Fails without the bound: SQLAlchemy's own is twice as high."""
    engine = make(url, 1)
    cache = engine._compiled_cache
    assert cache is not None
    for number in range(2 * STATEMENTS):
        select(table(f"t{number}"))._compile_w_cache(engine.dialect, compiled_cache=cache, column_keys=[])
    assert STATEMENTS <= len(cache) <= 1.5 * STATEMENTS
    engine.dispose()

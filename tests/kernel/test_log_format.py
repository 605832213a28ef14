"""What libraries may say in the server's log."""

import logging

import pytest


@pytest.mark.parametrize(("library", "level", "said"), [("psycopg", 30, 0), ("psycopg", 40, 1), ("grpc", 30, 1)])
def test_libraries_warn_but_not_of_connections_that_are_reported_lost(
    library: str, level: int, said: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The log is configured for the whole run of tests."""
    logging.getLogger(library).log(level, "error ignored terminating")
    assert len(caplog.records) == said

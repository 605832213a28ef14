"""What holds of the server as a whole."""

import logging

import pytest

from tests.factories import RunningServer

GRPC = logging.getLogger("grpc._cython.cygrpc")


def test_a_caller_who_leaves_while_the_answer_goes_out_is_no_error(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls with deadlines of some milliseconds bring it about once in thousands: too rarely to wait for it here."""
    GRPC.error("ExecuteBatchError raised in core by servicer method [%s]", "/relman.v1.TeamService/ListTeams")
    assert not caplog.records


def test_what_else_grpc_complains_of_is_logged(server: RunningServer, caplog: pytest.LogCaptureFixture) -> None:
    GRPC.error("Unexpected [%s] raised by servicer method [%s]", "ValueError", "/relman.v1.TeamService/ListTeams")
    assert [record.levelname for record in caplog.records] == ["ERROR"]

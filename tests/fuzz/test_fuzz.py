"""A short run on each engine; and that the fuzzer notices what it is there to notice."""

import io
from pathlib import Path

import psutil
import pytest

from tests.contract import RPCS
from tests.factories import RunningServer
from tests.fuzz.calls import LEFT, Answer
from tests.fuzz.operations import CALLERS, CONTENTS, Operation, compose
from tests.fuzz.report import Report
from tests.fuzz.run import Options, fuzz
from tests.fuzz.target import Target, served
from tests.fuzz.values import CANARY
from tests.fuzz.verdict import complaints, faults
from tests.fuzz.world import World

LIST_TEAMS = next(rpc for rpc in RPCS if rpc.name == "TeamService/ListTeams")
OPERATION = Operation(7, LIST_TEAMS, "sound", "admin", (b"",), ())


async def test_nothing_that_callers_send_upsets_the_server(engine_name: str, database_url: str, tmp_path: Path) -> None:
    async with served(engine_name, database_url, tmp_path) as target:
        report = await fuzz(target, Options(seed=22, operations=300))
    assert report.passed, report.text()
    assert report.operations == 300
    assert report.statuses["OK"] > 30, "what is refused at the door finds nothing"


async def _of_lists(server: RunningServer, log: io.StringIO, **more: int) -> Report:
    target = Target("sqlite", server.app, server.address, psutil.Process(), lambda: log.getvalue().splitlines())
    return await fuzz(target, Options(seed=1, operations=15, rpc="TeamService/ListTeams", **more))


async def test_a_handler_that_raises_is_reported_and_can_be_called_again(
    server: RunningServer, server_log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError

    assert (await _of_lists(server, server_log)).passed
    monkeypatch.setattr("relman_server.teams.store.list_teams", broken)
    report = await _of_lists(server, server_log)
    assert not report.passed
    said = {fault.what.partition(" ")[0] for fault in report.faults}
    assert said == {"INTERNAL:", "log:"}, report.text()
    first = next(fault.operation for fault in report.faults if fault.operation)
    assert f"--seed 1 --rpc TeamService/ListTeams --only {first.number}" in report.text()

    again = await _of_lists(server, server_log, only=first.number)
    assert again.operations == 1
    # Not the requests to the letter: ids and page tokens in them are those of the server as it is now.
    assert {_made(fault.operation) for fault in again.faults if fault.operation} == {_made(first)}


def _made(operation: Operation) -> tuple[object, ...]:
    return operation.number, operation.rpc.name, operation.content, operation.caller, len(operation.requests)


async def test_a_server_that_died_is_reported(database_url: str, engine_name: str, tmp_path: Path) -> None:
    async with served(engine_name, database_url, tmp_path) as target:
        target.process.kill()
        report = await fuzz(target, Options(operations=10))
    assert not report.passed
    assert "ended with status -9" in report.text()


def test_an_operation_is_a_matter_of_its_seed_and_number() -> None:
    world = World(tokens=dict.fromkeys(CALLERS, "token"))
    first, again, other = (compose(seed, 7, RPCS, world) for seed in (1, 1, 2))
    assert first == again
    assert first.requests != other.requests


def test_every_rpc_gets_contents_of_every_kind() -> None:
    world = World(tokens=dict.fromkeys(CALLERS, "token"))
    composed = [compose(1, number, RPCS, world) for number in range(5000)]
    assert {operation.rpc.name for operation in composed} == {rpc.name for rpc in RPCS}
    assert {operation.content for operation in composed} == set(CONTENTS)
    assert {operation.caller for operation in composed} == set(CALLERS)


@pytest.mark.parametrize(
    ("memory", "grows"),
    [
        ([120.0 + 2 * number for number in range(60)], True),
        ([120.0, 140.0, 150.0] + [165.0, 170.0] * 20 + [260.0], False),
        ([120.0, 200.0, 400.0], False),
    ],
    ids=["steadily", "until it has warmed up", "in a short run"],
)
def test_a_server_that_grows_and_grows_is_noticed(memory: list[float], grows: bool) -> None:
    assert Report("", memory=memory).grows == grows


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Answer(status="UNKNOWN"), "UNKNOWN"),
        (Answer(status="DEADLINE_EXCEEDED"), "no end"),
        (Answer(seconds=21.0), "no end"),
        (Answer(answers=[b"\xff"]), "no message"),
        (Answer(answers=[b'Traceback (most recent call last):\n  File "x"']), "stay inside"),
        (Answer(trailers=(("grpc-status-details-bin", CANARY.encode()),)), "stay inside"),
    ],
)
def test_an_end_that_must_not_be_is_a_fault(answer: Answer, fault: str) -> None:
    assert fault in " ".join(faults(OPERATION, answer))


@pytest.mark.parametrize("answer", [Answer(answers=[b""]), Answer(status=LEFT), Answer(seconds=19.0)])
def test_an_end_that_may_be_is_none(answer: Answer) -> None:
    assert not list(faults(OPERATION, answer))


CALL = '{"event": "call", "level": "info", "request_id": "operation-1"}'
ERROR = '{"event": "unexpected", "level": "error", "request_id": "operation-2", "exception": "Traceback\\nOops"}'


def test_the_log_is_read_for_errors_for_secrets_and_for_what_libraries_say() -> None:
    assert list(complaints([CALL, ERROR, "Traceback:", "  File ...", "ValueError", CALL, f'{{"x": "{CANARY}"}}'])) == [
        ("log: unexpected  Oops", "operation-2"),
        ("log: Traceback: ... ValueError", ""),
        ("log: a secret in it", ""),
    ]
    assert not list(complaints([CALL]))

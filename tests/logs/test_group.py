"""Group commit: many appends, one transaction; and writers that send more than the disk takes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest
from sqlalchemy import event

from relman_client.v1 import log_pb2 as pb
from relman_client.v1 import team_pb2
from relman_server.app import App
from relman_server.kernel.clock import SystemClock
from relman_server.kernel.db import Transaction
from relman_server.kernel.errors import Aborted, RelmanError, ResourceExhausted
from relman_server.kernel.identity import Identity, current_call
from relman_server.logs import appending, group, lines, logic, writing
from relman_server.logs.appending import Append
from relman_server.logs.inputs import Opening
from relman_server.logs.lines import NumberedLines
from tests.conftest import serving
from tests.factories import RunningServer, make_deployment, make_release, make_service, make_team, refused
from tests.logs.steps import Writer, append, holder, new_log, texts_of

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def _lines(first: int, *texts: str, finish: bool = False) -> NumberedLines:
    return NumberedLines(holder(*(pb.LogEntry(text=text) for text in texts)), first, NOW, finish=finish)


def _identity(server: RunningServer) -> Identity:
    assert server.admin.user_id is not None
    return Identity(server.admin.user_id, "root-admin", 1, SystemClock().now(), is_admin=True)


async def _stream(
    server: RunningServer, deployment: str, name: str = "", caller: Identity | None = None
) -> logic.Stream:
    def open_it(tx: Transaction) -> logic.Stream:
        tx.call.identity = caller or _identity(server)
        return logic.open_stream(tx, Opening(deployment=UUID(deployment), stream_name=name))[0]

    try:
        return await server.app.db.write(open_it)
    finally:
        current_call.get().identity = None


async def _submit(server: RunningServer, *appends: Append) -> list[logic.Progress | BaseException]:
    """Submit all before the first can be committed, so that they make a group; return what became of them."""
    futures = [server.app.group_commit.submit(each) for each in appends]
    return await asyncio.gather(*futures, return_exceptions=True)


async def _texts(server: RunningServer, deployment: str) -> list[str]:
    return texts_of((await server.admin.logs.ListLogs(pb.ListLogsRequest(deployment=deployment))).entries)


@contextmanager
def _written(server: RunningServer) -> Iterator[list[str]]:
    """Collect the statements about logs that are executed for writing while the block runs."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "log_" in statement:
            seen.append(statement)

    event.listen(server.app.db.writes, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(server.app.db.writes, "before_cursor_execute", note)


@pytest.mark.parametrize("count", [1, 12])
async def test_a_group_takes_five_statements_however_many_appends_it_has(
    shared_server: RunningServer, count: int
) -> None:
    """Two to read and lock, an insert, two updates; each of them once for all logs and streams."""
    deployments = [await new_log(shared_server) for _ in range(count)]
    streams = [await _stream(shared_server, each, name) for each in deployments for name in ("a", "b")]
    caller = _identity(shared_server)
    with _written(shared_server) as seen:
        outcomes = await _submit(shared_server, *(Append(stream, _lines(1, "x", "y"), caller) for stream in streams))
    assert outcomes == [logic.Progress(2, finished=False)] * 2 * count
    assert len(seen) == 5, seen
    assert [await _texts(shared_server, each) for each in deployments] == [["x", "y"] * 2] * count


async def test_one_that_is_refused_leaves_the_others_alone(shared_server: RunningServer) -> None:
    deployment, caller = await new_log(shared_server), _identity(shared_server)
    good, bad = await _stream(shared_server, deployment, "good"), await _stream(shared_server, deployment, "bad")
    outcomes = await _submit(
        shared_server,
        Append(good, _lines(1, "a"), caller),
        Append(bad, _lines(5, "lost"), caller),
        Append(good, _lines(2, "b"), caller),
    )
    assert [outcomes[0], outcomes[2]] == [logic.Progress(1, finished=False), logic.Progress(2, finished=False)]
    assert isinstance(outcomes[1], Aborted)
    assert (outcomes[1].reason, outcomes[1].metadata) == ("SEQUENCE_GAP", {"expected_sequence": "1"})
    assert await _texts(shared_server, deployment) == ["a", "b"]


async def test_appends_of_a_stream_see_those_before_them(shared_server: RunningServer) -> None:
    """Repeats and overlaps are of what is not on disk yet."""
    deployment, caller = await new_log(shared_server), _identity(shared_server)
    stream = await _stream(shared_server, deployment)
    outcomes = await _submit(
        shared_server,
        Append(stream, _lines(1, "a", "b"), caller),
        Append(stream, _lines(1, "a", "b"), caller),
        Append(stream, _lines(2, "b", "c"), caller),
        Append(stream, _lines(3, "other"), caller),
        Append(stream, _lines(4, "d", finish=True), caller),
        Append(stream, _lines(5, "late"), caller),
    )
    reached = [outcome.committed_sequence for outcome in outcomes if isinstance(outcome, logic.Progress)]
    refused = [outcome.reason for outcome in outcomes if isinstance(outcome, RelmanError)]
    assert (reached, refused) == ([2, 2, 3, 4], ["SEQUENCE_CONFLICT", "LOG_FINISHED"])
    assert await _texts(shared_server, deployment) == ["a", "b", "c", "d"]


async def test_what_follows_a_refused_append_of_its_writer_is_not_carried_out(shared_server: RunningServer) -> None:
    deployment = await new_log(shared_server)
    await append(shared_server.admin, deployment, "a", "b")
    writer = Writer(shared_server.admin, deployment=deployment)
    writer.append(2, "other")
    writer.append(3, "c")
    assert await writer.answer() == (2, False)
    assert (await refused(writer.call.read())).reason == "SEQUENCE_CONFLICT"
    assert await _texts(shared_server, deployment) == ["a", "b"]


async def test_a_fault_of_ours_hits_the_append_that_it_is_about(
    shared_server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, caller = await new_log(shared_server), _identity(shared_server)
    good, bad = await _stream(shared_server, deployment, "good"), await _stream(shared_server, deployment, "bad")
    rows = appending._rows

    def broken(deployment: UUID, log: Any) -> list[dict[str, Any]]:
        if any(written.row.id == bad.id for written, _ in log.new):
            raise ZeroDivisionError
        return rows(deployment, log)

    monkeypatch.setattr(appending, "_rows", broken)
    outcomes = await _submit(shared_server, Append(bad, _lines(1, "x"), caller), Append(good, _lines(1, "a"), caller))
    assert isinstance(outcomes[0], ZeroDivisionError)
    assert outcomes[1] == logic.Progress(1, finished=False)
    assert await _texts(shared_server, deployment) == ["a"]


async def test_who_is_removed_from_the_team_writes_no_more(shared_server: RunningServer) -> None:
    admin = shared_server.admin
    team = await make_team(admin)
    member = await shared_server.user()
    who = {"team": team.name, "user": member.username}
    await admin.teams.AddTeamMember(team_pb2.AddTeamMemberRequest(**who, role=team_pb2.TEAM_ROLE_MEMBER))
    service = await make_service(admin, team=team.name)
    release = await make_release(admin, service=service.name)
    deployment = await make_deployment(admin, admin, release=release.id)
    writer = Writer(member, deployment=deployment.id)
    writer.append(1, "a")
    assert [await writer.answer(), await writer.answer()] == [(0, False), (1, False)]
    await admin.teams.RemoveTeamMember(team_pb2.RemoveTeamMemberRequest(**who))
    writer.append(2, "b")
    assert (await refused(writer.call.read())).code == grpc.StatusCode.PERMISSION_DENIED
    assert await _texts(shared_server, deployment.id) == ["a"]


@pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)
async def test_two_servers_that_write_to_the_same_logs_do_not_wait_in_a_circle(
    engine_name: str, database_url: str, tmp_path: Path
) -> None:
    """Each group locks its logs in one order, whatever the order of its appends."""
    async with serving(database_url, tmp_path, SystemClock()) as one, _replica(one) as other:
        deployments = [await new_log(one) for _ in range(6)]
        names = {id(one): "one", id(other): "other"}
        caller = _identity(one)
        streams = {
            id(each): [await _stream(each, d, names[id(each)], caller) for d in deployments] for each in (one, other)
        }
        for number in range(1, 16):
            there = streams[id(one)], streams[id(other)][::-1]
            groups = [[Append(stream, _lines(number, "x"), caller) for stream in each] for each in there]
            ended = await asyncio.gather(_submit(one, *groups[0]), _submit(other, *groups[1]))
            assert [*ended[0], *ended[1]] == [logic.Progress(number, finished=False)] * 12


@asynccontextmanager
async def _replica(server: RunningServer) -> AsyncIterator[RunningServer]:
    app = App(server.app.settings)
    try:
        async with app.serving() as address, grpc.aio.insecure_channel(address) as channel:
            yield RunningServer(app, address, channel)
    finally:
        app.close()


async def test_a_writer_that_sends_more_than_the_disk_takes_is_held_up(
    shared_server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two thousand messages the server reads no more than one writer may have ahead."""
    read = 0
    written_lines = lines.written_lines

    def counting(*arguments: Any) -> Any:
        nonlocal read
        read += 1
        return written_lines(*arguments)

    monkeypatch.setattr(lines, "written_lines", counting)
    go_on = asyncio.Event()
    commit = shared_server.app.group_commit._commit

    async def held(waiting: Any) -> None:
        await go_on.wait()
        await commit(waiting)

    monkeypatch.setattr(shared_server.app.group_commit, "_commit", held)
    deployment = await new_log(shared_server)
    writer = Writer(shared_server.admin, deployment=deployment)
    assert await writer.answer() == (0, False)
    for number in range(1, 2001):
        writer.append(number, "x")
    writer.finish(2000)
    await asyncio.sleep(0.5)  # as long as it likes
    assert read == writing.AHEAD_APPENDS + 1
    go_on.set()
    while (await writer.answer()) != (2000, True):
        pass


async def test_when_too_much_waits_in_all_single_appends_are_told_to_come_again(
    shared_server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = await new_log(shared_server)
    monkeypatch.setattr(group, "WAITING_BYTES", 1)
    shared_server.app.group_commit._grow(1)
    try:
        with pytest.raises(ResourceExhausted):
            shared_server.app.group_commit.require_room()
        refusal = await refused(append(shared_server.admin, deployment, "x"))
        assert (refusal.code, refusal.retry.retry_delay.seconds) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 1)
    finally:
        monkeypatch.undo()
        shared_server.app.group_commit._grow(-1)
    assert (await append(shared_server.admin, deployment, "x")).committed_sequence == 1

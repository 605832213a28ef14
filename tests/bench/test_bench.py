import asyncio
import json
import os
import time
from pathlib import Path

import pytest

from bench import docs, servers
from bench.__main__ import main
from bench.benchmarks import NAMES, find, storm
from bench.follow import TAIL, Log, delivered
from bench.kit import Kit
from bench.load.calls import Fixed, GrpcCalls
from bench.load.crew import LoadError
from bench.load.followers import Followers
from bench.load.lines import grpc_lines
from bench.rounds import alternate, percentile
from bench.servers import Relman
from bench.tables import Measure, Table
from relman_client.v1.log_pb2 import AppendLogsRequest, TailLogsRequest
from relman_client.v1.release_pb2 import GetReleaseRequest
from tests.factories import RunningServer, make_deployment, make_release
from tests.services.postgres import Postgres

GET = "/relman.v1.ReleaseService/GetRelease"


def test_a_benchmark_prints_its_table_and_writes_every_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fanout", "--quick", "--without-peer", "--results", str(tmp_path)]) == 0
    document = json.loads((tmp_path / "fanout.quick.json").read_text())
    printed = capsys.readouterr().out
    for row in document["rows"]:
        assert f"| {row['what']} |" in printed
        assert row["relman"]["rounds"], row["what"]
    assert document["machine"]["cpu"] in printed
    assert "peer" not in document["rows"][0]


class KitWithServer(Kit):
    """Hands benchmarks a server that runs already."""

    def __init__(self, folder: Path, server: RunningServer) -> None:
        super().__init__(folder, quick=True, with_peer=False)
        self._server = Relman(server.address, os.getpid(), 0.0, server.admin.token)

    def relman(self, database: str | None = None, **settings: str) -> Relman:  # noqa: ARG002 - it has them already
        return self._server


async def test_followers_that_come_back_at_once_get_what_they_missed(
    shared_server: RunningServer, tmp_path: Path
) -> None:
    with KitWithServer(tmp_path, shared_server) as kit:
        table = await asyncio.to_thread(storm.run, kit)
    assert table.value("relman", "served") == 100
    assert table.value("relman", "all")


def test_the_peer_takes_part(tmp_path: Path, postgres: Postgres) -> None:
    if missing := servers.peer_is_missing():
        pytest.skip(missing)
    database = postgres.create_database()
    with Kit(tmp_path, quick=True) as kit, servers.peer(tmp_path, postgres.url(database)) as peer:
        log = Log(kit, peer)
        followed = delivered(kit, peer, log.followers(2, 20), log.writer(2, lines=10), 20)
    postgres.drop_database(database)
    assert followed["whole"] == 100


def test_every_benchmark_says_what_it_measures() -> None:
    titles = {name: find(name)[0] for name in NAMES}
    assert all(titles.values()), titles


async def test_answers_are_counted_and_checked(shared_server: RunningServer) -> None:
    release = await make_release(shared_server.admin)
    requests = Fixed([GetReleaseRequest(release=release.id).SerializeToString()])
    calls = GrpcCalls(
        shared_server.address,
        requests,
        2,
        5.0,
        in_flight=3,
        at_most=4,
        path=GET,
        token=shared_server.admin.token,
        answers=100,
    )
    await asyncio.to_thread(calls.prepare)
    answered = await asyncio.to_thread(calls.run, time.monotonic())
    calls.close()
    assert answered.calls == answered.all_calls == len(answered.latencies) == 6


@pytest.mark.parametrize(("token", "least", "problem"), [("", 0, "status 16"), (None, 10_000, "bytes; at least 10000")])
async def test_an_answer_that_is_not_as_it_must_be_ends_the_load(
    shared_server: RunningServer, token: str | None, least: int, problem: str
) -> None:
    release = await make_release(shared_server.admin)
    requests = Fixed([GetReleaseRequest(release=release.id).SerializeToString()])
    token = shared_server.admin.token if token is None else token
    calls = GrpcCalls(shared_server.address, requests, 1, 0.1, path=GET, token=token, answers=least)
    with pytest.raises(LoadError, match=problem):
        await asyncio.to_thread(calls.prepare)
    calls.close()


@pytest.mark.parametrize(("second", "expected", "problem"), [("main", 3, "got 4 lines"), ("other", 4, "other lines")])
async def test_lines_that_are_not_those_that_were_written_end_the_load(
    shared_server: RunningServer, second: str, expected: int, problem: str
) -> None:
    admin = shared_server.admin
    deployment = (await make_deployment(admin, admin)).id
    for number, stream in enumerate(("main", second)):
        first = number if stream == "main" else 0
        request = grpc_lines(2).append(deployment, stream, first)
        await admin.logs.AppendLogs(AppendLogsRequest.FromString(request))
    tail = TailLogsRequest(deployment=deployment, follow=True).SerializeToString()
    followers = Followers(shared_server.address, 1, 5.0, TAIL, expected, admin.token, request=tail, checked=True)

    def follow() -> None:
        followers.prepare()
        followers.run(time.monotonic())

    with pytest.raises(LoadError, match=problem):
        await asyncio.to_thread(follow)
    followers.close()


def test_contenders_take_turns_and_warm_up() -> None:
    turns: list[str] = []

    def contender(name: str) -> dict[str, float]:
        turns.append(name)
        return {"calls": len(turns)}

    figures = alternate({"a": lambda: contender("a"), "gone": None, "b": lambda: contender("b")}, rounds=2)
    assert turns == ["a", "b"] * 3
    assert figures == {"a": {"calls": [3, 5]}, "b": {"calls": [4, 6]}}


def test_ratios_say_how_many_times_better_relman_is() -> None:
    measures = (Measure("calls", "read", "calls/s"), Measure("cpu", "read", "ms", less=True))
    table = Table(
        measures,
        {
            "relman": {"calls": [900, 1000, 5], "cpu": [0.5]},
            "peer": {"calls": [300], "cpu": [2.0]},
            "ceiling": {"calls": [1800]},
        },
    )
    calls, cpu = table.markdown().splitlines()[2:]
    assert calls == "| read | calls/s | 300 | 900 | 1,800 | 3.0x | 50 % |  |"
    assert cpu == "| read | ms | 2.00 | 0.500 | - | 4.0x | - |  |"


def test_a_percentile_is_one_of_the_values() -> None:
    assert [percentile(range(1, 101), percent) for percent in (0, 50, 99, 100)] == [1, 51, 100, 100]


def test_the_newest_tables_go_into_the_docs(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("before\n<!-- bench read -->\nold\n<!-- end -->\nafter <!-- bench create -->\nkept\n<!-- end -->\n")
    document = {"benchmark": "read", "quick": False, "command": "it", "machine": {"date": "today"}, "markdown": "new"}
    (tmp_path / "read.json").write_text(json.dumps(document))
    (tmp_path / "create.json").write_text(json.dumps(document | {"benchmark": "create", "quick": True}))
    assert docs.update(tmp_path, page) == "updated: read"
    text = page.read_text()
    assert "old" not in text
    assert "new" in text
    assert "kept" in text

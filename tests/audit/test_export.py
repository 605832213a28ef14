"""Exports: CSV and JSON lines, in parts of whole lines, in bounded memory, resumable after each part."""

import asyncio
import base64
import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from relman_client.audit_chain import ChainError, ExportError, canonical
from relman_client.v1 import audit_pb2 as pb
from relman_client.v1 import auth_pb2
from relman_server.audit import export, walking
from relman_server.audit.formats import ORDER, inert, write_csv
from relman_server.kernel.db import Transaction
from relman_server.kernel.streams.delivery import Delivery
from relman_server.teams.model import Team
from tests.audit.steps import JSON_LINES, checked, exported, listed, verified, whole
from tests.factories import Caller, RunningServer, make_team, refused, unique
from tests.statements import statements

CANARY = "canary-in-a-coal-mine-43"
COLUMNS = sorted(set(ORDER) - {"block"})
NASTY = '=HYPERLINK("http://x")\r\n, "quoted" \N{SNOWMAN} \x1f\x7f\\ \u2028'


def _rows(export_: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(export_.decode(), newline="")))


async def _teams(server: RunningServer, count: int) -> None:
    for _ in range(count):
        await make_team(server.admin)


async def test_csv_has_a_header_and_a_row_for_each_entry_oldest_first(own_server: RunningServer) -> None:
    await _teams(own_server, 3)
    await verified(own_server.admin, seal=True)
    data = whole(await exported(own_server.admin))
    assert data.startswith(b"id,created_at,username,user_id,action,")
    assert data.endswith(b"\r\n")
    rows = _rows(data)
    listed_ = (await listed(own_server.admin, order_by="created_at")).audit_logs
    assert [row["id"] for row in rows] == [each.id for each in listed_]
    assert [row["block"] for row in rows] == [str(each.block) for each in listed_]
    assert {row["block"] for row in rows} == {"0", "1"}
    newest = rows[-1]
    assert (newest["username"], newest["action"], newest["outcome"]) == ("root-admin", "audit_log.verify", "SUCCESS")
    assert datetime.fromisoformat(newest["created_at"]).tzinfo == UTC
    assert json.loads(rows[1]["details"])["changes"]["name"][0] is None


async def test_cells_that_begin_like_formulas_are_inert(own_server: RunningServer) -> None:
    def attack(tx: Transaction) -> None:
        team = Team(name=unique("team"), description="", slack_channel="")
        tx.add(team)
        tx.audit("team.create", team, resource_id=NASTY)

    await own_server.app.db.write(attack)
    user_agent = grpc.aio.insecure_channel(own_server.address, options=[("grpc.primary_user_agent", "@SUM(1+1)")])
    async with user_agent as channel:
        await make_team(Caller(channel, own_server.admin.token))
    *_, first, second = _rows(whole(await exported(own_server.admin)))
    assert first["resource_id"] == f"'{NASTY}"
    assert second["user_agent"].startswith("'@SUM(1+1)")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_each_beginning_of_a_formula_is_known(start: str) -> None:
    assert inert(f"{start}1") == f"'{start}1"
    assert inert(f"1{start}") == f"1{start}"


def test_csv_is_what_the_csv_module_writes() -> None:
    """Every cell with every sign that means something, at its beginning and within."""
    signs = ["", "=", "-", "\t", '"', ",", "\r", "\n", "'", " ", ";", NASTY, '""', "\N{SNOWMAN}"]
    texts = [f"{first}a{second}" for first in signs for second in signs]
    rows = [
        (1, text, "2026-11-25T21:00:00.000000Z", canonical({"text": text}), "0" * 36, *[text[::-1]] * 6, "", text)
        for text in texts
    ]
    written = io.StringIO(newline="")
    for row in rows:
        said = dict(zip(COLUMNS, map(str, row[1:]), strict=True)) | {"block": "7"}
        csv.writer(written, lineterminator="\r\n").writerow([inert(said[name]) for name in ORDER])
    assert b"".join(write_csv(rows, 7)) == written.getvalue().encode()


async def test_json_lines_are_canonical_and_verify_offline(own_server: RunningServer) -> None:
    def write(tx: Transaction) -> None:
        team = Team(name=unique("team"), description=NASTY, slack_channel="")
        tx.add(team)
        tx.audit("team.create", team, resource_id=NASTY, numbers=[1, 1.5, 1e22, 1e-7, 2**70], by={"ä": 1, "Z": None})

    await own_server.app.db.write(write)
    await _teams(own_server, 2)
    found = await verified(own_server.admin, seal=True)
    data = whole(await exported(own_server.admin, format=JSON_LINES))
    for line in data.removesuffix(b"\n").split(b"\n"):
        assert canonical(json.loads(line)).encode() == line
    assert json.loads(data.split(b"\n")[1])["resource_id"] == NASTY
    checker = checked(data)
    assert (checker.blocks, checker.rows, checker.waiting) == (1, found.rows_checked, 1)
    assert checker.head is not None
    assert checker.head.hash == found.head_hash


async def test_an_export_that_was_changed_does_not_verify(own_server: RunningServer) -> None:
    """Each line of it, in turn."""
    for _ in range(2):
        await _teams(own_server, 2)
        await verified(own_server.admin, seal=True)
    lines = whole(await exported(own_server.admin, format=JSON_LINES)).split(b"\n")[:-1]
    last = max(number for number, line in enumerate(lines) if line.startswith(b'{"block"'))
    for number in range(last + 1):
        without = [*lines[:number], *lines[number + 1 :]]
        changed = [*lines[:number], lines[number].replace(b"2", b"3"), *lines[number + 1 :]]
        for tampered in (changed, without) if number < last else (changed,):
            with pytest.raises((ChainError, ExportError)):
                checked(b"\n".join(tampered) + b"\n")
    with pytest.raises(ExportError, match="cut off"):
        checked(b"\n".join(lines)[:-5])
    with pytest.raises(ExportError, match="line 1 is neither"):
        checked(b"id,created_at\r\n")


async def test_an_export_with_filters_has_no_blocks(own_server: RunningServer) -> None:
    await _teams(own_server, 2)
    await verified(own_server.admin, seal=True)
    lines = whole(await exported(own_server.admin, format=JSON_LINES, action="team.*")).splitlines()
    assert [json.loads(line)["action"] for line in lines] == ["team.create", "team.create"]
    rows = _rows(whole(await exported(own_server.admin, user="root-admin", resource_type="audit_log")))
    assert [row["action"] for row in rows] == ["audit_log.verify"]


@pytest.mark.parametrize("form", [pb.AUDIT_EXPORT_FORMAT_CSV, JSON_LINES])
async def test_it_goes_on_after_any_part(own_server: RunningServer, monkeypatch: pytest.MonkeyPatch, form: Any) -> None:
    for module, name, size in ((walking, "ROWS", 3), (walking, "POSITIONS", 4), (export, "PART_BYTES", 700)):
        monkeypatch.setattr(module, name, size)
    for _ in range(3):
        await _teams(own_server, 3)
        await verified(own_server.admin, seal=True)
    parts = await exported(own_server.admin, format=form)
    assert len(parts) > 6
    data = whole(parts)
    for number, part in enumerate(parts):
        assert part.data.endswith(b"\n")
        rest = whole(await exported(own_server.admin, format=form, cursor=part.cursor))
        assert whole(parts[: number + 1]) + rest == data


async def test_an_archive_grows_by_what_is_new_and_verifies(own_server: RunningServer) -> None:
    """The rows of the first export are sealed only after it: their block comes with the second."""
    await _teams(own_server, 2)
    first = await exported(own_server.admin, format=JSON_LINES)
    await verified(own_server.admin, seal=True)
    await _teams(own_server, 2)
    await verified(own_server.admin, seal=True)
    second = await exported(own_server.admin, format=JSON_LINES, cursor=first[-1].cursor)
    checker = checked(whole(first) + whole(second))
    assert (checker.blocks, checker.waiting) == (2, 1)


async def test_cursors_of_others_are_refused(own_server: RunningServer) -> None:
    cursor = (await exported(own_server.admin))[-1].cursor
    for wanted in (
        {"cursor": "nonsense"},
        {"cursor": cursor, "action": "team.*"},
        {"cursor": cursor, "format": JSON_LINES},
    ):
        assert set((await refused(exported(own_server.admin, **wanted))).violations) == {"cursor"}
    data = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    of_another_log, ahead_of_this = b"\0" * 16 + data[16:], data[:24] + b"\1" + data[25:]
    for other in (of_another_log, ahead_of_this):
        text = base64.urlsafe_b64encode(other).decode().rstrip("=")
        assert (await refused(exported(own_server.admin, cursor=text))).reason == "CURSOR_UNKNOWN"


async def test_no_statement_reads_more_than_a_bounded_part(
    own_server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By number and by size: a row that is larger than a part comes alone."""
    monkeypatch.setattr(walking, "BYTES", 3000)
    for _ in range(3):
        await make_team(own_server.admin, description="x" * 1900)
    read: list[int] = []
    rows = walking.read_rows

    def counted(*args: Any, **more: Any) -> Any:
        found = rows(*args, **more)
        read.append(len(found))
        return found

    monkeypatch.setattr(walking, "read_rows", counted)
    await exported(own_server.admin)
    assert read == [3, 1]


async def test_a_part_costs_the_same_statements_however_many_rows_are_in_it(own_server: RunningServer) -> None:
    counts = []
    for more in (2, 20):
        await _teams(own_server, more)
        with statements(own_server.app.db) as seen:
            await exported(own_server.admin)
        counts.append(len(seen))
    assert counts[0] == counts[1] <= 12


async def test_a_password_is_in_no_export(own_server: RunningServer) -> None:
    auth = own_server.nobody.auth
    await auth.Register(auth_pb2.RegisterRequest(email="c@example.com", username="coal", password=CANARY))
    await refused(auth.Login(auth_pb2.LoginRequest(login="coal", password=f"{CANARY}!")))
    token = await auth.Login(auth_pb2.LoginRequest(login="coal", password=CANARY))
    change = auth_pb2.ChangePasswordRequest(current_password=CANARY, new_password=f"{CANARY}!")
    await Caller(own_server.channel, token.access_token).auth.ChangePassword(change)
    await refused(auth.RefreshToken(auth_pb2.RefreshTokenRequest(refresh_token=CANARY)))
    for form in (pb.AUDIT_EXPORT_FORMAT_CSV, JSON_LINES):
        data = whole(await exported(own_server.admin, format=form))
        assert b"coal" in data
        assert CANARY.encode() not in data
        assert b"$argon2" not in data
        assert token.refresh_token.encode() not in data


async def test_no_connection_is_held_while_the_caller_is_slow(
    own_server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, sent = own_server.app.db.reads.pool, []

    async def slowly(delivery: Delivery, answer: Any, cursor: Any = "") -> None:
        sent.append(cursor)
        async with asyncio.timeout(5):
            while reads.checkedout():  # type: ignore[attr-defined]  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.01)

    monkeypatch.setattr(Delivery, "send", slowly)
    await exported(own_server.admin)
    assert len(sent) == 2

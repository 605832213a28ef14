"""No change without an audit row: who, from where, what, and what it was before; and no secret in it."""

import io
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.message import Message
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from relman_client.v1 import auth_pb2, log_pb2, team_pb2, user_pb2
from relman_server.kernel.db import Reading, Transaction
from relman_server.kernel.db.audit import AuditEntry, AuditMissing
from relman_server.kernel.db.transaction import Record
from relman_server.kernel.identity import Access, Call, Policy, current_call
from relman_server.teams.model import Team
from relman_server.users.model import User
from tests.contract import RPCS, call
from tests.factories import Caller, RunningServer, make_team, refused, unique
from tests.requests import PASSWORD, VALID, Make
from tests.test_contract import UNIMPLEMENTED

CANARY = "canary-in-a-coal-mine-42"


def _entries(tx: Reading, after: int = 0) -> list[Record]:
    columns = AuditEntry.__table__.columns
    return list(tx.rows(select(*columns).where(AuditEntry.position > after).order_by(AuditEntry.position)))


def _last_position(tx: Reading) -> int:
    return int(tx.scalar(select(func.max(AuditEntry.position))))


async def _newest(server: RunningServer) -> Record:
    return (await server.app.db.read(_entries))[-1]


def _team(name: str) -> Team:
    return Team(name=name, description="", slack_channel="")


def _add_silently(tx: Transaction) -> None:
    tx.add(_team(unique("team")))


def _change_silently(tx: Transaction) -> None:
    user = tx.entities(select(User))[0]
    user.full_name = "someone else"


def _delete_silently(tx: Transaction) -> None:
    tx.delete(tx.entities(select(Team))[0])


def _insert_in_bulk(tx: Transaction) -> None:
    now = datetime.now(UTC)
    row = {"id": uuid4(), "name": unique("team"), "created_at": now, "updated_at": now, "row_version": 1}
    tx.execute(insert(Team).values(description="", slack_channel="", **row))


def _update_in_bulk(tx: Transaction) -> None:
    tx.execute(update(User).values(full_name="everyone"))


def _delete_in_bulk(tx: Transaction) -> None:
    tx.execute(delete(Team))


def _delete_in_a_query(tx: Transaction) -> None:
    gone = delete(Team).returning(Team.id).cte("gone")
    tx.rows(select(gone.c.id))


def _update_in_text(tx: Transaction) -> None:
    tx.execute(text("UPDATE user_account SET full_name = 'everyone'"))


def _update_in_text_behind_a_comment(tx: Transaction) -> None:
    tx.execute(text("/* quick fix */ update user_account set full_name = 'everyone'"))


def _update_in_text_behind_a_line(tx: Transaction) -> None:
    tx.execute(text("-- quick fix\nupdate user_account set full_name = 'everyone'"))


SILENT = [
    _add_silently,
    _change_silently,
    _delete_silently,
    _insert_in_bulk,
    _update_in_bulk,
    _delete_in_bulk,
    _delete_in_a_query,
    _update_in_text,
    _update_in_text_behind_a_comment,
    _update_in_text_behind_a_line,
]


@pytest.mark.parametrize("silently", SILENT)
async def test_a_change_that_records_nothing_does_not_happen(server: RunningServer, silently: Any) -> None:
    """The promise itself: take the guard out of Transaction.finish, and each of these commits."""
    team = await make_team(server.admin)
    # SQLite knows no DELETE in a query, and says so.
    by_itself = silently is _delete_in_a_query and server.app.db.engine == "sqlite"
    with pytest.raises(DBAPIError if by_itself else AuditMissing):
        await server.app.db.write(silently)
    assert await server.admin.teams.GetTeam(team_pb2.GetTeamRequest(team=team.name)) == team
    users = await server.admin.users.ListUsers(user_pb2.ListUsersRequest())
    assert {user.full_name for user in users.users} == {""}
    assert len((await server.admin.teams.ListTeams(team_pb2.ListTeamsRequest())).teams) == 1


async def test_what_changes_no_audited_table_needs_no_record(server: RunningServer) -> None:
    assert await server.app.db.write(lambda tx: tx.scalar(select(User.username))) == "root-admin"


async def test_a_record_of_another_action_than_the_contract_declares_is_a_mistake(server: RunningServer) -> None:
    def mislabel(tx: Transaction) -> None:
        team = _team(unique("team"))
        tx.add(team)
        tx.audit("team.delete", team)

    token = current_call.set(Call("/relman.v1.TeamService/CreateTeam", Policy("teams.x", "team.create", Access.USER)))
    try:
        with pytest.raises(AuditMissing, match=r"team\.create"):
            await server.app.db.write(mislabel)
    finally:
        current_call.reset(token)


async def test_a_read_that_writes_is_a_mistake(server: RunningServer) -> None:
    def write(tx: Transaction) -> None:
        team = _team(unique("team"))
        tx.add(team)
        tx.audit("team.create", team)

    token = current_call.set(Call("/relman.v1.TeamService/GetTeam", Policy("teams.read", "", Access.USER)))
    try:
        with pytest.raises(AuditMissing, match="declares nothing"):
            await server.app.db.write(write)
    finally:
        current_call.reset(token)


# A lease is renewed all the time; that it was taken, lost or taken over is recorded.
NOT_RECORDED = {"DeploymentService/HeartbeatDeployment"}
# Of a log it is recorded that it was begun, by whom; of a verification what came of it; of metrics what they are.
WITHOUT_CHANGES = {
    "AnalyticsService/RecordDeploymentMetrics",
    "AuditLogService/VerifyAuditLogs",
    "DeploymentLogService/AppendLogs",
    "DeploymentLogService/WriteLogs",
}
# These come without a token: who they are is what they find out, or make.
WITHOUT_TOKEN = {"AuthService/Login", "AuthService/RefreshToken", "AuthService/Register"}


async def _login(server: RunningServer) -> auth_pb2.LoginRequest:
    name = unique("person")
    register = auth_pb2.RegisterRequest(email=f"{name}@example.com", username=name, password=PASSWORD)
    await server.nobody.auth.Register(register)
    return auth_pb2.LoginRequest(login=name, password=PASSWORD)


async def _refresh(server: RunningServer) -> Message:
    tokens = await server.nobody.auth.Login(await _login(server))
    return auth_pb2.RefreshTokenRequest(refresh_token=tokens.refresh_token)


async def _open_a_log(server: RunningServer) -> Message:
    append = await VALID["DeploymentLogService/AppendLogs"](server)
    return log_pb2.WriteLogsRequest(open=log_pb2.WriteLogsRequest.Open(deployment=append.deployment))  # type: ignore[attr-defined]  # of an AppendLogsRequest


OTHERS: dict[str, Make] = {
    "AuthService/Login": _login,
    "AuthService/RefreshToken": _refresh,
    "DeploymentLogService/WriteLogs": _open_a_log,
}


async def test_every_mutating_rpc_records_who_did_what_from_where_and_what_changed(server: RunningServer) -> None:
    """Of the contract, each: fails when one is added that `VALID` has no request for, or that records nothing."""
    missing = {f"{service}/{method}" for service, methods in UNIMPLEMENTED.items() for method in methods}
    mutating = [rpc for rpc in RPCS if rpc.mutating and rpc.name not in missing | {"AuthService/ChangePassword"}]
    assert {rpc.name for rpc in mutating} == set(VALID) | set(OTHERS)
    recorded, with_changes = set(), set()
    for rpc in mutating:
        request = await (VALID | OTHERS)[rpc.name](server)
        before = await server.app.db.read(_last_position)
        outcome = await call(server.channel, rpc, request, () if rpc.name in WITHOUT_TOKEN else server.admin.metadata)
        assert outcome.status == "OK", rpc.name
        new = await server.app.db.read(_entries, before)
        for entry in new:
            recorded.add(rpc.name)
            assert entry.request_id == outcome.request_id or rpc.method.server_streaming, rpc.name
            assert entry.request_id, rpc.name
            if rpc.name not in WITHOUT_TOKEN:
                assert (entry.user_id, entry.username) == (server.admin.user_id, "root-admin"), rpc.name
            elif entry.user_id is not None:
                assert entry.username.startswith("person-"), rpc.name
            assert (entry.ip_address, entry.outcome) == ("127.0.0.1", "SUCCESS"), rpc.name
            assert entry.user_agent.startswith("grpc-python-asyncio"), rpc.name
            assert entry.resource_type, rpc.name
            assert entry.resource_id, rpc.name
            for old, current in entry.details["changes"].values():
                assert old != current or old == current == "***", rpc.name
        assert not new or rpc.policy.action in {entry.action for entry in new}, rpc.name
        if any(entry.details["changes"] for entry in new):
            with_changes.add(rpc.name)
    assert recorded == (set(VALID) | set(OTHERS)) - NOT_RECORDED
    assert recorded - with_changes == WITHOUT_CHANGES


async def test_the_record_says_who_from_where_and_with_what(server: RunningServer) -> None:
    ann = await server.user()
    team = await ann.teams.CreateTeam(
        team_pb2.CreateTeamRequest(name=unique("team")), metadata=(("x-request-id", "build-42"),)
    )
    entry = await _newest(server)
    assert (entry.user_id, entry.username) == (ann.user_id, ann.username)
    assert (entry.action, entry.resource_type, entry.resource_id) == ("team.create", "team", team.id)
    assert (entry.ip_address, entry.request_id, entry.outcome) == ("127.0.0.1", "build-42", "SUCCESS")
    assert "grpc-python-asyncio" in entry.user_agent


async def test_the_record_has_the_old_and_the_new_value(server: RunningServer) -> None:
    team = await make_team(server.admin, description="old")
    await server.admin.teams.UpdateTeam(team_pb2.UpdateTeamRequest(team=team.name, description="new"))
    assert (await _newest(server)).details["changes"] == {"description": ["old", "new"]}


async def test_a_change_that_is_refused_leaves_no_record(server: RunningServer) -> None:
    team = await make_team(server.admin)
    before = len(await server.app.db.read(_entries))
    await refused(server.admin.teams.CreateTeam(team_pb2.CreateTeamRequest(name=team.name)))
    assert len(await server.app.db.read(_entries)) == before


async def test_a_change_whose_record_cannot_be_written_does_not_happen(server: RunningServer) -> None:
    def unrecordable(tx: Transaction) -> UUID:
        team = _team("unrecordable")
        tx.add(team)
        tx.audit("team.create", team)
        tx._recorder.entries[0]["username"] = None
        return team.id

    with pytest.raises(Exception, match="audit_log"):
        await server.app.db.write(unrecordable)
    refusal = await refused(server.admin.teams.GetTeam(team_pb2.GetTeamRequest(team="unrecordable")))
    assert refusal.code.name == "NOT_FOUND"


async def test_a_password_is_nowhere_but_in_its_hash(
    server: RunningServer, server_log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """Goes through everything that is given a password, right and wrong, and looks everywhere it could have got to."""
    answers = await _with_the_canary(server)
    log, said = server_log.getvalue(), capsys.readouterr()
    entries = await server.app.db.read(_entries)
    assert len(entries) > 4
    for where, content in {
        "log": log + said.out + said.err,
        "answers": "".join(answers),
        "audit": json.dumps([dict(entry._mapping) for entry in entries], default=str),
    }.items():
        assert CANARY not in content, where
        assert "$argon2" not in content, where
    assert '"method": "AuthService/Login"' in log
    changes = [entry.details["changes"] for entry in entries if "password_hash" in entry.details.get("changes", {})]
    assert ["***", "***"] in [change["password_hash"] for change in changes]


async def _with_the_canary(server: RunningServer) -> list[str]:
    answers: list[str] = []

    async def keep(awaited: Any) -> None:
        try:
            answers.append(str(await awaited))
        except Exception as error:  # noqa: BLE001 - refusals are answers too
            answers.append(f"{error} {getattr(error, 'trailing_metadata', str)()}")

    auth = server.nobody.auth
    await keep(auth.Register(auth_pb2.RegisterRequest(email="c@example.com", username="coal", password=CANARY)))
    await keep(auth.Register(auth_pb2.RegisterRequest(email="c@example.com", username="coal", password=CANARY)))
    await keep(auth.Register(auth_pb2.RegisterRequest(email="nothing", username="", password=CANARY * 20)))
    await keep(auth.Login(auth_pb2.LoginRequest(login="nobody", password=CANARY)))
    await keep(auth.Login(auth_pb2.LoginRequest(login="coal", password=f"{CANARY}!")))
    token = await auth.Login(auth_pb2.LoginRequest(login="coal", password=CANARY))
    user = Caller(server.channel, token.access_token)
    change = auth_pb2.ChangePasswordRequest(current_password=f"{CANARY}?", new_password=f"{CANARY}!")
    await keep(user.auth.ChangePassword(change))
    await keep(user.auth.ChangePassword(auth_pb2.ChangePasswordRequest(current_password=CANARY, new_password="x")))
    change.current_password = CANARY
    await keep(user.auth.ChangePassword(change))
    create = user_pb2.CreateUserRequest(email="d@example.com", username="mine", password=CANARY)
    await keep(server.admin.users.CreateUser(create))
    await keep(server.admin.users.CreateUser(create))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("relman_server.users.service.hash_password", _fail_with)
        create.username, create.email = "other", "e@example.com"
        await keep(server.admin.users.CreateUser(create))
    return answers


def _fail_with(password: str) -> str:
    secret = password  # a local variable, which a careless traceback shows
    raise RuntimeError("the hash could not be made") from ValueError(str(len(secret)))

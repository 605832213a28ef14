"""Listing the audit log and getting one of its rows: filters, pages, who may, and what it costs."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from relman_client.v1 import audit_pb2 as pb
from relman_client.v1 import team_pb2
from tests.audit.steps import listed, verified
from tests.factories import Caller, RunningServer, make_team, refused, unique
from tests.statements import executed, statements

UNKNOWN = "01890a5d-ac96-774b-bcce-b302099a8057"


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


async def _changed_team(server: RunningServer) -> tuple[Caller, team_pb2.Team]:
    """Return somebody, and a team that they made and changed: two rows of theirs."""
    user = await server.user()
    team = await make_team(user)
    await user.teams.UpdateTeam(team_pb2.UpdateTeamRequest(team=team.name, description="new"))
    return user, team


async def test_a_row_says_who_did_what_and_what_changed(server: RunningServer) -> None:
    user, team = await _changed_team(server)
    newest, oldest = (await listed(server.admin, resource_id=team.id)).audit_logs
    assert (newest.action, oldest.action) == ("team.update", "team.create")
    assert (newest.user_id, newest.username) == (str(user.user_id), user.username)
    assert (newest.resource_type, newest.ip_address, newest.block) == ("team", "127.0.0.1", 0)
    assert newest.outcome == pb.AUDIT_OUTCOME_SUCCESS
    assert json_format.MessageToDict(newest.details)["changes"] == {"description": ["", "new"]}
    assert await server.admin.audit.GetAuditLog(pb.GetAuditLogRequest(audit_log=newest.id)) == newest


async def test_a_row_names_the_block_that_seals_it(server: RunningServer) -> None:
    _, team = await _changed_team(server)
    head = (await verified(server.admin, seal=True)).head_block
    rows = (await listed(server.admin, resource_id=team.id)).audit_logs
    assert {row.block for row in rows} == {head}
    assert (await server.admin.audit.GetAuditLog(pb.GetAuditLogRequest(audit_log=rows[0].id))).block == head


async def test_every_filter_narrows_the_list(server: RunningServer) -> None:
    user, team = await _changed_team(server)
    other = await make_team(server.admin)
    await refused(user.teams.DeleteTeam(team_pb2.DeleteTeamRequest(team=other.name)))
    mine = {"user": user.username}
    update, create = (await listed(server.admin, resource_id=team.id)).audit_logs
    expected: list[tuple[dict[str, Any], list[str]]] = [
        (mine | {"action": "team.create"}, ["team.create"]),
        (mine | {"action": "team.*", "outcome": pb.AUDIT_OUTCOME_SUCCESS}, ["team.update", "team.create"]),
        (mine | {"action": "te.*"}, []),
        (mine | {"resource_type": "release"}, []),
        ({"user": str(user.user_id), "resource_id": team.id}, ["team.update", "team.create"]),
        ({"user": f"{user.username}@example.com", "resource_id": team.id}, ["team.update", "team.create"]),
        ({"resource_id": team.id, "start_date": update.created_at}, ["team.update"]),
        ({"resource_id": team.id, "end_date": update.created_at}, ["team.create"]),
        ({"resource_id": team.id, "start_date": create.created_at, "end_date": create.created_at}, []),
        ({"resource_id": team.id, "outcome": pb.AUDIT_OUTCOME_FAILED}, []),
    ]
    for wanted, actions in expected:
        assert [row.action for row in (await listed(server.admin, **wanted)).audit_logs] == actions, wanted


async def test_refused_attempts_are_found_by_their_outcome(server: RunningServer) -> None:
    user, team = await server.user(), await make_team(server.admin)
    await refused(user.teams.DeleteTeam(team_pb2.DeleteTeamRequest(team=team.name)))
    wanted = {"user": user.username, "outcome": pb.AUDIT_OUTCOME_DENIED}
    found = pb.ListAuditLogsResponse()
    for _ in range(200):  # it is written after the caller has its answer
        if found.audit_logs:
            break
        await asyncio.sleep(0.02)
        found = await listed(server.admin, **wanted)
    assert [(row.action, row.resource_id) for row in found.audit_logs] == [("team.delete", team.name)]


async def test_what_the_server_did_by_itself_is_found_under_its_own_name(server: RunningServer) -> None:
    user = await server.user()  # made by the server, as far as it knows
    rows = (await listed(server.admin, user="system", resource_id=str(user.user_id))).audit_logs
    assert [(row.username, row.user_id, row.action) for row in rows] == [("system", "", "user.create")]


async def test_pages_follow_each_other_in_two_statements_at_most(server: RunningServer) -> None:
    user = await server.user()
    made = [(await make_team(user)).id for _ in range(5)]
    found: list[str] = []
    token = ""
    while True:
        with statements(server.app.db) as seen:
            page = await listed(
                server.admin, user=str(user.user_id), page_size=2, page_token=token, order_by="created_at"
            )
        assert len(seen) <= 3  # and one to find the user
        found += [row.resource_id for row in page.audit_logs]
        token = page.next_page_token
        if not token:
            break
    assert found == made
    assert page.total_size == 5


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({}, "created_at"),
        ({"user": "root-admin"}, "user_id"),
        ({"resource_type": "team", "resource_id": UNKNOWN}, "resource_id"),
        ({"resource_type": "team"}, "resource_type"),
        ({"action": "team.create"}, "action"),
        ({"outcome": pb.AUDIT_OUTCOME_DENIED}, "refused"),
    ],
)
async def test_a_page_is_found_by_an_index(server: RunningServer, wanted: dict[str, Any], index: str) -> None:
    db, seen = server.app.db, list[tuple[str, Any]]()
    with executed(db, lambda statement, parameters: seen.append((statement, parameters))):
        await listed(server.admin, **wanted)
    statement, parameters = next(each for each in seen if "audit_block" in each[0])
    with db.reads.connect() as connection:
        if db.engine == "postgresql":
            connection.exec_driver_sql("set enable_seqscan = off")  # the table is small
            connection.exec_driver_sql("set enable_sort = off")  # and what is sorted would be everything that matches
        explain = "explain query plan " if db.engine == "sqlite" else "explain "
        plan = "\n".join(str(row[-1]) for row in connection.exec_driver_sql(explain + statement, parameters))
        connection.invalidate()
    if db.engine == "postgresql":  # which names the indexes of partitions by itself
        assert plan.count("audit_log_default_created_at_id_idx1" if index == "refused" else f"default_{index}_") == 1
    else:
        assert f"ix_audit_log_{index}" in plan
    assert "TEMP B-TREE" not in plan
    assert "->  Sort" not in plan
    assert "Incremental" not in plan
    assert "audit_block_last_position" in plan


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"action": "DROP TABLE"}, "action"),
        ({"action": "team.%"}, "action"),
        ({"resource_type": "x" * 100}, "resource_type"),
        ({"resource_id": "x" * 1000}, "resource_id"),
        ({"order_by": "username"}, "order_by"),
        ({"page_token": "nonsense"}, "page_token"),
        ({"start_date": Timestamp(seconds=10), "end_date": Timestamp(seconds=5)}, "end_date"),
    ],
)
async def test_what_cannot_be_meant_is_refused_by_field(
    server: RunningServer, wanted: dict[str, Any], field: str
) -> None:
    assert set((await refused(listed(server.admin, **wanted))).violations) == {field}


async def test_an_unknown_user_and_an_unknown_row_are_not_found(server: RunningServer) -> None:
    for call in (
        listed(server.admin, user=unique("nobody")),
        server.admin.audit.GetAuditLog(pb.GetAuditLogRequest(audit_log=UNKNOWN)),
    ):
        assert (await refused(call)).code is grpc.StatusCode.NOT_FOUND


async def test_auditors_read_it_and_other_users_do_not(server: RunningServer) -> None:
    auditor, user = await server.user(is_auditor=True), await server.user()
    assert (await listed(auditor)).audit_logs
    assert (await verified(auditor)).valid
    for call in (listed(user), verified(user), user.audit.ExportAuditLogs(pb.ExportAuditLogsRequest())):
        assert (await refused(call)).code is grpc.StatusCode.PERMISSION_DENIED


async def test_times_are_a_half_open_range(own_server: RunningServer) -> None:
    now = own_server.app.clock.now()
    await make_team(own_server.admin)
    assert (await listed(own_server.admin, start_date=_timestamp(now))).total_size == 1
    assert (await listed(own_server.admin, start_date=_timestamp(now + timedelta(hours=1)))).total_size == 0

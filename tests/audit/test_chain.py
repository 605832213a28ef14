"""Blocks: sealed every minute and on demand, by one replica at a time, over every row, and verified."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relman_server.audit import sealing, verifying
from relman_server.audit.inputs import VerifyAuditLogs
from relman_server.audit.signing import BlockSigner
from relman_server.kernel.db import Transaction
from relman_server.kernel.errors import Unavailable
from relman_server.teams.model import Team
from tests.audit.steps import JSON_LINES, blocks, checked, exported, listed, verified, whole
from tests.conftest import MovableClock
from tests.factories import RunningServer, make_team, refused, unique


def _in_sql(server: RunningServer, *statements: str) -> None:
    """Do what only somebody can who has the database itself: switch the triggers off and change it."""
    triggers: Sequence[Any] = ()
    with server.app.db.writes.connect() as connection:
        cursor = connection.connection.cursor()
        if server.app.db.engine == "postgresql":
            cursor.execute("SET LOCAL session_replication_role = replica")
        else:
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            triggers = cursor.fetchall()
        for name, _ in triggers:
            cursor.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            cursor.execute(statement)
        for _, sql in triggers:
            cursor.execute(sql)
        connection.connection.commit()


async def _sealed_in_three_blocks(server: RunningServer) -> None:
    for _ in range(3):
        await make_team(server.admin)
        await make_team(server.admin)
        await verified(server.admin, seal=True)


async def test_rows_are_sealed_when_they_are_a_minute_old(own_server: RunningServer, clock: MovableClock) -> None:
    await make_team(own_server.admin)
    await own_server.app.reconciler.tick()
    assert await blocks(own_server) == []
    clock.advance(timedelta(seconds=61))
    await own_server.app.reconciler.tick()
    (block,) = await blocks(own_server)
    assert block.row_count == (await listed(own_server.admin)).total_size
    found = await verified(own_server.admin)
    assert (found.valid, found.blocks_checked, found.head_hash) == (True, 1, block.hash)
    assert (found.rows_checked, found.unsealed_rows) == (block.row_count, 0)


async def test_verifying_seals_on_demand_and_is_itself_recorded(own_server: RunningServer) -> None:
    await make_team(own_server.admin)
    found = await verified(own_server.admin, seal=True)
    assert (found.valid, found.head_block, found.unsealed_rows) == (True, 1, 0)
    row = (await listed(own_server.admin)).audit_logs[0]
    assert (row.action, row.details["head_hash"], row.details["valid"]) == ("audit_log.verify", found.head_hash, True)


async def test_a_repeated_request_seals_nothing_more(own_server: RunningServer) -> None:
    request_id = str(uuid4())
    first = await verified(own_server.admin, seal=True, request_id=request_id)
    await make_team(own_server.admin)
    assert await verified(own_server.admin, seal=True, request_id=request_id) == first
    assert len(await blocks(own_server)) == 1


async def test_a_part_of_the_chain_is_verified_alone(own_server: RunningServer) -> None:
    await _sealed_in_three_blocks(own_server)
    found = await verified(own_server.admin, first_block=2, last_block=2)
    assert (found.valid, found.blocks_checked, found.head_block) == (True, 1, 3)
    for wanted, field in (
        ({"first_block": 9}, "first_block"),
        ({"last_block": 9}, "last_block"),
        ({"first_block": -1}, "first_block"),
        ({"first_block": 3, "last_block": 2}, "last_block"),
    ):
        assert set((await refused(verified(own_server.admin, **wanted))).violations) == {field}


LAST_OF_2 = "(SELECT last_position FROM audit_block WHERE number = 2)"
TAMPERED = {
    "a row was changed": [f"UPDATE audit_log SET username = 'somebody' WHERE position = {LAST_OF_2}"],
    "details were changed": [f"UPDATE audit_log SET details = '{{}}' WHERE position = {LAST_OF_2}"],
    "a row is gone": [f"DELETE FROM audit_log WHERE position = {LAST_OF_2}"],
    "a block was changed": ["UPDATE audit_block SET sealed_at = newest_at WHERE number = 2"],
    "a hash was changed": ["UPDATE audit_block SET hash = rows_hash WHERE number = 2"],
    "a block is gone": ["DELETE FROM audit_block WHERE number = 2"],
    "two rows have changed places": [
        f"UPDATE audit_log SET position = -1 WHERE position = {LAST_OF_2}",
        f"UPDATE audit_log SET position = {LAST_OF_2} WHERE position = {LAST_OF_2} - 1",
        f"UPDATE audit_log SET position = {LAST_OF_2} - 1 WHERE position = -1",
    ],
}


@pytest.mark.parametrize("tampering", TAMPERED.values(), ids=TAMPERED)
async def test_the_first_block_that_was_tampered_with_is_named(own_server: RunningServer, tampering: list[str]) -> None:
    await _sealed_in_three_blocks(own_server)
    _in_sql(own_server, *tampering)
    found = await verified(own_server.admin)
    assert (found.valid, found.first_invalid_block, found.blocks_checked) == (False, 2, 1)
    assert found.reason.startswith("Block 2 ")
    assert not (await verified(own_server.admin, first_block=2)).valid
    assert (await verified(own_server.admin, last_block=1)).valid


async def test_a_row_that_was_put_between_others_is_found(own_server: RunningServer) -> None:
    await _sealed_in_three_blocks(own_server)
    same = "user_id, username, action, resource_type, resource_id, details, ip_address, user_agent, request_id, outcome"
    _in_sql(
        own_server,
        f"INSERT INTO audit_log (id, {same}, created_at, position)"
        f" SELECT '{uuid4().hex}', {same}, created_at, position FROM audit_log WHERE position = {LAST_OF_2}",
    )
    found = await verified(own_server.admin)
    assert (found.valid, found.first_invalid_block) == (False, 2)


async def test_blocks_are_of_a_bounded_number_of_rows(own_server: RunningServer, monkeypatch: Any) -> None:
    monkeypatch.setattr(sealing, "ROWS", 2)
    for _ in range(5):
        await make_team(own_server.admin)
    found = await verified(own_server.admin, seal=True)
    assert found.valid
    assert [block.row_count for block in await blocks(own_server)] == [2, 2, 2]


async def test_a_row_that_commits_late_is_sealed_with_those_after_it_or_later(own_server: RunningServer) -> None:
    """Without the lock that positions are taken under, it would appear among rows that are sealed already."""
    if own_server.app.db.engine == "sqlite":
        return  # one transaction at a time: none is late
    written, go_on = threading.Event(), threading.Event()

    def slowly(tx: Transaction) -> None:
        team = Team(name=unique("team"), description="", slack_channel="")
        tx.add(team)
        tx.audit("team.create", team)
        finish = tx.finish

        def finish_and_wait() -> Any:
            hooks = finish()
            written.set()
            assert go_on.wait(20)
            return hooks

        tx.finish = finish_and_wait  # type: ignore[method-assign]  # a commit that takes its time

    late = asyncio.create_task(own_server.app.db.write(slowly))
    await asyncio.to_thread(written.wait, 20)
    await make_team(own_server.admin)  # a later position, committed before
    with suppress(Unavailable):
        await sealing.seal_all(own_server.app.db, None)
    go_on.set()
    await late
    found = await verified(own_server.admin, seal=True)
    total = (await listed(own_server.admin)).total_size
    assert found.valid
    assert found.rows_checked == total - 1  # all but that of the verification itself


async def test_the_sealer_gives_up_rather_than_hold_up_writers(own_server: RunningServer) -> None:
    db = own_server.app.db
    if db.engine == "sqlite":
        return  # as above
    with db.writes.connect() as connection, connection.begin():
        connection.exec_driver_sql("SELECT audit_next_position()")  # somebody who is about to commit, for long
        refusal = await refused(verified(own_server.admin, seal=True))
        assert refusal.code.name == "UNAVAILABLE"
        await make_team(own_server.admin)  # nobody else waits
    assert (await verified(own_server.admin, seal=True)).valid


async def test_many_sealers_and_writers_at_once_make_one_chain_of_all_rows(server: RunningServer) -> None:
    async def write() -> None:
        for _ in range(6):
            await make_team(server.admin)

    async def seal() -> None:
        for _ in range(6):
            await sealing.seal_all(server.app.db, None)

    await asyncio.gather(*(write() for _ in range(6)), *(seal() for _ in range(3)))
    found = await verified(server.admin, seal=True)
    assert found.valid
    checker = checked(whole(await exported(server.admin, format=JSON_LINES)))
    assert (checker.blocks, checker.rows) == (found.head_block, found.rows_checked)


async def test_a_key_signs_blocks_and_what_was_sealed_before_it(own_server: RunningServer) -> None:
    signer, other = (BlockSigner(Ed25519PrivateKey.generate()) for _ in range(2))
    await _sealed_in_three_blocks(own_server)
    verify = partial(verifying.verify, own_server.app.db, VerifyAuditLogs(), signer)
    await own_server.app.db.write(sealing.sign_newest, signer)
    await own_server.app.db.write(sealing.sign_newest, signer)  # once is enough
    assert [block.row_count > 0 for block in await blocks(own_server)] == [True, True, True, False]
    found = await verify()
    assert (found.valid, found.signed_blocks, found.head_block) == (True, 1, 4)
    export = whole(await exported(own_server.admin, format=JSON_LINES))
    assert checked(export, holds=signer.holds).head_is_signed
    assert not checked(export, holds=other.holds).head_is_signed
    _in_sql(own_server, "UPDATE audit_block SET signature = '' WHERE number = 4")
    found = await verify()
    assert (found.valid, found.first_invalid_block) == (False, 4)
    assert "not signed" in found.reason

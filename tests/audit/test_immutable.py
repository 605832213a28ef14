"""No statement changes or removes a row, a block or the chain's own row: triggers refuse them, whoever asks."""

import pytest
from sqlalchemy.exc import DBAPIError

from tests.audit.steps import exported, verified, whole
from tests.factories import RunningServer, make_team

BOTH = [
    "UPDATE audit_log SET username = 'somebody'",
    "UPDATE audit_log SET position = position + 1000",
    "DELETE FROM audit_log",
    "UPDATE audit_block SET hash = ''",
    "DELETE FROM audit_block",
    "UPDATE audit_chain SET pruned_position = 1000000",
    "UPDATE audit_chain SET pruned_position = -1",
    "DELETE FROM audit_chain",
    "INSERT INTO audit_chain SELECT * FROM audit_chain",
]
SQLITE = [
    "INSERT OR REPLACE INTO audit_log SELECT * FROM audit_log",
    "REPLACE INTO audit_block SELECT * FROM audit_block",
]
POSTGRESQL = [
    "TRUNCATE audit_log",
    "TRUNCATE audit_block",
    "TRUNCATE audit_chain",
    "TRUNCATE audit_log_default",
    "TRUNCATE {month}",
    "DELETE FROM {month}",
    "UPDATE {month} SET action = 'x'",
]


def _month(server: RunningServer) -> str:
    """Return the name of the present month's partition."""
    return f"audit_log_{server.app.clock.now():%Y_%m}"


@pytest.mark.parametrize("statement", [*BOTH, *SQLITE, *POSTGRESQL])
async def test_the_database_itself_refuses(server: RunningServer, statement: str) -> None:
    """Fails, each of them, when its trigger is dropped."""
    db = server.app.db
    if statement in (POSTGRESQL if db.engine == "sqlite" else SQLITE):
        return  # in words of the other engine
    await make_team(server.admin)
    await verified(server.admin, seal=True)
    before = whole(await exported(server.admin))
    with db.writes.connect() as connection, connection.begin() as transaction:
        with pytest.raises(DBAPIError, match="the audit log is immutable"):
            connection.exec_driver_sql(statement.format(month=_month(server)))
        transaction.rollback()
    assert whole(await exported(server.admin)) == before

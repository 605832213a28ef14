"""What the database keeps for metrics, carried over from where it was looked up at every question."""

from typing import Any
from uuid import UUID

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, inspect, select

from relman_client.v1 import environment_pb2
from relman_server.analytics.model import DeliveredChange, DeliveryRoute
from relman_server.deployments.model import Deployment
from relman_server.kernel.db import schema
from relman_server.kernel.db.engine import write_engine
from tests.analytics.histories import PLACES, Teller
from tests.analytics.writing import write
from tests.factories import RunningServer, make_environment, unique

BEFORE = "0011"


def _downgrade(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, BEFORE)


def _kept(engine: Engine) -> tuple[list[Any], list[Any]]:
    """Every change, with what it passed before, and every deployment that is blamed."""
    changes = [column for column in DeliveredChange.__table__.columns if column.name != "route_id"]
    delivered = (
        select(*changes, DeliveryRoute.places)
        .outerjoin_from(DeliveredChange, DeliveryRoute)
        .order_by(DeliveredChange.change_id, DeliveredChange.environment_id)
    )
    blamed = select(Deployment.id).where(Deployment.blamed).order_by(Deployment.id)
    with engine.connect() as connection:
        return list(connection.execute(delivered)), list(connection.scalars(blamed))


async def test_what_is_kept_for_metrics_is_found_of_what_there_is(own_server: RunningServer) -> None:
    kind = environment_pb2.ENVIRONMENT_TYPE_PRODUCTION
    made = [await make_environment(own_server.admin, name=unique(each), environment_type=kind) for each in PLACES]
    places = {place: UUID(environment.id) for place, environment in zip(PLACES, made, strict=True)}
    await write(own_server, [Teller(seed).history for seed in range(3)], places)
    engine = write_engine(own_server.app.db.writes.url, 1)
    before = _kept(engine)
    assert all(before)
    assert {bool(row.places) for row in before[0]} == {row.is_opening for row in before[0]} == {True, False}
    _downgrade(engine)
    assert "earlier" in {column["name"] for column in inspect(engine).get_columns("delivered_change")}
    schema.migrate(engine)
    assert _kept(engine) == before
    engine.dispose()

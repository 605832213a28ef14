"""What the decision about deployments depends on: one statement for what is in rows, and one for the freezes."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, Select, and_, func, literal, null, or_, select
from sqlalchemy.orm import aliased

from relman_server.catalog.model import Service
from relman_server.deployments.gates import Facts
from relman_server.deployments.model import Deployment, DeploymentStatus, has_succeeded, is_in_progress, is_waiting
from relman_server.environments import store as environments
from relman_server.environments.model import Environment
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import NotFound
from relman_server.policies.store import Pair, freezes_for
from relman_server.policies.windows import ActivePolicy
from relman_server.releases import store as releases
from relman_server.releases.model import Release
from relman_server.users.model import User

_source = aliased(Environment)
"""The environment before."""


def facts_of(tx: Reading, deployments: Sequence[UUID]) -> Mapping[UUID, Facts]:
    """Return what the decisions about deployments depend on."""
    ahead = aliased(Deployment)
    before = or_(
        ahead.created_at < Deployment.created_at,
        and_(ahead.created_at == Deployment.created_at, ahead.id < Deployment.id),
    )
    rows = tx.rows(
        _facts(Deployment.service_id, Deployment.environment_id, ahead, before)
        .add_columns(Deployment.kind, Deployment.hotfix_reason)
        .add_columns(Deployment.id.label("deployment_id"))
        .select_from(Deployment)
        .join(Release, Release.id == Deployment.release_id)
        .join(Service, Service.id == Deployment.service_id)
        .join(Environment, Environment.id == Deployment.environment_id)
        .outerjoin(User, User.id == Environment.locked_by)
        .outerjoin(_source, _source.id == Environment.promotes_from)
        .where(Deployment.id.in_(deployments))
    )
    frozen = freezes_for(tx, {(row.service_id, row.environment_id) for row in rows})
    return {row.deployment_id: _read(row, frozen) for row in rows}


def facts_if_created(tx: Reading, release: str, environment: str) -> Facts:
    """Return what the decision about a deployment made now would depend on; raises NotFound."""
    return _required(tx, tx.row(_if_created(release, environment)), release, environment)


def lock_facts(tx: Transaction, release: str, environment: str) -> Facts:
    """As `facts_if_created`; until the end of the transaction nobody else adds to the service's queues, or leaves them.

    Without that, two that are created at once would both find the queue empty, and one created while the one before it
    ends would wait for something that is over.
    """
    statement = _if_created(release, environment).with_for_update(of=Service, key_share=True)
    return _required(tx, tx.row(statement), release, environment)


def _if_created(release: str, environment: str) -> Select[Any]:
    return (
        _facts(Release.service_id, Environment.id, aliased(Deployment), None)
        .add_columns(null().label("kind"), literal("").label("hotfix_reason"))
        .select_from(Release)
        .join(Service, Service.id == Release.service_id)
        .join(Environment, environments.named(environment))
        .outerjoin(User, User.id == Environment.locked_by)
        .outerjoin(_source, _source.id == Environment.promotes_from)
        .where(releases.named(release))
    )


def _required(tx: Reading, row: Record | None, release: str, environment: str) -> Facts:
    if row is None:
        releases.get_release(tx, release)
        environments.get_environment(tx, environment)
        raise NotFound("release", release)
    return _read(row, freezes_for(tx, [(row.service_id, row.environment_id)]))


def _read(row: Record, frozen: Mapping[Pair, Sequence[ActivePolicy]]) -> Facts:
    values = dict(row._mapping)
    values.pop("deployment_id", None)
    return Facts(**values, freezes=frozen[row.service_id, row.environment_id])


def _running_release(service: Any, environment: Any) -> ScalarSelect[Any]:  # columns or mapped attributes
    there = aliased(Deployment)
    return (
        select(there.release_id)
        .where(there.service_id == service, there.environment_id == environment, has_succeeded(there))
        .order_by(there.completed_at.desc(), there.id.desc())
        .limit(1)
        .scalar_subquery()
    )


def _soaking_since(release: Any) -> ScalarSelect[Any]:  # a mapped attribute
    """Select when a release first succeeded in the environment before; a success that was rolled back is none."""
    there = aliased(Deployment)
    return (
        select(func.min(there.completed_at))
        .where(
            there.release_id == release,
            there.environment_id == _source.id,
            there.status == DeploymentStatus.SUCCEEDED,
        )
        .scalar_subquery()
    )


def _facts(
    service: ColumnElement[UUID] | Any,  # or a mapped attribute, which is no ColumnElement to the type checker
    environment: ColumnElement[UUID] | Any,
    ahead: Any,  # an alias of Deployment
    before: ColumnElement[bool] | None,
) -> Select[Any]:
    """Select the facts; `in_front` is the deployment in progress, else the oldest of those that wait before."""
    queue = select(ahead.id).where(ahead.service_id == service, ahead.environment_id == environment)
    waiting = queue.where(is_waiting(ahead)) if before is None else queue.where(is_waiting(ahead), before)
    in_front = func.coalesce(
        queue.where(is_in_progress(ahead)).limit(1).scalar_subquery(),
        waiting.order_by(ahead.created_at, ahead.id).limit(1).scalar_subquery(),
    )
    columns: list[Any] = [
        Release.id.label("release_id"),
        (Service.name + "@" + Release.version).label("release_name"),
        Release.status.label("release_status"),
        Release.quarantine_reason,
        Release.quarantined_at,
        Service.id.label("service_id"),
        Service.name.label("service_name"),
        Service.is_active.label("service_active"),
        Environment.id.label("environment_id"),
        Environment.name.label("environment_name"),
        Environment.is_active.label("environment_active"),
        Environment.locked_at,
        Environment.lock_reason,
        Environment.lock_expires_at,
        User.username.label("locked_by"),
        _running_release(service, environment).label("running_release_id"),
        in_front.label("in_front"),
        _source.id.label("source_id"),
        _source.name.label("source_name"),
        _soaking_since(Release.id).label("soaking_since"),
        Environment.soak_seconds,
    ]
    return select(*columns)

"""What the decision about deployments depends on, in two statements: what is in rows, and the freezes.

Where approvals are missing one more says who can give them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    func,
    literal,
    null,
    or_,
    select,
    true,
)

from relman_server.approvals import store as approvals
from relman_server.approvals.quorum import Tally, quorums
from relman_server.approvals.subject import Subject
from relman_server.catalog.model import Service
from relman_server.deployments.gates import Facts
from relman_server.deployments.model import (
    Deployment,
    DeploymentKind,
    DeploymentStatus,
    has_succeeded,
    is_in_progress,
    is_waiting,
)
from relman_server.environments import store as environments
from relman_server.environments.model import Environment
from relman_server.kernel.db.model import UtcDateTime, alias_of
from relman_server.kernel.db.transaction import Reading, Record, Transaction
from relman_server.kernel.errors import NotFound
from relman_server.policies.store import freezes_for
from relman_server.releases import store as releases
from relman_server.releases.model import Release
from relman_server.users.model import User

# Building these statements costs many times what running them does, most of it for the aliases: both are made once.
_source = alias_of(Environment)
"""The environment before."""
_ahead = alias_of(Deployment)
"""Of the queue, what may come before."""
_there = alias_of(Deployment)
"""What ran in an environment."""

_COLUMNS = [field.name for field in fields(Facts) if field.name not in {"approvals", "freezes"}]
_TALLY = [field.name for field in fields(Tally)]


def facts_of(tx: Reading, deployments: Sequence[UUID]) -> Mapping[UUID, Facts]:
    """Return what the decisions about deployments depend on."""
    rows = tx.rows(_of_deployments(), {"deployments": deployments, "now": tx.now})
    return {row.deployment_id: facts for row, facts in zip(rows, _read(tx, rows), strict=True)}


@cache
def _of_deployments() -> Select[Any]:
    """Select the facts about the parameter `deployments` at the time `now`."""
    before = or_(
        and_(_is_rollback(_ahead), ~_is_rollback(Deployment)),
        and_(
            _is_rollback(_ahead) == _is_rollback(Deployment),
            or_(
                _ahead.created_at < Deployment.created_at,
                and_(_ahead.created_at == Deployment.created_at, _ahead.id < Deployment.id),
            ),
        ),
    )
    deployments: BindParameter[Any] = bindparam("deployments", expanding=True)
    tally = approvals.tallies(deployments, bindparam("now", type_=UtcDateTime()))
    return (
        _facts(Deployment.service_id, Deployment.environment_id, before)
        .add_columns(Deployment.kind, Deployment.hotfix_reason, Deployment.labels)
        .add_columns(Deployment.id.label("deployment_id"), Deployment.revision, Deployment.created_by)
        .add_columns(*(tally.c[name] for name in _TALLY))
        .select_from(Deployment)
        .join(Release, Release.id == Deployment.release_id)
        .join(Service, Service.id == Deployment.service_id)
        .join(Environment, Environment.id == Deployment.environment_id)
        .outerjoin(User, User.id == Environment.locked_by)
        .outerjoin(_source, _source.id == Environment.promotes_from)
        .outerjoin(tally, tally.c.deployment_id == Deployment.id)
        .where(Deployment.id.in_(deployments))
    )


def _is_rollback(deployment: Any) -> ColumnElement[bool]:  # Deployment or an alias of it
    """Return the condition that a deployment goes before all others that wait: whoever rolls back cannot wait."""
    found: ColumnElement[bool] = deployment.kind == DeploymentKind.ROLLBACK
    return found


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
    return _of_pairs().where(releases.named(release), environments.named(environment))


@cache
def _of_pairs() -> Select[Any]:
    """Select the facts about deployments that would be made now, for every release and environment."""
    return (
        _facts(Release.service_id, Environment.id, true())
        .add_columns(null().label("kind"), literal("").label("hotfix_reason"), null().label("deployment_id"))
        .select_from(Release)
        .join(Service, Service.id == Release.service_id)
        .join(Environment, true())
        .outerjoin(User, User.id == Environment.locked_by)
        .outerjoin(_source, _source.id == Environment.promotes_from)
    )


def _required(tx: Reading, row: Record | None, release: str, environment: str) -> Facts:
    if row is None:
        releases.get_release(tx, release)
        environments.get_environment(tx, environment)
        raise NotFound("release", release)
    (facts,) = _read(tx, [row])
    return facts


def _read(tx: Reading, rows: Sequence[Record]) -> list[Facts]:
    approved = quorums(tx, [(_subject(tx, row), _tally(row)) for row in rows])
    frozen = freezes_for(tx, {(row.service_id, row.environment_id) for row in rows})
    return [
        Facts(
            **{name: getattr(row, name) for name in _COLUMNS},
            freezes=frozen[row.service_id, row.environment_id],
            approvals=quorum,
        )
        for row, quorum in zip(rows, approved, strict=True)
    ]


def _subject(tx: Reading, row: Record) -> Subject:
    """Return what approvals need to know of a deployment; one that is not made yet would be the caller's."""
    made = row.deployment_id is not None
    asks = row.kind != DeploymentKind.ROLLBACK or row.rollbacks_need_approval
    return Subject(
        deployment_id=row.deployment_id,
        revision=row.revision if made else 0,
        release_id=row.release_id,
        service_id=row.service_id,
        environment_id=row.environment_id,
        environment_name=row.environment_name,
        kind=row.kind,
        labels=row.labels if made else {},
        author_id=row.created_by if made else tx.caller.user_id,
        release_author_id=row.release_created_by,
        required=row.required_approvals if asks else 0,
        approver_team_ids=frozenset(UUID(team) for team in row.approver_team_ids),
        allow_self_approval=row.allow_self_approval,
        ttl=timedelta(seconds=row.approval_ttl_seconds),
    )


def _tally(row: Record) -> Tally:
    if row.deployment_id is None or row.given is None:
        return Tally()
    return Tally(**{name: getattr(row, name) for name in _TALLY})


def _running_release(service: Any, environment: Any) -> ScalarSelect[Any]:  # columns or mapped attributes
    return (
        select(_there.release_id)
        .where(_there.service_id == service, _there.environment_id == environment, has_succeeded(_there))
        .order_by(_there.completed_at.desc(), _there.id.desc())
        .limit(1)
        .scalar_subquery()
    )


def _soaking_since(release: Any) -> ScalarSelect[Any]:  # a mapped attribute
    """Select when a release first succeeded in the environment before; a success that was rolled back is none."""
    return (
        select(func.min(_there.completed_at))
        .where(
            _there.release_id == release,
            _there.environment_id == _source.id,
            _there.status == DeploymentStatus.SUCCEEDED,
        )
        .scalar_subquery()
    )


def _facts(
    service: ColumnElement[UUID] | Any,  # or a mapped attribute, which is no ColumnElement to the type checker
    environment: ColumnElement[UUID] | Any,
    before: ColumnElement[bool],
) -> Select[Any]:
    """Select the facts; `in_front` is the deployment in progress, else the oldest of those that wait before."""
    queue = select(_ahead.id).where(_ahead.service_id == service, _ahead.environment_id == environment)
    waiting = queue.where(is_waiting(_ahead), before)
    in_front = func.coalesce(
        queue.where(is_in_progress(_ahead)).limit(1).scalar_subquery(),
        waiting.order_by(_is_rollback(_ahead).desc(), _ahead.created_at, _ahead.id).limit(1).scalar_subquery(),
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
        Environment.required_approvals,
        Environment.approver_team_ids,
        Environment.allow_self_approval,
        Environment.approval_ttl_seconds,
        Environment.rollbacks_need_approval,
        Release.created_by.label("release_created_by"),
    ]
    return select(*columns)

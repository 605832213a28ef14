"""What the server ends or decides by itself when a time has come: nobody needs to be connected.

Each duty takes one deployment, or a few, in a transaction of its own; what someone else holds at the moment is passed
over and found again a second later. `app.py` gives them to the reconciler.
"""

from sqlalchemy import func, select

from relman_server.approvals import store as approvals
from relman_server.deployments import approving, ending, lease_store, queue, store
from relman_server.deployments.history import Happening, record_all
from relman_server.deployments.model import Deployment, EventType, Lease, Stage, StageStatus
from relman_server.deployments.stage_store import unfinished_stages
from relman_server.kernel.db.transaction import Transaction

STAGES_DUE = select(func.min(Stage.due_at)).where(Stage.due_at.is_not(None))
LEASES_DUE = select(func.min(Lease.expires_at)).where(Lease.expires_at.is_not(None))
APPROVALS_DUE = approvals.first_due()
DECISIONS_DUE = select(func.min(Deployment.look_again_at)).where(Deployment.look_again_at.is_not(None))

AT_ONCE = 20


def time_out_stage(tx: Transaction) -> bool:
    """Fail the deployment with the stage that has been overdue for longest; return whether there was one."""
    found = store.lock_with_overdue_stage(tx)
    if found is None:
        return False
    deployment: Deployment = found.Deployment
    overdue = [stage for stage in unfinished_stages(tx, deployment.id) if stage.due_at and stage.due_at <= tx.now]
    if not overdue:  # it ended while the deployment was being locked
        return True
    for stage in overdue:
        stage.status = StageStatus.TIMED_OUT
        stage.completed_at = tx.now
        stage.due_at = None
    ended = EventType.STAGE_ENDED
    record_all(tx, [Happening(deployment, ended, _timed_out(stage), stage) for stage in overdue])
    for stage in overdue:
        tx.audit("stage.time_out", stage)
    ending.fail(tx, found, "STAGE_TIMEOUT", _timed_out(overdue[0]))
    return True


def _timed_out(stage: Stage) -> str:
    return f"Stage {stage.name} took longer than its {stage.timeout_seconds} s."


def lose_deployment(tx: Transaction) -> bool:
    """Fail the deployment whose lease ran out first; return whether there was one."""
    found = store.lock_with_expired_lease(tx)
    if found is None:
        return False
    lease = lease_store.lock_lease(tx, found.Deployment.id)
    assert lease is not None
    since = lease.expires_at
    if since is not None and since <= tx.now:  # no heartbeat came while the deployment was being locked
        message = (
            f"Its pipeline sent no heartbeat for {lease.ttl_seconds} s; its lease ran out at {since:%H:%M:%S} UTC."
        )
        ending.fail(tx, found, "LOST", message)
    return True


def expire_approvals(tx: Transaction) -> bool:
    """Mark requests for approval that nobody answered in time; return whether there may be more."""
    return approving.expire_due(tx, AT_ONCE) == AT_ONCE


def decide_again(tx: Transaction) -> bool:
    """Look again at waiting deployments whose gates change by themselves; return whether there may be more."""
    waiting = store.waiting_for_a_time(tx, AT_ONCE)
    queue.look_again(tx, waiting)
    for deployment in waiting:
        tx.audit("deployment.decide", deployment)
    return len(waiting) == AT_ONCE

"""What a server does when its time has come, without being called."""

from datetime import timedelta
from functools import partial

from relman_server.audit import partitions, sealing
from relman_server.audit.signing import BlockSigner
from relman_server.deployments import overdue
from relman_server.kernel.reconciler import Duty
from relman_server.logs import retention

# A pipeline that cannot reach the server cannot keep its lease: after an outage it has this long to come back.
LEASE_PATIENCE = timedelta(seconds=30)

ALWAYS = (
    Duty("stage_timeouts", overdue.STAGES_DUE, overdue.time_out_stage),
    Duty("leases", overdue.LEASES_DUE, overdue.lose_deployment, LEASE_PATIENCE),
    Duty("approvals", overdue.APPROVALS_DUE, overdue.expire_approvals),
    Duty("decisions", overdue.DECISIONS_DUE, overdue.decide_again),
    Duty("audit_partitions", partitions.DUE, partitions.prepare),
)


def of(signer: BlockSigner | None, log_retention: timedelta | None) -> list[Duty]:
    """Return the duties of a server.

    Args:
        signer: Signs the blocks of the audit log, where it is signed.
        log_retention: How long logs are kept after their deployments ended; None when that is for good.
    """
    # The rows that have waited for a minute, and those after them.
    sealed = Duty("audit_blocks", sealing.OLDEST_UNSEALED, partial(sealing.seal, signer=signer), after=sealing.EVERY)
    if log_retention is None:
        return [*ALWAYS, sealed]
    remove = partial(retention.remove_expired, retention=log_retention)
    return [*ALWAYS, sealed, Duty("logs", retention.DUE, remove, after=log_retention)]

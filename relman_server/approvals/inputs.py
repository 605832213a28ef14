"""What callers may say about approvals; every bound is here."""

from datetime import datetime

from relman_server.approvals.model import ApprovalStatus, Decision
from relman_server.kernel.inputs import Change, Input, OptionalId, OptionalReference, Page, Reason, Reference

MAX_REQUESTS = 50  # that count, of one deployment


class NewApproval(Input):
    """A request for one more approval."""

    deployment: Reference
    approver: OptionalReference = None
    notes: Reason = ""
    expires_at: datetime | None = None


class ApprovalChange(Change):
    """A decision, or other notes."""

    approval: Reference
    decision: Decision | None = None
    notes: Reason = ""


class ListApprovals(Page):
    """Which approvals to list."""

    ordered_by = ("created_at", "expires_at", "status")

    status: ApprovalStatus | None = None
    deployment: OptionalId = None
    approver: OptionalReference = None
    service: OptionalReference = None
    environment: OptionalReference = None

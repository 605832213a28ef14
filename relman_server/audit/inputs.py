"""What callers may say about the audit log; every bound is here."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from relman_server.kernel.db.audit import AuditOutcome
from relman_server.kernel.inputs import Between, Input, OptionalReference, Page, Reference, at

Action = Annotated[str, StringConstraints(pattern=r"^([a-z_]{1,64}\.([a-z_]{1,64}|\*))?$", max_length=129)]
Number = Annotated[int, Field(ge=0, lt=2**62)]


class AuditExportFormat(StrEnum):
    """How an export is written."""

    CSV = "CSV"
    JSON_LINES = "JSON_LINES"


class Filter(Between):
    """Which rows are meant; nothing said means all.

    Attributes:
        action: `resource.verb`, or `resource.*` for all of a resource.
        resource_id: As it was recorded: an id, or of refused attempts what the caller wrote.
        user: Email, username or id; "system" for what the server did by itself.
    """

    action: Action = ""
    resource_type: Annotated[str, StringConstraints(max_length=64)] = ""
    resource_id: Annotated[str, StringConstraints(max_length=320)] = ""
    user: OptionalReference = None
    outcome: AuditOutcome | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.start_date and self.end_date and self.end_date < self.start_date:
            raise at("end_date", "must not be before start_date")
        return self


class ListAuditLogs(Page, Filter):
    """Which rows to list."""

    ordered_by = ("created_at",)


class GetAuditLog(Input):
    """Which row to return."""

    audit_log: Reference


class ExportAuditLogs(Filter):
    """Which rows to export, and how."""

    format: AuditExportFormat = AuditExportFormat.CSV
    cursor: Annotated[str, StringConstraints(max_length=256)] = ""


class VerifyAuditLogs(Input):
    """Which blocks to check; 0 means from the first there is, and to the newest."""

    first_block: Number = 0
    last_block: Number = 0
    seal: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.last_block and self.last_block < self.first_block:
            raise at("last_block", "must not be before first_block")
        return self

"""What callers may say about incidents; every bound is here."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from relman_server.incidents.model import Severity
from relman_server.kernel.inputs import Between, Change, Input, Line, OptionalId, OptionalReference, Page, Reference

_URL = re.compile(r"https?://(?:[^\s/?#@\[\]]+|\[[0-9a-f:.]+\](?::[0-9]{1,5})?)(?:[/?#]\S*)?\Z", re.IGNORECASE)


def _url(text: str) -> str:
    if text and not _URL.match(text):
        raise ValueError("must be an http or https URL, without a name or password in front of the host")
    return text


Title = Annotated[Line, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Url = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_url)]
# In an update mask and not said, it is what it is when a new incident does not say.
SeverityOrError = Annotated[Severity, BeforeValidator(lambda severity: severity or Severity.ERROR)]


class NewIncident(Input):
    """What a caller may say about a new incident."""

    service: OptionalReference = None
    environment: OptionalReference = None
    deployment: OptionalId = None
    title: Title
    severity: SeverityOrError = Severity.ERROR
    detected_at: datetime | None = None
    external_url: Url = ""


class IncidentChange(Change):
    """What to change of an incident; without resolved_at it is open again."""

    incident: Reference
    deployment: OptionalId = None
    title: Title = ""
    severity: SeverityOrError = Severity.ERROR
    detected_at: datetime = datetime.min.replace(tzinfo=UTC)
    resolved_at: datetime | None = None
    external_url: Url = ""


class ListIncidents(Page, Between):
    """Which incidents to list."""

    ordered_by = ("detected_at", "resolved_at", "created_at", "severity")

    service: OptionalReference = None
    environment: OptionalReference = None
    deployment: OptionalId = None
    severity: Severity | None = None
    open: bool | None = None
    linked: bool | None = None


class Resolution(Input):
    """That users are well again."""

    incident: Reference
    resolved_at: datetime | None = None
    etag: str = ""

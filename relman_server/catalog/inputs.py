"""What callers may say about services; every bound is here."""

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from relman_server.kernel.inputs import Change, Continued, Input, Line, Name, OptionalReference, Page, Query, Reference

# A colon and an @ within the authority: what stands between is a password.
_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#]*:[^/?#]*@|[^/?#@:]*:[^/?#@]*@", re.IGNORECASE)
_URL = re.compile(
    r"(?:https?|ssh|git)://(?:[^\s/?#@:]+@)?(?:[^\s/?#@:\[\]]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?(?:[/?#]\S*)?\Z",
    re.IGNORECASE,
)
_SCP = re.compile(r"[^\s/?#@:]+@[^\s/?#@:]+:(?!//)\S+\Z")


def _repository_url(text: str) -> str:
    if _PASSWORD.match(text):
        raise ValueError("must not contain a password: everyone who may read the service would have it")
    if text and not (_URL.match(text) or _SCP.match(text)):
        raise ValueError("must be an http, https, ssh or git address, or git@host:path")
    return text


RepositoryUrl = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_repository_url)]
Description = Annotated[str, StringConstraints(max_length=2000)]
Channel = Annotated[Line, StringConstraints(max_length=100)]


class NewService(Input):
    """A service, owned by the caller unless said otherwise."""

    name: Name
    description: Description = ""
    repository_url: RepositoryUrl = ""
    team: OptionalReference = None
    slack_channel: Channel = ""
    owner: OptionalReference = None


class ServiceChange(Change):
    """What to change of a service."""

    service: Reference
    name: Name = ""
    description: Description = ""
    repository_url: RepositoryUrl = ""
    team: OptionalReference = None
    slack_channel: Channel = ""
    owner: Reference = ""
    is_active: bool = False


class ListServices(Page):
    """Which services to list."""

    ordered_by = ("name", "created_at")

    team: OptionalReference = None
    is_active: bool | None = None
    query: Query = ""


class HealthOf(Continued):
    """Of which service to say how it is doing."""

    service: Reference

"""What callers may say about runbooks; every bound is here."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from relman_server.kernel.inputs import (
    Change,
    Input,
    Line,
    Name,
    OptionalId,
    OptionalReference,
    Page,
    Paged,
    Reference,
    at,
)

MAX_CONTENT = 256 * 1024
MAX_TAGS = 32
MAX_QUERY = 500


def _content(text: str) -> str:
    if len(text.encode()) > MAX_CONTENT:
        raise ValueError(f"must be at most {MAX_CONTENT} bytes long")
    return text


def _each_once(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(tags))


Title = Annotated[Line, BeforeValidator(str.strip), StringConstraints(min_length=1, max_length=200)]
Content = Annotated[str, AfterValidator(_content)]
Tags = Annotated[list[Name], Field(max_length=MAX_TAGS), AfterValidator(_each_once)]


class NewRunbook(Input):
    """What a caller may say about a new runbook."""

    title: Title
    content: Content = ""
    service: OptionalReference = None
    environment: OptionalReference = None
    tags: Tags = []
    is_active: bool = True


class RunbookChange(Change):
    """What to change of a runbook."""

    runbook: Reference
    title: Title = ""
    content: Content = ""
    service: OptionalReference = None
    environment: OptionalReference = None
    tags: Tags = []
    is_active: bool = False


class WhichVersion(Input):
    """A runbook, in its newest version (0) or an older one."""

    runbook: Reference
    version: Annotated[int, Field(ge=0)] = 0


class ListRunbooks(Page):
    """Which runbooks to list."""

    ordered_by = ("title", "created_at", "updated_at")

    service: OptionalReference = None
    environment: OptionalReference = None
    tag: Annotated[str, StringConstraints(max_length=100)] = ""
    is_active: bool | None = None


class SearchRunbooks(Paged):
    """What to look for."""

    query: Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_QUERY)] = ""
    service: OptionalReference = None
    environment: OptionalReference = None
    tags: Tags = []
    deployment: OptionalId = None

    @model_validator(mode="after")
    def _says_something(self) -> "SearchRunbooks":
        if not self.query and self.deployment is None:
            raise at("query", "is required unless a deployment is given")
        return self

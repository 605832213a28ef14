"""What callers may say: the base of every input, and the kinds of values that all resources share.

Bounds and patterns of single resources live in their inputs.py; those here are of the contract as a whole.
"""

import re
from collections.abc import Collection
from datetime import datetime, timedelta
from functools import cache
from importlib import resources
from typing import Annotated, Any, ClassVar, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
)
from pydantic_core import PydanticCustomError

from relman_server.kernel.errors import InvalidInput, Violation
from relman_server.kernel.ids import parse_id

NAME = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"


class Input(BaseModel):
    """What a caller said, checked: every violation is found at once. Immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Change(Input):
    """What an update shall set: exactly the fields of `model_fields_set` that are not about the update itself."""

    etag: str = ""

    def wanted(self) -> dict[str, Any]:
        """Return the fields to set and their values."""
        about = {"etag", *self.targets()}
        return {name: getattr(self, name) for name in self.model_fields_set if name not in about}

    @classmethod
    def targets(cls) -> set[str]:
        """Return the fields that say what to change: the required ones."""
        return {name for name, field in cls.model_fields.items() if field.is_required()}


def _no_line_breaks(text: str) -> str:
    if "\n" in text or "\r" in text:
        raise ValueError("must be a single line")
    return text


def _semver(text: str) -> str:
    version = text.removeprefix("v")
    if not SEMVER.match(version) or len(version) > 128:
        raise ValueError("must be a version like 1.4.2 or 2.0.0-rc.1 (SemVer 2.0), at most 128 characters")
    return version


def _uuid(text: object) -> UUID:
    if isinstance(text, UUID):
        return text
    parsed = parse_id(text) if isinstance(text, str) else None
    if parsed is None:
        raise ValueError("must be a UUID in its canonical form of 36 characters")
    return parsed


def _name(text: str) -> str:
    if not re.match(NAME, text) or text.endswith("\n"):
        raise ValueError("must be 1 to 63 of a-z, 0-9 and -, begin with a letter and not end with -")
    if parse_id(text) is not None:
        raise ValueError("must not look like a UUID: it could not be told from an id")
    return text


def _reference(text: str) -> str:
    if not text:
        raise ValueError("must name a resource")
    if len(text) > 320:
        raise ValueError("is too long to name anything")
    return text


@cache
def _time_zones() -> frozenset[str]:
    """Return the names of the package tzdata: those of the machine may be fewer, or mean something here only."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text().split())


def _time_zone(name: str) -> str:
    if name and name not in _time_zones():
        raise ValueError("must be the IANA name of a time zone, such as Europe/Berlin")
    return name or "UTC"


# https://semver.org, the pattern the specification suggests
SEMVER = re.compile(
    r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?\Z",
    re.ASCII,
)

Name = Annotated[str, AfterValidator(_name)]
Reference = Annotated[str, AfterValidator(_reference)]
OptionalReference = Annotated[str | None, BeforeValidator(lambda value: value or None)]
Id = Annotated[UUID, BeforeValidator(_uuid)]
OptionalId = Annotated[Id | None, BeforeValidator(lambda text: text or None)]
SemVer = Annotated[str, AfterValidator(_semver)]
Line = Annotated[str, AfterValidator(_no_line_breaks)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000)]
RequiredReason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Query = Annotated[str, StringConstraints(max_length=200)]
Labels = Annotated[
    dict[Annotated[str, AfterValidator(_name)], Annotated[str, StringConstraints(max_length=256)]],
    Field(max_length=64),
]


class Target(Input):
    """A request that only names a resource, with what it must look like."""

    etag: str = ""


def parse_order(text: str, fields: Collection[str]) -> tuple[str, bool]:
    """Return the field that an order_by names and whether it descends; raise ValueError for anything else."""
    words = text.split()
    if not 1 <= len(words) <= 2 or words[0] not in fields or (len(words) == 2 and words[1] not in {"asc", "desc"}):
        raise ValueError(f'must be one of {", ".join(fields)}, optionally followed by "desc"')
    return words[0], words[-1] == "desc"


PageToken = Annotated[str, StringConstraints(max_length=4096)]


class Continued(Input):
    """What is answered at once, and goes on in another answer only where one does not hold it."""

    page_token: PageToken = ""


class Paged(Input):
    """Which part of a list whose order is its own."""

    page_size: Annotated[int, Field(ge=0)] = 0
    page_token: PageToken = ""
    skip: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    exact_total: bool = False


class Page(Paged):
    """Which part of a list, in which order.

    Attributes:
        ordered_by: The fields it can be ordered by: those of the list's Ordering.
    """

    ordered_by: ClassVar[tuple[str, ...]] = ()

    order_by: Annotated[str, StringConstraints(max_length=200)] = ""

    @field_validator("order_by")
    @classmethod
    def _is_an_order(cls, text: str) -> str:
        if text.strip():
            parse_order(text, cls.ordered_by)
        return text


class Between(Input):
    """A half-open range of times."""

    start_date: datetime | None = None
    end_date: datetime | None = None


M = TypeVar("M", bound=Input)

_MESSAGES = {
    "missing": "is required",
    "string_too_short": "must not be empty",
    "extra_forbidden": "is not known here",
}


def check(model: type[M], values: dict[str, Any], *found: Violation) -> M:
    """Return the input, or raise InvalidInput with what was found already and every violation of the model."""
    try:
        checked = model.model_validate(values)
    except ValidationError as error:
        found += tuple(violations(error))
    else:
        if not found:
            return checked
    # Not where pydantic's error is caught, lest it be the context of this one: it hides what it holds from the garbage
    # collector, so the two, the frames of the call and the whole request would stay in memory for good.
    raise InvalidInput(*found)


def violations(error: ValidationError) -> list[Violation]:
    """Return pydantic's findings in the contract's terms: paths as in the proto, sentences for people."""
    found = []
    for item in error.errors(include_url=False, include_input=False):
        message = _MESSAGES.get(item["type"]) or item["msg"].removeprefix("Value error, ")
        message = message.replace("Input should", "must").replace("String should", "must")
        message = message.replace("List should", "must").replace("Dictionary should", "must")
        path = item["type"].removeprefix("at:") if item["type"].startswith("at:") else _path(item["loc"])
        found.append(Violation(path, message))
    return found


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]":
            path += f".{part}" if path else part
    return path


def at(field: str, description: str) -> PydanticCustomError:
    """Return the error to raise in a validator of the whole input for what is wrong with one of its fields."""
    return PydanticCustomError(f"at:{field}", "{description}", {"description": description})


def seconds(minimum: float, maximum: float) -> Any:
    """Return a bound on a span of time, for `Annotated`."""
    return Field(ge=timedelta(seconds=minimum), le=timedelta(seconds=maximum))

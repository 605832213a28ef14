"""From what a person types to what the contract takes."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from relman_client.v1.stage_pb2 import StageSpec

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_LONGEST = 20_000 * 86400  # nobody means more; the contract's numbers hold it, and it leads to a time there is
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(s|m|min|h|d)", re.ASCII)

LimitOption = Annotated[int, typer.Option("--limit", "-n", min=0, help="How many to show; 0 shows all.")]
LabelsOption = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="May be repeated.")]
StagesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--stage", metavar="NAME[:SECONDS]", help="A stage to create with it, and its timeout. May be repeated."
    ),
]


def enum_of(kind: "_EnumTypeWrapper[Any]", text: str, option: str) -> Any:  # an enum's numbers have a type each
    """A value by its name without the prefix, in any case: `in-progress`."""
    prefix = kind.DESCRIPTOR.values_by_number[0].name.removesuffix("UNSPECIFIED")
    name = prefix + re.sub("[ -]", "_", text.strip()).upper()
    if name not in kind.keys() or name == f"{prefix}UNSPECIFIED":  # noqa: SIM118 - it is no mapping
        names = [key.removeprefix(prefix).lower().replace("_", "-") for key in kind.keys()[1:]]
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(names)}", param_hint=option)
    return kind.Value(name)


def optional_enum_of(kind: "_EnumTypeWrapper[Any]", text: str | None, option: str) -> Any:  # as above
    """The same for an option that may be left out."""
    return enum_of(kind, text, option) if text else None


def seconds_of(text: str, option: str) -> float:
    """A span: `90`, `45s`, `10m`, `1h30m`, `2d`."""
    if text.isascii() and text.isdigit():
        return _within_reason(float(text), option)
    matches = list(_SPAN.finditer(text))
    if not matches or "".join(match[0] for match in matches) != text:
        raise typer.BadParameter(f"{text!r} is no span of time such as 45s, 10m, 1h30m or 2d", param_hint=option)
    return _within_reason(sum(float(match[1]) * _UNITS[match[2]] for match in matches), option)


def _within_reason(seconds: float, option: str) -> float:
    if seconds > _LONGEST:
        raise typer.BadParameter(f"must be at most {_LONGEST // _UNITS['d']}d", param_hint=option)
    return seconds


def duration_of(text: str | None, option: str) -> Duration | None:
    """A span as the contract has it."""
    if text is None:
        return None
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds_of(text, option)))
    return duration


def time_of(text: str | None, option: str) -> Timestamp | None:
    """A time: how long ago (`10m`), or a date or time in ISO 8601, of this machine's zone when it names none."""
    if text is None:
        return None
    timestamp = Timestamp()
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):  # the latter of the first and the last day there is, in another zone
        moment = datetime.now(UTC) - timedelta(seconds=seconds_of(text, option))
    timestamp.FromDatetime(moment)
    return timestamp


def labels_of(texts: Iterable[str] | None) -> dict[str, str]:
    """Labels by key."""
    labels = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--label")
        labels[key] = value
    return labels


def stages_of(texts: Iterable[str] | None) -> list[StageSpec]:
    """Stages in their order."""
    stages = []
    for text in texts or ():
        name, colon, seconds = text.partition(":")
        if colon and not (seconds.isascii() and seconds.isdigit() and seconds.strip("0")):
            raise typer.BadParameter(f"{text!r} is not NAME or NAME:SECONDS, at least 1", param_hint="--stage")
        stages.append(StageSpec(name=name, timeout_seconds=int(seconds_of(seconds or "0", "--stage"))))
    return stages

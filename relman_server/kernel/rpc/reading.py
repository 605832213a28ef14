"""Requests to inputs: a message's fields under their own names, in Python's types, checked by the input's model.

`reader(Request, Model)` is all a convert.py says of a plain request. It fails at import when the model and the message
do not have the same fields.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from relman_server.kernel.errors import InvalidInput, Violation
from relman_server.kernel.inputs import Change, Input, check
from relman_server.kernel.rpc import descriptors

M = TypeVar("M", bound=Message)
I = TypeVar("I", bound=Input)  # noqa: E741 - I for Input, beside M for Message
C = TypeVar("C", bound=Change)

# The kernel's own business in a request; inputs do not see them.
KERNEL_FIELDS = {"request_id", "update_mask", "validate_only"}

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Values = dict[str, Any]  # field -> value in Python's types, before pydantic has looked at it
Reader = Callable[[Message], Input]

READERS: dict[str, Reader] = {}
"""The reader of every request that has one, by the message's full name: the check of requests (validate.py) uses it to
find all violations at once."""


def reader(message: type[M], model: type[I]) -> Callable[[M], I]:
    """Return the function that reads such a message as such an input, raising InvalidInput."""
    descriptor = message.DESCRIPTOR
    _compare(descriptor, model)

    def read(request: M) -> I:
        return check(model, _values(request))

    READERS[descriptor.full_name] = read  # type: ignore[assignment]  # only ever called with its own message
    return read


def change_reader(message: type[M], model: type[C]) -> Callable[[M], C]:
    """As `reader`, for updates: the input has exactly the fields that update_mask, or presence, says to set."""
    descriptor = message.DESCRIPTOR
    _compare(descriptor, model)
    fields = {field.name: field for field in _fields(descriptor)}
    targets = model.targets()
    mutable = [name for name in fields if name not in targets and name != "etag"]

    def read(request: M) -> C:
        wrong: list[Violation] = []
        mask = getattr(request, "update_mask")  # noqa: B009 - every update has one, which the type cannot say
        paths = list(mask.paths)
        if paths == ["*"]:
            paths = mutable
        elif not request.HasField("update_mask"):
            paths = [name for name in mutable if _present(request, fields[name])]
        known = f"one of {', '.join(mutable)}, nor *"
        wrong += [Violation("update_mask", f"{path!r} is not {known}") for path in paths if path not in mutable]
        chosen = [fields[name] for name in (*targets, "etag", *paths) if name in fields]
        values = {field.name: _value(request, field, wrong, field.name) for field in chosen}
        return check(model, values, *wrong)

    READERS[descriptor.full_name] = read  # type: ignore[assignment]  # only ever called with its own message
    return read


def _compare(descriptor: Any, model: type[Input]) -> None:
    expected = {field.name for field in _fields(descriptor)}
    found = set(model.model_fields)
    if "etag" not in expected:
        found -= {"etag"}
    if expected != found:
        raise TypeError(f"{model.__name__} and {descriptor.full_name} differ: {sorted(expected ^ found)}")


@cache
def _fields(descriptor: Descriptor) -> tuple[FieldDescriptor, ...]:
    return tuple(
        field
        for field in descriptor.fields
        if field.name not in KERNEL_FIELDS and not descriptors.is_output_only(field)
    )


def _present(message: Message, field: FieldDescriptor) -> bool:
    return message.HasField(field.name) if field.has_presence else bool(getattr(message, field.name))


def _values(message: Message) -> Values:
    wrong: list[Violation] = []
    values = values_of(message, wrong, "")
    if wrong:
        raise InvalidInput(*wrong)
    return values


def values_of(message: Message, wrong: list[Violation], path: str) -> Values:
    """Return the fields that are set, and all that have no presence; append what cannot be read to `wrong`."""
    found: Values = {}
    for field in _fields(message.DESCRIPTOR):
        if field.has_presence and not message.HasField(field.name):
            continue
        value = _value(message, field, wrong, f"{path}{field.name}")
        if value is not None:  # an enum's zero is: not said
            found[field.name] = value
    return found


def _value(message: Message, field: FieldDescriptor, wrong: list[Violation], path: str) -> Any:
    value = getattr(message, field.name)
    if descriptors.is_map(field):
        return dict(value)
    convert = _converter(field)
    if field.is_repeated:
        return [convert(item, wrong, f"{path}[{index}]") for index, item in enumerate(value)]
    if field.message_type is not None and not message.HasField(field.name):
        return None
    return convert(value, wrong, path)


@cache
def _converter(field: FieldDescriptor) -> Callable[[Any, list[Violation], str], Any]:
    if field.enum_type is not None:
        names = descriptors.short_names(field.enum_type)
        return lambda value, wrong, path: names.get(value)
    if field.message_type is None:
        return lambda value, wrong, path: value
    if field.message_type.full_name == "google.protobuf.Timestamp":
        return _time
    if field.message_type.full_name == "google.protobuf.Duration":
        return _span
    return lambda value, wrong, path: values_of(value, wrong, f"{path}.")


def _time(value: Any, wrong: list[Violation], path: str) -> datetime | None:
    try:
        if not 0 <= value.nanos < 1_000_000_000:
            raise OverflowError
        return EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)
    except OverflowError:
        wrong.append(Violation(path, "must be a time of the years 1 to 9999"))
        return None


def _span(value: Any, wrong: list[Violation], path: str) -> timedelta | None:
    try:
        if not -1_000_000_000 < value.nanos < 1_000_000_000:
            raise OverflowError
        return timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)
    except OverflowError:
        wrong.append(Violation(path, "must be a span of less than 10,000 years"))
        return None

"""What the contract says of methods and fields, read from the descriptors."""

from functools import cache
from typing import Any

from google.api.field_behavior_pb2 import FieldBehavior, field_behavior
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor

from relman_client.v1 import options_pb2
from relman_server.kernel.identity import Access, Policy

PACKAGE = "relman.v1"


class PolicyMissing(Exception):  # noqa: N818 - a mistake in the contract, found at the start
    """An RPC of the contract does not say who may call it."""


def policy_of(method: MethodDescriptor) -> Policy:
    """Return the policy of an RPC; raise PolicyMissing when it carries none, or half of one."""
    options = method.GetOptions()
    if not options.HasExtension(options_pb2.policy):
        raise PolicyMissing(f"{method.full_name} has no (relman.v1.policy): nothing is open by omission")
    said = options.Extensions[options_pb2.policy]
    if said.public:
        return Policy("", said.audit, Access.PUBLIC)
    if not said.permission or said.access == options_pb2.ACCESS_UNSPECIFIED:
        raise PolicyMissing(f"{method.full_name} is neither public nor says its permission and access")
    access = Access[options_pb2.Access.Name(said.access).removeprefix("ACCESS_")]
    return Policy(said.permission, said.audit, access)


def policies(services: list[ServiceDescriptor]) -> dict[str, Policy]:
    """Return the policy of every RPC by its path, `/relman.v1.ReleaseService/GetRelease`."""
    return {
        f"/{service.full_name}/{method.name}": policy_of(method) for service in services for method in service.methods
    }


@cache
def behaviors(field: FieldDescriptor) -> frozenset[int]:
    """Return the field_behavior annotations of a field."""
    extension: Any = field_behavior  # a repeated enum, which the stubs of Extensions do not know
    return frozenset(field.GetOptions().Extensions[extension])


def is_required(field: FieldDescriptor) -> bool:
    """Whether a request must set the field."""
    return FieldBehavior.REQUIRED in behaviors(field)


def is_output_only(field: FieldDescriptor) -> bool:
    """Whether what a request sets there is ignored."""
    return FieldBehavior.OUTPUT_ONLY in behaviors(field)


def is_sensitive(field: FieldDescriptor) -> bool:
    """Whether the field must never be logged, audited or exported."""
    return bool(field.GetOptions().Extensions[options_pb2.sensitive])


def enum_prefix(enum: EnumDescriptor) -> str:
    """Return what every value of an enum begins with: `RELEASE_STATUS_`."""
    zero: str = enum.values_by_number[0].name
    return zero.removesuffix("UNSPECIFIED")


@cache
def short_names(enum: EnumDescriptor) -> dict[int, str | None]:
    """Return the values of an enum by number, without the prefix; zero is None: not said."""
    prefix = enum_prefix(enum)
    return {
        number: value.name.removeprefix(prefix) if number else None for number, value in enum.values_by_number.items()
    }


@cache
def numbers(enum: EnumDescriptor) -> dict[str, int]:
    """Return the numbers of an enum by name without the prefix."""
    return {name: number for number, name in short_names(enum).items() if name}


def is_map(field: FieldDescriptor) -> bool:
    """Whether the field is a map."""
    message: Descriptor | None = field.message_type
    return message is not None and message.GetOptions().map_entry

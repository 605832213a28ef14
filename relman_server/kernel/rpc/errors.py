"""Fourth step: what was raised inside becomes a status with details. Nothing else leaves the server."""

import asyncio
from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status

from relman_server.kernel import errors
from relman_server.kernel.identity import Call
from relman_server.kernel.rpc.chain import Context, Proceed
from relman_server.kernel.rpc.request_id import HEADER
from relman_server.kernel.rpc.writing import duration

DOMAIN = "relman"
# Clients refuse more than 8 KiB of metadata: then the caller sees RESOURCE_EXHAUSTED instead of what is wrong. The
# message travels twice, once percent-encoded (a byte outside ASCII takes three) and once with the details in base64
# (three bytes take four), so at their largest the two take 7 KiB.
MAX_DETAILS = 3400
MAX_MESSAGE = 1000

CODES: dict[type[errors.RelmanError], grpc.StatusCode] = {
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Aborted: grpc.StatusCode.ABORTED,
    errors.OutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
}

log = structlog.get_logger(__name__)


class Errors:
    """Maps the errors of kernel/errors.py; anything else is INTERNAL with a correlation id and nothing more."""

    async def __call__(self, call: Call, request: Any, context: Context, proceed: Proceed) -> Any:
        """Let answers pass and turn what is raised into a status."""
        try:
            return await proceed(call, request, context)
        except errors.RelmanError as error:
            await refuse(call, context, error)
        except grpc.aio.AbortError:
            call.status = "ABORTED_BY_HANDLER"  # health and reflection, which are not ours, end calls this way
            raise
        except asyncio.CancelledError:
            call.status = "CANCELLED"
            if _is_over():
                raise
            # Cancelled inside: without an answer the caller would wait for good.
            await refuse(call, context, errors.Unavailable("The server ended the call.", reason="SHUTTING_DOWN"))
        except Exception:
            log.exception("unexpected", method=call.method, request_id=call.request_id)
            message = "An unexpected error; the server's log has it under the correlation id."
            await refuse(call, context, errors.RelmanError(message, metadata={"correlation_id": call.request_id}))


def _is_over() -> bool:
    """Whether gRPC ended the call: its caller left, or the deadline passed. `context.cancelled()` does not tell."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def refuse(call: Call, context: Context, error: errors.RelmanError) -> NoReturn:
    """End the call with the error's status and details."""
    code = next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), grpc.StatusCode.INTERNAL)
    call.status, call.reason = code.name, error.reason
    message = cut(error.message, MAX_MESSAGE)
    number: int = code.value[0]
    status = Status(code=number, message=message, details=[_pack(detail) for detail in details_of(error)])
    metadata = ((HEADER, call.request_id), ("grpc-status-details-bin", status.SerializeToString()))
    await context.abort(code, message, metadata)
    raise AssertionError("unreachable: abort raises")


def details_of(error: errors.RelmanError) -> list[Message]:
    """Return the google.rpc details of an error, ErrorInfo first."""
    found: list[Message] = [details.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)]
    if isinstance(error, errors.InvalidInput):
        found.append(_bad_request(error.violations))
    elif isinstance(error, errors.NotFound | errors.AlreadyExists):
        found.append(
            details.ResourceInfo(resource_type=error.resource_type, resource_name=cut(error.resource_name, 800))
        )
    elif isinstance(error, errors.FailedPrecondition):
        found.append(_precondition(error.conditions))
    elif isinstance(error, errors.Unavailable | errors.ResourceExhausted) and error.retry_after is not None:
        found.append(details.RetryInfo(retry_delay=duration(error.retry_after)))
    return found


def _bad_request(violations: tuple[errors.Violation, ...]) -> details.BadRequest:
    bad = details.BadRequest()
    room = MAX_DETAILS
    for index, violation in enumerate(violations):
        one = details.BadRequest.FieldViolation(
            field=cut(violation.field, 400), description=cut(violation.description, 800)
        )
        room -= one.ByteSize() + 4
        if room < 0:
            bad.field_violations.add(field="...", description=f"and {len(violations) - index} more")
            break
        bad.field_violations.append(one)
    return bad


def _precondition(conditions: tuple[errors.Condition, ...]) -> details.PreconditionFailure:
    failure = details.PreconditionFailure()
    room = MAX_DETAILS
    for index, condition in enumerate(conditions):
        one = details.PreconditionFailure.Violation(
            type=condition.type, subject=cut(condition.subject, 400), description=cut(condition.description, 800)
        )
        room -= one.ByteSize() + 4
        if room < 0:
            failure.violations.add(type="MORE", description=f"and {len(conditions) - index} more")
            break
        failure.violations.append(one)
    return failure


def cut(text: str, room: int) -> str:
    """Return as much of the text as has room when every byte outside ASCII takes three, as in `grpc-message`."""
    if len(text) * 12 <= room:
        return text
    for index, letter in enumerate(text):
        room -= 1 if letter.isascii() and letter != "%" and letter.isprintable() else 3 * len(letter.encode())
        if room < 0:
            return f"{text[: max(index - 3, 0)]}..."
    return text


def _pack(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed

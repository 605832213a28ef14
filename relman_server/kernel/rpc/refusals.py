"""Fifth step: attempts that the caller had no right to make go into the audit log."""

from typing import Any

from google.protobuf.message import Message

from relman_server.kernel.db.denials import Attempt, Denials
from relman_server.kernel.errors import PermissionDenied, RelmanError, Unauthenticated
from relman_server.kernel.identity import Call
from relman_server.kernel.rpc import descriptors
from relman_server.kernel.rpc.chain import Context, Proceed

MAX_TARGET = 200


class Refusals:
    """Tells `Denials` of every call that ends PERMISSION_DENIED or UNAUTHENTICATED, wherever inside it was refused."""

    def __init__(self, denials: Denials) -> None:
        self._denials = denials

    async def __call__(self, call: Call, request: Any, context: Context, proceed: Proceed) -> Any:
        """Note the refusal and pass it on."""
        try:
            return await proceed(call, request, context)
        except (PermissionDenied, Unauthenticated) as error:
            # A stream whose token ended while it went on was no attempt at anything.
            if call.lifetime is None or not call.lifetime.ended:
                self._note(call, request, error)
            raise

    def _note(self, call: Call, request: Any, error: RelmanError) -> None:
        field, target = _target(request)
        action, resource_type = call.method, ""
        if call.policy is not None and call.policy.action:
            action = call.policy.action
            resource_type = action.partition(".")[0]
        elif call.policy is not None:
            action = call.policy.permission
            resource_type = field or action.partition(".")[0]
        attempt = Attempt(
            action=action,
            reason=error.reason,
            resource_type=resource_type,
            field=field,
            target=target,
            user_id=call.identity.user_id if call.identity else None,
            username=call.identity.username if call.identity else "",
            address=call.address,
        )
        self._denials.note(attempt, request_id=call.request_id, user_agent=call.user_agent, message=error.message)


def _target(request: Any) -> tuple[str, str]:
    """Return name and value of the field that says what a request is about: in this contract the first."""
    if not isinstance(request, Message) or not request.DESCRIPTOR.fields:
        return "", ""
    field: Any = request.DESCRIPTOR.fields[0]  # two classes of descriptors, which the stubs tell apart
    value = getattr(request, field.name)
    if not isinstance(value, str) or not value or descriptors.is_sensitive(field):
        return "", ""
    # Whoever is refused is refused before the request is checked; one of the databases cannot hold NUL.
    return field.name, value[:MAX_TARGET].replace("\0", "\N{REPLACEMENT CHARACTER}")

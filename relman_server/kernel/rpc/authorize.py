"""Eighth step: whether this caller may call this RPC at all.

What depends on a row is decided in logic, with the row.
"""

from typing import Any

from relman_server.kernel.errors import PermissionDenied
from relman_server.kernel.identity import Access, Call, Policy
from relman_server.kernel.rpc.chain import Context, Proceed

# Not relman's own RPCs, so without a policy in the contract.
OPEN = ("/grpc.health.v1.Health/", "/grpc.reflection.", "/grpc.channelz.v1.Channelz/")


class Authorize:
    """Compares the caller with the policy that the contract declares. Without a policy nobody may."""

    async def __call__(self, call: Call, request: Any, context: Context, proceed: Proceed) -> Any:
        """Refuse callers that the policy does not admit."""
        if call.policy is None:
            if not call.method.startswith(OPEN):
                raise PermissionDenied("This call is not open to anyone.")
        elif call.policy.access is not Access.PUBLIC:
            self._admit(call, call.policy)
        return await proceed(call, request, context)

    def _admit(self, call: Call, policy: Policy) -> None:
        caller = call.caller
        if caller.permissions is not None and policy.permission not in caller.permissions:
            raise PermissionDenied(f"This token does not carry the permission {policy.permission}.")
        if policy.access is Access.ADMIN and not caller.is_admin:
            raise PermissionDenied("Only an admin may do this.")
        if policy.access is Access.AUDITOR and not (caller.is_admin or caller.is_auditor):
            raise PermissionDenied("Only an admin or an auditor may do this.")

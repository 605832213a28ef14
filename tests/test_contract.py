"""What holds of every RPC of the contract, whatever it does."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

import relman_server
from relman_client.v1 import options_pb2, system_pb2
from relman_server.kernel import errors
from relman_server.kernel.rpc import descriptors
from relman_server.kernel.rpc.errors import CODES
from tests.contract import REASONS, RPCS, call, required, services
from tests.factories import RunningServer

# What the contract promises and this server does not offer yet. The list only shrinks: the test below fails when an RPC
# of it is offered, and when one that is not in it is missing.
UNIMPLEMENTED = {
    "AuthService": {
        "CheckPermission",
        "CreateApiToken",
        "ExchangeToken",
        "ListApiTokens",
        "ListSessions",
        "Logout",
        "RevokeApiToken",
        "RevokeSession",
    },
}

# Mutating RPCs that do not name themselves: three answer secrets, which are not kept to be answered again, and log
# lines have numbers, which do the same for a whole stream.
WITHOUT_REQUEST_ID = {
    "AuthService/ExchangeToken",
    "AuthService/Login",
    "AuthService/RefreshToken",
    "DeploymentLogService/WriteLogs",
}


async def test_every_rpc_is_offered_or_listed_as_missing(shared_server: RunningServer) -> None:
    """Fails when a method is taken out of a servicer, or a service out of app.py, and when the list is out of date."""
    missing = set()
    for rpc in RPCS:
        outcome = await call(shared_server.channel, rpc, required(rpc), shared_server.admin.metadata)
        if outcome.status == "UNIMPLEMENTED":
            assert outcome.reason == "UNIMPLEMENTED", f"{rpc.name}: its service is not registered"
            missing.add(rpc.name)
    assert missing == {f"{service}/{method}" for service, methods in UNIMPLEMENTED.items() for method in methods}


def test_every_mutating_rpc_can_name_its_request() -> None:
    without = {rpc.name for rpc in RPCS if rpc.mutating and not rpc.has_request_id}
    assert without == WITHOUT_REQUEST_ID


def test_reads_do_not_name_their_requests() -> None:
    assert not [rpc.name for rpc in RPCS if rpc.has_request_id and not rpc.mutating]


def test_every_service_of_the_contract_is_found() -> None:
    """The walks of this suite are worth nothing when they walk past a service."""
    protos = Path(__file__).parents[1] / "proto" / "relman" / "v1"
    said = {
        line.split()[1]
        for file in protos.glob("*.proto")
        for line in file.read_text().splitlines()
        if line.startswith("service ")
    }
    assert {service.name for service in services()} == said


def _service(policy: options_pb2.MethodPolicy | None) -> ServiceDescriptor:
    """Make a service with one RPC of this policy, as the contract could have it by mistake."""
    pool = DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="mistake.proto", package="mistake", syntax="proto3")
    file.message_type.add(name="Nothing")
    method = file.service.add(name="Mistake").method.add(
        name="Make", input_type=".mistake.Nothing", output_type=".mistake.Nothing"
    )
    if policy is not None:
        method.options.Extensions[options_pb2.policy].CopyFrom(policy)
    pool.Add(file)
    found: ServiceDescriptor = pool.FindServiceByName("mistake.Mistake")
    return found


@pytest.mark.parametrize(
    "policy",
    [
        None,
        options_pb2.MethodPolicy(),
        options_pb2.MethodPolicy(permission="mistakes.make"),
        options_pb2.MethodPolicy(access=options_pb2.ACCESS_USER),
    ],
    ids=["no policy", "an empty one", "no access", "no permission"],
)
def test_a_server_is_not_made_with_an_rpc_that_does_not_say_who_may_call_it(
    policy: options_pb2.MethodPolicy | None,
) -> None:
    good = system_pb2.DESCRIPTOR.services_by_name["SystemService"]
    assert descriptors.policies([good])
    with pytest.raises(descriptors.PolicyMissing, match="Mistake"):
        descriptors.policies([good, _service(policy)])


def _reasons() -> Iterator[tuple[str, str]]:
    """Return every reason that is written anywhere in the server, and where."""
    for file in Path(relman_server.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            said = node.value if isinstance(node, ast.keyword) and node.arg == "reason" else None
            # A reason in words, why something was locked, is never a literal in upper case.
            if isinstance(said, ast.Constant) and isinstance(said.value, str) and said.value.isupper():
                yield said.value, f"{file.name}:{said.lineno}"
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.RelmanError):
            yield kind.reason, kind.__name__


def test_every_reason_the_server_gives_is_one_of_the_contract() -> None:
    """Fails when a reason is misspelt, or added without being added to ErrorReason."""
    given = list(_reasons())
    assert len(given) > 20
    assert not [f"{reason} ({where})" for reason, where in given if reason not in REASONS]


def test_every_kind_of_error_has_a_status_of_its_own() -> None:
    kinds = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.RelmanError) and kind is not errors.RelmanError
    }
    assert kinds == set(CODES)
    assert len(set(CODES.values())) == len(CODES)

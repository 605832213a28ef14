import json
import subprocess
import sys
import uuid
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from relman_client import Client, ClientOptions, RelmanError, RetryOptions, Violation, each
from relman_client.v1.auth_pb2 import GetCurrentUserRequest
from relman_client.v1.catalog_pb2 import CreateServiceRequest, GetServiceRequest, ListServicesRequest
from relman_client.v1.deployment_pb2 import StartDeploymentRequest
from relman_client.v1.release_pb2 import CreateReleaseRequest
from relman_client.v1.system_pb2 import GetHealthRequest
from tests.client.pipelines import create_deployment
from tests.services.relman import ADMIN_EMAIL, ServerProcess

NOBODY_LISTENS = "127.0.0.1:1"


def name() -> str:
    return f"s-{uuid.uuid4()}"


def test_importing_the_library_imports_nothing_heavy() -> None:
    code = "import sys, relman_client; print({'grpc', 'google.protobuf', 'typer', 'rich'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_every_public_name_is_where_it_is_said_to_be() -> None:
    code = (
        "import relman_client\n"
        "for name in relman_client.__all__:\n"
        "    first = getattr(relman_client, name)\n"
        "    assert first is getattr(relman_client, name) and first.__name__ == name, name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    import relman_client  # noqa: PLC0415 - as a module

    with pytest.raises(AttributeError, match="Cliant"):
        _ = relman_client.Cliant


def test_the_services_of_the_contract_are_attributes(admin: Client) -> None:
    for attribute in Client.__annotations__:
        assert type(getattr(admin, attribute)).__name__.endswith("ServiceStub")


def test_wrong_fields_are_all_named(admin: Client) -> None:
    with pytest.raises(RelmanError) as refused:
        admin.catalog.CreateService(CreateServiceRequest(name="No Name", repository_url="ftp://x"))
    error = refused.value
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")
    assert [violation.field for violation in error.violations] == ["name", "repository_url"]
    assert isinstance(error.violations[0], Violation)
    assert error.address == admin.address
    assert not error.is_passing
    assert str(error).startswith("INVALID_ARGUMENT INVALID_INPUT: ")


def test_what_is_missing_is_named(admin: Client) -> None:
    with pytest.raises(RelmanError) as refused:
        admin.catalog.GetService(GetServiceRequest(service="nowhere"))
    assert (refused.value.resource_type, refused.value.resource_name) == ("service", "nowhere")


def test_a_state_that_forbids_it_is_in_the_metadata(admin: Client) -> None:
    deployment = create_deployment(admin)
    admin.deployments.StartDeployment(StartDeploymentRequest(deployment=deployment))
    with pytest.raises(RelmanError) as refused:
        admin.deployments.StartDeployment(StartDeploymentRequest(deployment=deployment))
    assert refused.value.reason == "INVALID_STATE"
    assert refused.value.metadata["state"] == "IN_PROGRESS"


def test_nobody_is_not_logged_in_and_may_ask_for_health(running: ServerProcess) -> None:
    with Client(running.address) as client:
        assert client.system.GetHealth(GetHealthRequest()).app.status
        with pytest.raises(RelmanError) as refused:
            client.auth.GetCurrentUser(GetCurrentUserRequest())
    assert refused.value.reason == "TOKEN_MISSING"


def test_a_wrong_password_is_refused(running: ServerProcess) -> None:
    with Client(running.address) as client, pytest.raises(RelmanError) as refused:
        client.login(ADMIN_EMAIL, "wrong horse battery staple")
    assert refused.value.reason == "WRONG_CREDENTIALS"


def test_where_nobody_listens_is_unreachable_and_soon_said_so() -> None:
    options = ClientOptions(retries=RetryOptions(attempts=2))
    with Client(NOBODY_LISTENS, options=options) as client, pytest.raises(RelmanError) as refused:
        client.system.GetHealth(GetHealthRequest())
    assert refused.value.is_unreachable
    assert refused.value.is_passing
    assert refused.value.address == NOBODY_LISTENS


def test_a_call_ends_at_its_deadline_whatever_is_left_to_try() -> None:
    with Client(NOBODY_LISTENS, options=ClientOptions(timeout=0.2)) as client, pytest.raises(RelmanError):
        client.system.GetHealth(GetHealthRequest())


class LostAnswerError(grpc.RpcError):
    """What grpc raises when the connection breaks after the request was sent."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "Socket closed"

    def trailing_metadata(self) -> tuple[()]:
        return ()


def test_a_change_whose_answer_was_lost_happens_once(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the request_id the second attempt would say ALREADY_EXISTS."""
    call: Any = admin.catalog.CreateService
    really = call._raw.with_call
    answers: list[Any] = []

    def lose_the_first(request: Any, **how: Any) -> Any:
        answers.append(really(request, **how))
        if len(answers) == 1:
            raise LostAnswerError
        return answers[-1]

    monkeypatch.setattr(call, "_raw", SimpleNamespace(with_call=lose_the_first))
    request = CreateServiceRequest(name=name())
    created = call(request)
    assert len(answers) == 2
    assert created == answers[0][0]
    assert not request.request_id  # the caller's message is the caller's


def test_lists_are_read_over_all_pages(admin: Client) -> None:
    prefix = f"p{uuid.uuid4().hex[:8]}"
    names = sorted(f"{prefix}-{number}" for number in range(7))
    for service in names:
        admin.catalog.CreateService(CreateServiceRequest(name=service))
    request = ListServicesRequest(query=prefix, page_size=3)
    found = each(admin.catalog.ListServices, request, lambda page: page.services)
    assert [service.name for service in found] == names
    assert not request.page_token
    skipping = ListServicesRequest(query=prefix, page_size=3, skip=2)
    assert [s.name for s in each(admin.catalog.ListServices, skipping, lambda page: page.services)] == names[2:]


def test_an_answer_may_be_as_long_as_a_page_of_long_notes(admin: Client) -> None:
    service = admin.catalog.CreateService(CreateServiceRequest(name=name())).name
    release = CreateReleaseRequest(service=service, version="1.0.0", release_notes="x" * 64_000)
    assert len(admin.releases.CreateRelease(release).release_notes) == 64_000


def test_tokens_do_not_show_in_logs(admin: Client) -> None:
    credentials = admin.credentials
    assert credentials is not None
    assert credentials.access_token not in repr(getattr(credentials, "tokens"))  # noqa: B009 - not of every kind
    assert json.dumps(str(credentials)).count(credentials.access_token) == 0

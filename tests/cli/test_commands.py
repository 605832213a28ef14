"""Every group of commands once, on its way from a team to a deployment that has ended."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from relman_client import Client
from relman_client.cli.options import Output
from relman_client.cli.output import Columns
from relman_client.cli.session import Session
from relman_client.v1 import catalog_pb2
from tests.cli.conftest import Command
from tests.client.pipelines import create_deployment


def answer(command: Command, *arguments: str, **more: Any) -> Any:
    """What a command answers as JSON."""
    done = command(*arguments, "-o", "json", **more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout else None


@pytest.fixture
def name() -> str:
    return f"c{uuid.uuid4().hex[:10]}"


def test_teams_and_users(relman: Command, name: str) -> None:
    assert answer(relman, "team", "create", name, "--slack", "#us")["slack_channel"] == "#us"
    user = answer(relman, "user", "create", name, f"{name}@example.com", "--auditor")
    assert (user["username"], user["is_auditor"], user["is_admin"]) == (name, True, False)
    assert answer(relman, "team", "add", name, name)["role"] == "TEAM_ROLE_MEMBER"
    assert answer(relman, "team", "set-role", name, name, "maintainer")["role"] == "TEAM_ROLE_MAINTAINER"
    assert {member["username"] for member in answer(relman, "team", "members", name)} == {"admin", name}
    assert answer(relman, "team", "update", name, "--description", "we")["description"] == "we"
    assert [team["name"] for team in answer(relman, "team", "list", "--user", name)] == [name]
    assert relman("team", "remove", name, name).returncode == 0
    assert answer(relman, "user", "deactivate", name)["is_active"] is False
    assert name in [user["username"] for user in answer(relman, "user", "list", "--inactive", "-n", "0")]
    assert answer(relman, "user", "activate", name)["is_active"] is True
    assert answer(relman, "user", "update", name, "--name", "Nobody", "--no-auditor")["full_name"] == "Nobody"
    assert answer(relman, "user", "get", name)["is_auditor"] is False
    assert relman("team", "delete", name).stderr == f"team {name} is deleted\n"
    assert relman("team", "get", name).returncode == 1


def test_a_user_may_get_a_first_password(relman: Command, name: str) -> None:
    password = "long enough it is\n"
    answer(relman, "user", "create", name, f"{name}@example.com", "--password-stdin", input=password)
    done = relman("login", "--login", name, "--password-stdin", input=password)
    assert (done.returncode, done.stderr.split()[-2:]) == (0, ["as", name])


def test_services(relman: Command, name: str) -> None:
    created = answer(relman, "service", "create", name, "--description", "It", "--slack", "#it")
    assert answer(relman, "service", "get", created["id"]) == created
    assert answer(relman, "service", "update", name, "--inactive")["is_active"] is False
    assert answer(relman, "service", "list", "--inactive", "-q", name)[0]["id"] == created["id"]
    assert answer(relman, "service", "health", name)["status"] == "HEALTH_STATUS_UNKNOWN"
    assert relman("service", "delete", name).stderr == f"service {name} is deleted\n"
    assert answer(relman, "service", "list", "-q", name) == []
    assert relman("service", "list", "-q", name).stderr == "no services\n"


def test_the_health_of_a_service_counts_the_open_incidents_of_each_environment(relman: Command, name: str) -> None:
    relman("service", "create", name)
    relman("env", "create", name, "--type", "testing")
    for title in ("Nobody can pay", "Nobody can log in"):
        answer(relman, "incident", "create", title, "--service", name, "-e", name)
    shown = relman("service", "health", name).stdout.splitlines()
    (titles,) = (line for line in shown if line.startswith("ENVIRONMENT "))
    (row,) = (line for line in shown if line.startswith(f"{name} "))
    assert row[titles.index("OPEN INCIDENTS") :].split()[0] == "2"


def test_environments(relman: Command, name: str) -> None:
    created = answer(relman, "env", "create", name, "--type", "staging", "--soak", "1h", "--approvals", "2")
    assert (created["soak_time"], created["required_approvals"]) == ("3600s", 2)
    assert answer(relman, "env", "update", name, "--soak", "0", "--approvals", "0")["required_approvals"] == 0
    assert (
        answer(relman, "env", "lock", name, "--reason", "stocktaking", "--for", "5m")["lock"]["reason"] == "stocktaking"
    )
    assert "lock" not in answer(relman, "env", "unlock", name)
    assert answer(relman, "env", "status", name)["environment"]["name"] == name
    assert name in [env["name"] for env in answer(relman, "env", "list", "--type", "staging", "-n", "0")]
    assert relman("env", "delete", name).returncode == 0


def test_releases(relman: Command, name: str) -> None:
    relman("service", "create", name)
    (relman.folder / "notes.md").write_text("# New\nall")
    created = answer(relman, "release", "create", name, "1.4.2", "--commit", "0123abc", "--notes-file", "notes.md")
    assert (created["status"], created["release_notes"]) == ("RELEASE_STATUS_DRAFT", "# New\nall")
    reference = f"{name}@1.4.2"
    notes = answer(relman, "release", "update", reference, "--notes-file", "-", input="typed")["release_notes"]
    assert notes == "typed"
    assert answer(relman, "release", "publish", reference)["status"] == "RELEASE_STATUS_PUBLISHED"
    assert "quarantine" in answer(relman, "release", "quarantine", reference, "--reason", "bad")
    assert "quarantine" not in answer(relman, "release", "clear-quarantine", reference, "--reason", "good")
    assert len(answer(relman, "release", "history", reference)) == 1
    assert answer(relman, "release", "list", "--service", name, "--status", "published")[0]["version"] == "1.4.2"
    assert answer(relman, "release", "abandon", reference, "--reason", "late")["status"] == "RELEASE_STATUS_ABANDONED"
    answer(relman, "release", "create", name, "1.5.0")
    assert relman("release", "delete", f"{name}@1.5.0").stderr == f"release {name}@1.5.0 is deleted\n"


def test_the_changes_of_a_release_come_from_git(relman: Command, name: str) -> None:
    relman("service", "create", name)
    git = ["git", "-c", "user.name=Ann", "-c", "user.email=ann@example.com"]
    subprocess.run([*git, "init", "-q"], cwd=relman.folder, check=True)
    for title in ("First", "Second: \x1b[31mred", "Third"):
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", title], cwd=relman.folder, check=True)
    created = answer(relman, "release", "create", name, "1.0.0", "--changes", "HEAD~2..HEAD")
    assert [change["title"] for change in created["changes"]] == ["Third", "Second: \x1b[31mred"]
    assert {change["author"] for change in created["changes"]} == {"Ann"}
    refused = relman("release", "create", name, "1.0.1", "--changes", "--output=stolen")
    assert refused.returncode == 1
    assert not (relman.folder / "stolen").exists()


def test_whatever_stands_in_a_commit_it_can_be_a_change_of_a_release(relman: Command, name: str) -> None:
    relman("service", "create", name)
    git = ["git", "-c", "user.name=" + "A" * 300, "-c", "user.email=ann@example.com"]
    subprocess.run([*git, "init", "-q"], cwd=relman.folder, check=True)
    for title in ("First", "x" * 600, "one\u2028two\x0cthree\rfour"):
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", title], cwd=relman.folder, check=True)
    created = answer(relman, "release", "create", name, "1.0.0", "--changes", "HEAD~2..HEAD")
    assert [change["title"] for change in created["changes"]] == ["one two three four", "x" * 497 + "..."]
    assert created["changes"][0]["author"] == "A" * 197 + "..."


def test_a_deployment_and_its_stages(relman: Command, name: str) -> None:
    relman("service", "create", name)
    relman("env", "create", name, "--type", "testing")
    relman("release", "create", name, "1.0.0")
    assert relman("deployment", "check", f"{name}@1.0.0", name).returncode == 1
    relman("release", "publish", f"{name}@1.0.0")
    assert answer(relman, "deployment", "check", f"{name}@1.0.0", name)["allowed"] is True
    stages = ("--stage", "build", "--stage", "test:600", "--stage", "late", "--label", "a=b")
    created = answer(relman, "deployment", "create", f"{name}@1.0.0", name, *stages)
    deployment = created["id"]
    assert (created["status"], created["labels"]) == ("DEPLOYMENT_STATUS_READY", {"a": "b"})
    assert answer(relman, "deployment", "update", deployment, "--label", "c=d")["labels"] == {"c": "d"}
    assert answer(relman, "deployment", "start", deployment)["status"] == "DEPLOYMENT_STATUS_IN_PROGRESS"
    assert answer(relman, "stage", "update", f"{deployment}/test", "--timeout", "60")["timeout_seconds"] == 60
    unlimited = answer(relman, "stage", "update", f"{deployment}/test", "--no-timeout")
    assert (unlimited["name"], unlimited["timeout_seconds"]) == ("test", 0)
    assert answer(relman, "stage", "start", f"{deployment}/build")["status"] == "STAGE_STATUS_RUNNING"
    assert answer(relman, "stage", "progress", f"{deployment}/build", "40", "linking")["progress_percent"] == 40
    assert answer(relman, "stage", "complete", f"{deployment}/build", "--failed")["status"] == "STAGE_STATUS_FAILED"
    assert answer(relman, "stage", "retry", f"{deployment}/build")["attempt"] == 2
    answer(relman, "stage", "start", f"{deployment}/build")
    assert answer(relman, "stage", "complete", f"{deployment}/build", "--result", "ok")["output"] == "ok"
    for stage in ("test", "late"):
        assert answer(relman, "stage", "skip", f"{deployment}/{stage}", "--reason", "no")["output"] == "no"
    assert [stage["name"] for stage in answer(relman, "stage", "list", deployment)] == ["build", "test", "late"]
    assert answer(relman, "stage", "get", f"{deployment}/build")["attempt"] == 2
    assert answer(relman, "deployment", "complete", deployment)["outcome"] == "OUTCOME_SUCCEEDED"
    assert [stage["status"] for stage in answer(relman, "deployment", "get", deployment)["stages"]] == [
        "STAGE_STATUS_SUCCEEDED",
        "STAGE_STATUS_SKIPPED",
        "STAGE_STATUS_SKIPPED",
    ]
    assert answer(relman, "deployment", "list", "--release", f"{name}@1.0.0")[0]["id"] == deployment
    assert answer(relman, "deployment", "events", deployment)[-1]["type"] == "DEPLOYMENT_EVENT_TYPE_SUCCEEDED"
    assert answer(relman, "release", "deploy", f"{name}@1.0.0", name)["kind"] == "DEPLOYMENT_KIND_REDEPLOY"
    assert relman("deployment", "delete", deployment).returncode == 0


def test_cancelling_and_trying_again(relman: Command, admin: Client) -> None:
    deployment = create_deployment(admin, "build")
    cancelled = answer(relman, "deployment", "cancel", deployment, "--reason", "not now")
    assert (cancelled["status"], cancelled["failure_reason"]) == ("DEPLOYMENT_STATUS_CANCELLED", "not now")
    assert answer(relman, "deployment", "retry", deployment)["retry_of"] == deployment


@pytest.fixture
def author(relman: Command, name: str) -> Iterator[Command]:
    """The command of somebody else, who has a release to deploy to an environment where admins approve."""
    password = "long enough it is"
    answer(relman, "user", "create", name, f"{name}@example.com", "--password-stdin", input=f"{password}\n")
    answer(relman, "env", "create", name, "--type", "production", "--approvals", "1")
    with Client(relman.environment["RELMAN_SERVER"]) as client:
        command = relman.as_user(client.login(name, password).access_token)
        answer(command, "service", "create", name)
        answer(command, "release", "create", name, "1.0.0")
        answer(command, "release", "publish", f"{name}@1.0.0")
        yield command


def test_approving_and_rejecting(relman: Command, author: Command, name: str) -> None:
    first = answer(author, "deployment", "create", f"{name}@1.0.0", name)
    assert "Waiting for 1 of 1 approvals: admin." in relman("deployment", "get", first["id"]).stdout
    refused = author("approve", first["id"])
    assert (refused.returncode, "somebody else has to decide" in refused.stderr) == (1, True)
    assert answer(relman, "approve", first["id"], "--notes", "go")["status"] == "DEPLOYMENT_STATUS_READY"
    second = answer(author, "deployment", "create", f"{name}@1.0.0", name)
    assert relman("reject", second["id"]).returncode == 2
    rejected = answer(relman, "reject", second["id"], "--notes", "not on a Friday")
    assert (rejected["status"], rejected["failure_reason"]) == ("DEPLOYMENT_STATUS_REJECTED", "not on a Friday")
    assert len(answer(relman, "approval", "list", "--service", name)) == 2
    (approval,) = answer(relman, "approval", "list", "--status", "approved", "-e", name, "--approver", "admin")
    assert (approval["deployment_id"], approval["notes"]) == (first["id"], "go")
    assert answer(relman, "approval", "get", approval["id"]) == approval
    title, row = relman("approval", "list", "--deployment", second["id"]).stdout.splitlines()
    assert title.split() == ["ID", "DEPLOYMENT", "STATUS", "DECIDED", "EXPIRES", "NOTES"]
    assert row.split()[1:3] == [second["id"], "rejected"]


def test_asking_for_one_more_approval(relman: Command, author: Command, name: str) -> None:
    deployment = answer(author, "deployment", "create", f"{name}@1.0.0", name)["id"]
    asked = answer(author, "approval", "create", deployment, "--approver", "admin", "--notes", "please")
    assert (asked["status"], asked["notes"]) == ("APPROVAL_STATUS_PENDING", "please")
    assert author("approval", "delete", asked["id"]).stderr == f"approval {asked['id']} is withdrawn\n"
    assert [approval["id"] for approval in answer(relman, "approval", "list", "--status", "cancelled")] == [asked["id"]]


def test_a_list_is_an_array_and_says_when_there_is_more(relman: Command, name: str) -> None:
    for number in range(3):
        relman("service", "create", f"{name}-{number}")
    done = relman("service", "list", "-q", name, "-n", "2", "-o", "json")
    assert len(json.loads(done.stdout)) == 2
    assert done.stderr == "2 of 3 are shown; --limit 0 shows all\n"
    assert len(answer(relman, "service", "list", "-q", name, "-n", "0")) == 3


@pytest.mark.parametrize(
    ("there", "limit", "said"),
    [
        (10_001, 1, "1 of more than 10,000 is shown; --limit 0 shows all\n"),
        (10_001, 10_000, "10,000 of more than 10,000 are shown; --limit 0 shows all\n"),
        (10_001, 10_500, ""),
        (10_000, 9_999, "9,999 of 10,000 are shown; --limit 0 shows all\n"),
        (10_000, 10_000, ""),
        (10_001, 0, ""),
    ],
)
def test_a_list_that_was_not_counted_to_its_end_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], there: int, limit: int, said: str
) -> None:
    monkeypatch.setenv("RELMAN_TOKEN", "of nobody")

    def listed(request: catalog_pb2.ListServicesRequest) -> catalog_pb2.ListServicesResponse:
        """Answer as the server does, which counts up to 10,000."""
        first = int(request.page_token or 0)
        last = min(first + request.page_size, there)
        return catalog_pb2.ListServicesResponse(
            services=[catalog_pb2.Service(name=str(number)) for number in range(first, last)],
            next_page_token=str(last) if last < there else "",
            total_size=min(there, 10_000),
            total_is_exact=there <= 10_000,
        )

    session = Session("127.0.0.1:1", Output.TABLE, plaintext=True, ca_file=None)
    with session.client:
        columns: Columns[catalog_pb2.Service] = {"name": lambda service: service.name}
        session.show_list(
            listed, catalog_pb2.ListServicesRequest(), "services", columns, limit=limit, empty="no services"
        )
    out, err = capsys.readouterr()
    assert (len(out.splitlines()) - 1, err) == (min(limit or there, there), said)


def test_a_list_in_a_file_is_plain_columns(relman: Command, name: str) -> None:
    relman("service", "create", name, "--description", "x" * 150)
    title, row = relman("service", "list", "-q", name).stdout.splitlines()
    assert title.split() == ["NAME", "ACTIVE", "SLACK", "REPOSITORY", "DESCRIPTION", "CREATED"]
    assert row.split()[:3] == [name, "yes", "x" * 150]
    assert row.split()[-1].endswith("Z")


def test_options_may_stand_before_and_after_the_command(relman: Command) -> None:
    before = relman("-o", "json", "--server", relman.environment.pop("RELMAN_SERVER"), "whoami")
    assert json.loads(before.stdout)["username"] == "admin"


def test_health_is_for_everyone(relman: Command) -> None:
    del relman.environment["RELMAN_TOKEN"]
    assert answer(relman, "health")["database"]["status"] == "HEALTH_STATUS_HEALTHY"
    assert relman("health").stdout.splitlines()[0].split() == ["PART", "STATUS", "LATENCY", "VERSION", "MESSAGE"]

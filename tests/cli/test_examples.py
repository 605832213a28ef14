"""The examples work: the pipeline for real, and what the CI snippets say to relman is what it understands."""

import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from relman_client import Client
from relman_client.cli.main import COMMANDS
from relman_client.v1.deployment_pb2 import DeploymentStatus, GetDeploymentRequest
from tests.cli.conftest import Command
from tests.client.pipelines import create_deployment, texts_of

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_pipeline_runs_as_it_is(relman: Command, admin: Client) -> None:
    deployment = create_deployment(admin)
    done = relman("deployment", "run", deployment, "-f", str(EXAMPLES / "pipeline.yaml"))
    assert done.returncode == 0, done.stderr
    found = admin.deployments.GetDeployment(GetDeploymentRequest(deployment=deployment))
    assert found.status == DeploymentStatus.DEPLOYMENT_STATUS_SUCCEEDED
    deploying = f"deploying {found.service_name}@{found.release_version} to {found.environment_name}"
    assert deploying in done.stdout.splitlines()
    assert deploying in texts_of(admin, deployment)


def scripts_of(value: object) -> list[str]:
    """The shell scripts of a CI file: the texts of `run` and `script`."""
    if isinstance(value, list):
        return [script for item in value for script in scripts_of(item)]
    if not isinstance(value, dict):
        return []
    found: list[str] = []
    for key, item in value.items():
        if key in {"run", "script"}:
            found += item if isinstance(item, list) else [item]
        else:
            found += scripts_of(item)
    return found


def calls_in(script: str) -> list[list[str]]:
    """The arguments of each call of relman."""
    lexer = shlex.shlex(re.sub(r"\$\(", " ", script), posix=True, punctuation_chars="|;&()\n")
    lexer.whitespace, lexer.whitespace_split = " \t\r", True
    calls: list[list[str]] = []
    current: list[str] | None = None
    for word in lexer:
        if word == "relman":
            current = []
            calls.append(current)
        elif set(word) <= set("|;&()\n"):
            current = None
        elif current is not None:
            current.append(word)
    return calls


def parse(command: Any, arguments: list[str]) -> None:  # typer's own types of commands are private
    """Parse a call as relman does, without doing it; raises what it would refuse the call with."""
    context = command.make_context(command.name, list(arguments))  # which uses its list up
    if hasattr(command, "commands"):
        _, chosen, rest = command.resolve_command(context, arguments)
        parse(chosen, rest)


def all_calls() -> list[list[str]]:
    """Each call once, whichever snippets it is in."""
    scripts = [
        script
        for file in ("github-actions.yml", "gitlab-ci.yml")
        for script in scripts_of(yaml.safe_load((EXAMPLES / file).read_text()))
    ]
    return list({tuple(call): call for script in scripts for call in calls_in(script)}.values())


@pytest.mark.parametrize("call", all_calls(), ids=shlex.join)
def test_what_the_snippets_say_is_understood(call: list[str]) -> None:
    name, *arguments = call
    assert name in COMMANDS
    command = get_command(import_module(f"relman_client.cli.{name}").app)
    parse(command, arguments)


def test_the_snippets_say_something() -> None:
    said = {call[0] for call in all_calls()}
    assert said == {"release", "deployment", "promote"}


def test_what_nobody_understands_is_found() -> None:
    command = get_command(import_module("relman_client.cli.deployment").app)
    with pytest.raises(Exception, match="No such option"):
        parse(command, ["run", "id", "--no-such-option"])
    with pytest.raises(Exception, match="No such command"):
        parse(command, ["no-such-command"])

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest

from relman_client.cli import markdown, runbook_file
from relman_client.cli.failures import CommandError
from tests.cli.conftest import RELMAN, Command


def answer(command: Command, *arguments: str, **more: Any) -> Any:
    """What a command answers as JSON."""
    done = command("runbook", *arguments, "-o", "json", **more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def word() -> str:
    return f"w{uuid.uuid4().hex}"


@pytest.fixture
def relman(relman: Command) -> Command:
    relman.environment["XDG_STATE_HOME"] = str(relman.folder / "state")
    return relman


def _editor(relman: Command, script: str) -> None:
    """Let an editor be what a shell does with the file in $1."""
    file = relman.folder / "editor"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    relman.environment["EDITOR"] = str(file)


def _kept(relman: Command) -> list[Path]:
    return sorted((relman.folder / "state" / "relman").glob("*.md"))


def test_a_runbook_from_its_first_version_to_its_end(relman: Command, word: str) -> None:
    relman("service", "create", word[:20])
    created = answer(
        relman,
        "create",
        "Disk full",
        "-f",
        "-",
        "--service",
        word[:20],
        "--tag",
        "disk",
        input=f"Free {word} blocks.\n",
    )
    assert (created["title"], created["content"], created["tags"]) == ("Disk full", f"Free {word} blocks.\n", ["disk"])
    _editor(relman, 'sed -i "s/Free/Release/; s/^title: .*/title: Disk is full/; s/^tags: .*/tags: [a, b]/" "$1"')
    edited = answer(relman, "edit", created["id"])
    assert (edited["version"], edited["title"], edited["tags"]) == (2, "Disk is full", ["a", "b"])
    assert (edited["content"], edited["service_name"]) == (f"Release {word} blocks.\n", word[:20])
    assert _kept(relman) == []
    assert relman("runbook", "show", created["id"], "--raw", "--version", "1").stdout == f"Free {word} blocks.\n"
    assert [each["title"] for each in answer(relman, "list", "--tag", "b", "--service", word[:20])] == ["Disk is full"]
    history = relman("runbook", "history", created["id"]).stdout.splitlines()
    assert [line.split()[0] for line in history] == ["VERSION", "2", "1"]
    diff = relman("runbook", "history", created["id"], "--diff").stdout
    assert f"-Free {word} blocks.\n+Release {word} blocks.\n" in diff
    assert "-title: Disk full\n" in diff
    found = relman("runbook", "search", word, "releasing").stdout
    assert (
        f"Disk is full  ({word[:20]}, a, b)\n  Release {word} blocks.\n  relman runbook show {created['id']}\n" == found
    )
    assert relman("runbook", "delete", created["id"]).stderr == f"runbook {created['id']} is deleted\n"
    assert answer(relman, "search", word) == []


def test_an_edit_that_comes_too_late_overwrites_nothing_and_is_kept(relman: Command, word: str) -> None:
    runbook = answer(relman, "create", word, "-f", "-", input="first\n")["id"]
    _editor(relman, f'echo mine >> "$1"; echo theirs | {RELMAN} runbook edit {runbook} -f -')
    done = relman("runbook", "edit", runbook)
    assert done.returncode == 1
    assert "someone else changed the runbook since version 1" in done.stderr
    assert relman("runbook", "show", runbook, "--raw").stdout == "theirs\n"
    (kept,) = _kept(relman)
    assert f"Your text is kept in {kept}\n" in done.stderr
    assert kept.read_text().endswith("first\nmine\n")
    assert answer(relman, "edit", runbook, "-f", str(kept))["content"] == "first\nmine\n"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ('sed -i "s/^title:.*/titel: x/" "$1"', "not 'titel'"),
        ('sed -i "s/^title:.*/title:/" "$1"', "title"),
        ('echo more >> "$1"; exit 3', "ended with status 3"),
    ],
)
def test_a_text_that_is_not_taken_is_kept(relman: Command, word: str, script: str, says: str) -> None:
    runbook = answer(relman, "create", word, "-f", "-", input="x")["id"]
    _editor(relman, script)
    done = relman("runbook", "edit", runbook)
    assert (done.returncode, says in done.stderr) == (1, True), done.stderr
    assert str(_kept(relman)[0]) in done.stderr


def test_what_was_not_changed_is_neither_sent_nor_kept(relman: Command, word: str) -> None:
    runbook = answer(relman, "create", word, "-f", "-", input="x")["id"]
    for script, status in (("true", 0), ("false", 1)):
        _editor(relman, script)
        assert relman("runbook", "edit", runbook).returncode == status
    assert answer(relman, "show", runbook)["version"] == 1
    assert _kept(relman) == []


def test_why_suggests_runbooks_for_a_failed_deployment(relman: Command, word: str) -> None:
    name = word[:20]
    for arguments in (
        ("service", "create", name),
        ("env", "create", name, "--type", "development"),
        ("release", "create", name, "1.0.0"),
        ("release", "publish", f"{name}@1.0.0"),
    ):
        assert relman(*arguments).returncode == 0
    created = relman("deployment", "create", f"{name}@1.0.0", name, "--stage", "migrate", "-o", "json")
    deployment = json.loads(created.stdout)["id"]
    runbook = answer(relman, "create", "Locks \x1b[31m", "-f", "-", "--service", name, input="x")["id"]
    relman("deployment", "start", deployment)
    assert "Runbooks" not in relman("why", deployment).stdout
    relman("deployment", "complete", deployment, "--failed")
    assert (
        f"Runbooks that may help:\n  Locks \\x1b[31m  relman runbook show {runbook}\n"
        in relman("why", deployment).stdout
    )


# --- files, and Markdown


FIELDS: dict[str, Any] = {
    "title": "- {odd}: #title 'x'",
    "service": "",
    "environment": "prod",
    "tags": ["a", "1"],
    "is_active": False,
    "content": "---\nnot a head\n---\n\n  text\n\n",
}


@pytest.mark.parametrize("content", [FIELDS["content"], "", "\n", "x"])
def test_a_file_says_what_was_written_to_it(content: str) -> None:
    assert runbook_file.read(runbook_file.write(FIELDS | {"content": content})).fields == FIELDS | {"content": content}


def test_a_file_without_a_head_is_all_content() -> None:
    assert runbook_file.read("# Title\n---\n").fields == {"content": "# Title\n---\n"}


@pytest.mark.parametrize("head", ["title", "- a", "a: b: c", "tags: x", "is_active: maybe", "title: [x]", "other: x"])
def test_a_head_that_says_something_else_is_refused(head: str) -> None:
    with pytest.raises(CommandError, match=r"lines at the top|must be"):
        runbook_file.read(f"---\n{head}\n---\ntext")


HOSTILE = (
    "# T\x1b]0;owned\x07\n\n&#27;[31mred &#x9b;2J \u202e [text](http://evil.example) `\x1b[2J`\n\n"
    "```sh\n\x1b[1A\x08\n```\n"
)


@pytest.mark.parametrize("terminal", [True, False])
def test_markdown_is_shown_without_what_a_terminal_would_act_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, terminal: bool
) -> None:
    monkeypatch.setattr(markdown, "is_terminal", lambda _: terminal)
    monkeypatch.setattr(markdown, "has_colours", lambda _: terminal)
    markdown.print_markdown(HOSTILE)
    shown = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out) if terminal else capsys.readouterr().out
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert "http://evil.example" in shown
    assert ("```" in shown) != terminal

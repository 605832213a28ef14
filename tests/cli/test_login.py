import fcntl
import json
import os
import pty
import stat
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from relman_client import Tokens
from relman_client.cli.config import ConfigError, FileStore
from tests.cli.conftest import Command
from tests.services.relman import ADMIN_EMAIL, ADMIN_PASSWORD, ServerProcess


@pytest.fixture
def nobody(bare: Command, running: ServerProcess) -> Command:
    """Someone who knows where the server is."""
    bare.environment["RELMAN_SERVER"] = running.address
    return bare


def log_in(command: Command, password: str = ADMIN_PASSWORD) -> int:
    done = command("login", "--login", ADMIN_EMAIL, "--password-stdin", input=f"{password}\n")
    assert password not in done.stdout + done.stderr
    return done.returncode


def test_a_login_is_remembered_for_its_owner_only(nobody: Command) -> None:
    assert log_in(nobody) == 0
    assert json.loads(nobody("whoami", "-o", "json").stdout)["email"] == ADMIN_EMAIL
    file = nobody.folder / ".config" / "relman" / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert ADMIN_PASSWORD not in file.read_text()


def test_a_login_is_of_one_server(nobody: Command) -> None:
    assert log_in(nobody) == 0
    assert "127.0.0.1:1" in nobody("whoami", "--server", "127.0.0.1:1").stderr
    assert nobody("--server", nobody.environment["RELMAN_SERVER"], "whoami").returncode == 0


def test_a_wrong_password_is_not_remembered(nobody: Command) -> None:
    assert log_in(nobody, "wrong horse battery staple") == 1
    assert "not logged in" in nobody("whoami").stderr


def test_the_environments_token_goes_first(nobody: Command) -> None:
    assert log_in(nobody) == 0
    assert nobody.as_user("nonsense")("whoami").returncode == 1


def test_a_damaged_file_says_what_to_do(nobody: Command) -> None:
    file = nobody.folder / ".config" / "relman" / "credentials.json"
    file.parent.mkdir(parents=True)
    for content in ("{", "[]", '{"servers": []}', '{"other": {}}'):
        file.write_text(content)
        done = nobody("whoami")
        assert (done.returncode, done.stderr) == (1, f"Error: {file} is damaged: remove it and log in again\n")


def test_the_store_keeps_other_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    one, two = FileStore("one"), FileStore("two:1")
    for store, token in ((one, "a"), (two, "b"), (one, "c")):
        with store.lock():
            store.save(Tokens(token, f"refresh {token}"))
    assert (one.load(), two.load()) == (Tokens("c", "refresh c"), Tokens("b", "refresh b"))
    assert FileStore("one:50051").load() == one.load()
    assert FileStore("three").load() is None


def test_a_folder_that_cannot_be_written_is_one_sentence(nobody: Command) -> None:
    (nobody.folder / ".config").write_text("a file")
    done = nobody("login", "--login", ADMIN_EMAIL, "--password-stdin", input=ADMIN_PASSWORD)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


def test_damage_is_an_error_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "relman").mkdir()
    (tmp_path / "relman" / "credentials.json").write_bytes(b"\xff")
    with pytest.raises(ConfigError):
        FileStore("one").load()


@pytest.mark.parametrize("key", [b"\x03", b"\x04"])
def test_who_changes_their_mind_at_the_prompt_gets_no_more_than_a_line_end(nobody: Command, key: bytes) -> None:
    with on_a_terminal(nobody, "login") as (process, terminal):
        assert read_until(terminal, b"Email or username: ")
        time.sleep(0.5)  # a signal just before Python reads is noticed after the next key only
        os.write(terminal, key)
        rest = read_until(terminal, None)
        assert process.wait(10) == 130
    assert rest.replace(b"^C", b"").replace(b"^D\x08\x08", b"").strip() == b""


def test_the_password_is_asked_for_and_not_shown(nobody: Command) -> None:
    with on_a_terminal(nobody, "login", "--login", ADMIN_EMAIL) as (process, terminal):
        assert read_until(terminal, b"Password: ")
        while termios.tcgetattr(terminal)[3] & termios.ECHO:  # what is typed before is thrown away
            time.sleep(0.05)
        os.write(terminal, f"{ADMIN_PASSWORD}\n".encode())
        rest = read_until(terminal, None)
        assert process.wait(10) == 0
    assert ADMIN_PASSWORD.encode() not in rest
    assert b" as admin" in rest


@contextmanager
def on_a_terminal(command: Command, *arguments: str) -> "Iterator[tuple[subprocess.Popen[str], int]]":
    """The command with a terminal for all its streams, and the other end of that."""
    ours, theirs = pty.openpty()

    def take_over() -> None:
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    process = command.start(
        *arguments, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=take_over
    )
    os.close(theirs)
    yield process, ours
    os.close(ours)


def read_until(terminal: int, text: bytes | None) -> bytes:
    """What comes up to a text, or to the end."""
    seen = b""
    while text is None or text not in seen:
        try:
            data = os.read(terminal, 1024)
        except OSError:  # the other end is closed
            break
        seen += data
    return seen

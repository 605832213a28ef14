import os
import signal
import subprocess
import sys
import time

import pytest

from relman_client import Client
from relman_client.cli.main import COMMANDS
from tests.cli.conftest import RELMAN, Command
from tests.client.pipelines import writer


def test_help_is_there_for_every_command_and_imports_little(bare: Command) -> None:
    shown = bare("--help")
    assert shown.returncode == 0
    assert all(f"  {name} " in shown.stdout for name in COMMANDS)
    code = "import sys, relman_client.cli.main; print({'grpc', 'google', 'rich', 'pydantic'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_can_be_loaded(name: str, bare: Command) -> None:
    shown = bare(name, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"Usage: relman {name} ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["relase"], "Did you mean 'release'?"),
        (["release", "lst"], "Did you mean 'list'?"),
        (["release", "create"], "Missing argument 'SERVICE'"),
        (["release", "list", "--status", "x"], "'x' is not one of draft, published"),
        (["release", "list", "--limit", "-1"], "--limit"),
        (["release", "list", "-o", "yaml"], "--output"),
        (["deployment", "create", "a@1", "b", "--stage", "x:y"], "NAME:SECONDS"),
        (["release", "list", "--server", "a:b:c:d:e"], "cannot reach"),
        (["release", "list", "--server", "host:port"], "not an address"),
        (["run", "--stage", "x", "--", "true"], "--deployment"),
        (["logs", "x", "--tail", "1", "--since", "1m"], "either --tail or --since"),
        (["login"], "--password-stdin"),
        (["release", "list", "--since", "99999999999d"], "at most 20000d"),
        (["env", "lock", "x", "--reason", "x", "--for", "9" * 400], "at most 20000d"),
        (["deployment", "create", "a@1", "b", "--stage", "x:99999999999"], "at most 20000d"),
        (["deployment", "create", "a@1", "b", "--stage", "x:0"], "at least 1"),
        (["stage", "create", "x", "y", "--timeout", "99999999999"], "--timeout"),
        (["stage", "update", "x/y", "--timeout", "0"], "--timeout"),
        (["stage", "update", "x/y", "--timeout", "1", "--no-timeout"], "not together with --timeout"),
        (["watch", "x", "--after-revision", "99999999999999999999"], "--after-revision"),
    ],
)
def test_a_wrong_call_is_told_what_is_wrong(arguments: list[str], said: str, bare: Command) -> None:
    done = bare(*arguments)
    assert said in done.stderr
    assert done.returncode == (1 if said == "cannot reach" else 2)
    assert "Traceback" not in done.stderr


def test_an_argument_that_is_no_text_is_told_so(bare: Command) -> None:
    done = bare("service", "create", os.fsdecode(b"caf\xe9"))
    assert done.stderr == "Error: 'caf\\udce9' is not UTF-8 text\n"
    assert done.returncode == 1


def test_closed_standard_streams_disturb_nothing(relman: Command) -> None:
    script = f"{RELMAN} whoami <&- >&- 2>&-; echo $?; {RELMAN} nonsense <&- >&- 2>&-; echo $?"
    done = subprocess.run(["bash", "-c", script], env=relman.environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n2\n", "")


def test_an_option_before_the_command_counts_for_more_than_the_environment(bare: Command) -> None:
    bare.environment |= {"RELMAN_SERVER": "127.0.0.1:2", "RELMAN_OUTPUT": "json"}
    assert "127.0.0.1:1:" in bare("--server", "127.0.0.1:1", "whoami").stderr
    assert "127.0.0.1:1:" in bare("--server", "127.0.0.1:3", "whoami", "--server", "127.0.0.1:1").stderr
    assert "127.0.0.1:2:" in bare("whoami").stderr


def test_where_nobody_listens_is_one_sentence(bare: Command) -> None:
    done = bare("release", "list", "--server", "127.0.0.1:1")
    assert done.stderr == "Error: cannot reach relman at 127.0.0.1:1: connection refused\n"
    assert (done.returncode, done.stdout) == (1, "")


def test_another_machine_is_not_talked_to_in_plaintext(bare: Command) -> None:
    bare.environment["RELMAN_TOKEN"] = "secret"
    done = bare("release", "list", "--server", "no-such-host.invalid")
    assert done.stderr == "Error: cannot reach relman at no-such-host.invalid: there is no such host\n"


def test_a_server_without_tls_is_refused_when_tls_is_asked_for(relman: Command) -> None:
    ca = relman.folder / "ca.pem"
    ca.write_text("")
    done = relman("health", "--ca-file", str(ca))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: cannot reach relman at 127.0.0.1:")
    assert relman("health", "--ca-file", "missing.pem").stderr == "Error: missing.pem: No such file or directory\n"


def test_who_is_not_logged_in_is_told_how(relman: Command) -> None:
    del relman.environment["RELMAN_TOKEN"]
    done = relman("whoami")
    assert (done.returncode, done.stderr) == (
        1,
        "Error: you are not logged in: run `relman login`, or set RELMAN_TOKEN\n",
    )
    assert "does not accept your token" in relman.as_user("nonsense")("whoami").stderr


def test_every_wrong_field_has_a_line(relman: Command) -> None:
    done = relman("service", "create", "No Name", "--repository", "ftp://x")
    first, name, url = done.stderr.splitlines()
    assert (done.returncode, first) == (1, "Error: the request is wrong:")
    assert name.startswith("  name: must ")
    assert url.startswith("  repository_url: must ")


def test_what_is_missing_is_one_sentence(relman: Command) -> None:
    done = relman("release", "get", "nowhere@1.0.0")
    assert (done.returncode, done.stderr) == (1, "Error: There is no release 'nowhere@1.0.0'.\n")


def test_a_closed_pipe_is_no_error(relman: Command, admin: Client, deployment: str) -> None:
    with writer(admin, deployment) as log:
        for number in range(20_000):
            log.write(f"a line that is long enough to fill a pipe {number}")
    done = subprocess.run(
        f"{RELMAN} logs {deployment} | head -1", shell=True, env=relman.environment, capture_output=True, check=True
    )
    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b""


def test_ctrl_c_is_quiet(relman: Command, deployment: str) -> None:
    following = relman.start("logs", "-f", deployment)
    time.sleep(1)
    following.send_signal(signal.SIGINT)
    assert following.communicate(timeout=10) == ("", "")
    assert following.returncode == 130

"""What `make demo` is made of: a server of its own, the commands it runs, and a screen that follows a deployment."""

import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from relman_client import Client, RelmanError, Tail, Watch
from relman_client.cli.config import FileStore
from relman_client.cli.text import safe
from relman_client.credentials import Login
from relman_client.v1.deployment_pb2 import DeploymentEvent, GetDeploymentStagesRequest
from relman_client.v1.log_pb2 import LogEntries, LogEntry, LogSource, TailLogsRequest
from relman_client.v1.stage_pb2 import PipelineStage, ReportStageProgressRequest, StageStatus

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".demo"
BIN = Path(sys.executable).parent
LOGIN = "admin"

console = Console(highlight=False)


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


def heading(text: str) -> None:
    """Say what comes now."""
    console.print()
    console.print(f"[bold]{text}[/bold]")


class Server:
    """A `relman-server` over an embedded database in the demo's folder, for as long as the demo runs."""

    def __init__(self) -> None:
        self.password = password_of(LOGIN)
        self.address = ""

    @contextmanager
    def running(self) -> Iterator["Server"]:
        """Serve on a free port while the block runs."""
        HOME.mkdir(exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RELMAN_")}
        environment |= {
            "RELMAN_LISTEN": "127.0.0.1:0",
            "RELMAN_DATA_DIR": str(HOME / "data"),
            "RELMAN_ADMIN_PASSWORD": self.password,
        }
        with (HOME / "server.log").open("a") as log:
            process = subprocess.Popen(
                [BIN / "relman-server", "serve"], env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
            try:
                self.address = _serving(process)
                yield self
            finally:
                process.terminate()
                process.wait(20)


def password_of(login: str) -> str:
    """The password of someone in the demo: made once, readable by its owner only."""
    HOME.mkdir(exist_ok=True)
    file = HOME / ("password" if login == LOGIN else f"password-{login}")
    if not file.exists():
        file.touch(0o600)
        file.write_text(secrets.token_urlsafe(15))
    return file.read_text()


def _serving(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("relman is serving on "):
            return line.split()[-1]
    raise DemoError(f"the server did not start; {HOME / 'server.log'} says why")


class Cli:
    """The `relman` command, as a person would call it: each call is shown, with what it answers."""

    def __init__(self, address: str, login: str = LOGIN) -> None:
        # The demo's logins do not get among the person's own.
        config = HOME / ("config" if login == LOGIN else f"config-{login}")
        self.environment = os.environ | {"RELMAN_SERVER": address, "XDG_CONFIG_HOME": str(config)}
        self._prompt = "$" if login == LOGIN else f"{login}$"

    def show(self, *arguments: str, standard_input: str | None = None, refused: bool = False) -> None:
        """Run a command and show it and its output; raises DemoError unless it ends as it must."""
        self._echo(arguments)
        done = self._run(arguments, standard_input)
        said = (done.stdout + done.stderr).rstrip()
        if said:
            console.print(Text.from_ansi(said), soft_wrap=True)
        if (done.returncode != 0) is not refused:
            raise DemoError(f"relman {arguments[0]} ended with status {done.returncode}")

    def _echo(self, arguments: Sequence[str]) -> None:
        console.print(f"[dim]{self._prompt}[/dim] [cyan]relman {escape(shlex.join(arguments))}[/cyan]", soft_wrap=True)

    def ask(self, *arguments: str, shown: bool = False) -> Any:  # JSON
        """Run a command and return its JSON; None when it fails because something is not there."""
        if shown:
            self._echo(arguments)
        done = self._run(("-o", "json", *arguments), None)
        if done.returncode == 0:
            return json.loads(done.stdout)
        if "there is no" in done.stderr.lower():
            return None
        raise DemoError(done.stderr.strip())

    @contextmanager
    def watching(self, deployment: str, until: str) -> Iterator[None]:
        """Show what happens to a deployment while the block runs, and on until a line says so."""
        self._echo(["watch", deployment])
        process = subprocess.Popen(
            [BIN / "relman", "watch", deployment], env=self.environment, stdout=subprocess.PIPE, text=True
        )
        began, said = threading.Event(), threading.Event()

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                console.print(f"  {line.rstrip()}", style="magenta", markup=False, soft_wrap=True)
                began.set()
                if until in line:
                    said.set()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            began.wait(10)
            yield
            if not said.wait(10):
                raise DemoError(f"nothing said {until!r}")
        finally:
            process.terminate()
            process.wait(10)
            reader.join(10)

    def run_stage(self, deployment: str, stage: str, command: Sequence[str]) -> int:
        """Run a command as a stage; its output goes to the log and from there to the screen."""
        arguments = ["run", "--quiet", "--deployment", deployment, "--stage", stage, "--", *command]
        return subprocess.run(
            [BIN / "relman", *arguments], cwd=ROOT, env=self.environment, check=False, stdin=subprocess.DEVNULL
        ).returncode

    def _run(self, arguments: Sequence[str], standard_input: str | None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [BIN / "relman", *arguments],
            cwd=ROOT,
            env=self.environment | {"COLUMNS": str(console.width)},
            input=standard_input,
            capture_output=True,
            text=True,
            check=False,
        )


def escape(text: str) -> str:
    """Keep rich from reading markup in a text."""
    return text.replace("[", r"\[")


def connect(address: str) -> Client:
    """Return a client with the login that `relman login` remembered in the demo's folder."""
    os.environ["XDG_CONFIG_HOME"] = str(HOME / "config")
    store = FileStore(address)
    tokens = store.load()
    if tokens is None:
        raise DemoError("the login was not remembered")
    return Client(address, credentials=Login(tokens, store))


_COLOURS = {
    StageStatus.STAGE_STATUS_PENDING: "dim",
    StageStatus.STAGE_STATUS_RUNNING: "cyan",
    StageStatus.STAGE_STATUS_SUCCEEDED: "green",
}
# What pytest writes behind every test that it has run.
_PERCENT = re.compile(r"\[\s*(\d{1,3})%\]\s*$")


class Screen:
    """A deployment's log as it comes, and under it how far each stage is: one tail and one watch."""

    def __init__(self, client: Client, deployment: str) -> None:
        self._client = client
        self._deployment = deployment
        self._progress = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[state]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._bars: dict[str, TaskID] = {}
        self._names: dict[str, str] = {}
        self._reported = 0

    @contextmanager
    def following(self) -> Iterator[None]:
        """Show what happens until the deployment has ended and its log is complete."""
        threads = [
            threading.Thread(target=work, name=work.__name__, daemon=True) for work in (self._follow_log, self._follow)
        ]
        with self._progress:
            for thread in threads:
                thread.start()
            yield
            for thread in threads:
                thread.join(30)

    def _follow(self) -> None:
        try:
            for event in Watch(self._client, self._deployment, after_revision=0):
                self._show(event)
        except RelmanError as error:
            console.print(f"the watch ended: {error}", style="red", markup=False)

    def _show(self, event: DeploymentEvent) -> None:
        if not event.HasField("stage"):
            return
        stage = event.stage
        self._names[stage.id] = stage.name
        if stage.id not in self._bars:
            self._bars[stage.id] = self._progress.add_task(stage.name.ljust(8), total=100, state="")
        state = StageStatus.Name(stage.status).removeprefix("STAGE_STATUS_").lower().replace("_", " ")
        bar = self._bars[stage.id]
        colour = _COLOURS.get(stage.status, "red")
        self._progress.update(
            bar,
            completed=stage.progress_percent,
            state=f"[{colour}]{state}[/{colour}] {escape(stage.progress_message)}",
        )
        if stage.status not in {StageStatus.STAGE_STATUS_PENDING, StageStatus.STAGE_STATUS_RUNNING}:
            self._progress.stop_task(bar)
            self._say(stage, state)

    def _say(self, stage: PipelineStage, state: str) -> None:
        if not console.is_terminal:
            console.print(f"  {stage.name}: {state}", markup=False)

    def _follow_log(self) -> None:
        request = TailLogsRequest(deployment=self._deployment, follow=True)
        try:
            for event in Tail(self._client, request):
                if isinstance(event, LogEntries):
                    for entry in event.entries:
                        self._print(entry)
        except RelmanError as error:
            console.print(f"the tail ended: {error}", style="red", markup=False)

    def _print(self, entry: LogEntry) -> None:
        style = {LogSource.LOG_SOURCE_STDERR: "yellow", LogSource.LOG_SOURCE_SYSTEM: "dim"}.get(entry.source, "")
        line = Text("  ")
        line.append(self._name(entry.stage_id).ljust(8), "blue")
        line.append(f" {safe(entry.text)}", style)
        # On a terminal a line stays a line, above the bars; a file gets all of it.
        terminal = console.is_terminal
        console.print(line, no_wrap=True, overflow="ellipsis", crop=terminal, soft_wrap=not terminal)
        found = _PERCENT.search(entry.text)
        if found and int(found[1]) > self._reported:
            self._report(entry.stage_id, int(found[1]))

    def _name(self, stage_id: str) -> str:
        if stage_id and stage_id not in self._names:
            for stage in self._client.deployments.GetDeploymentStages(
                GetDeploymentStagesRequest(deployment=self._deployment)
            ).stages:
                self._names[stage.id] = stage.name
        return self._names.get(stage_id, "")

    def _report(self, stage_id: str, percent: int) -> None:
        """Tell the server how far the tests are, as any pipeline can; the watch brings it back to the screen."""
        self._reported = percent
        request = ReportStageProgressRequest(stage=stage_id, progress_percent=percent, progress_message="tests")
        try:
            self._client.stages.ReportStageProgress(request)
        except RelmanError as error:
            if error.reason != "INVALID_STATE":  # the stage ended meanwhile
                raise

"""The `relman` command itself: which commands there are, and what becomes of errors."""

import os
import sys
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from relman_client.cli.options import Globals, OutputOption, ServerOption

# Listed in this order. A module is imported when its command is called, so that `relman --help` is quick.
COMMANDS = {
    "login": "Log in and remember it.",
    "whoami": "Show who is logged in.",
    "health": "Show how the server is doing.",
    "team": "Teams: who owns services.",
    "user": "Users: who may call.",
    "service": "Services: what is released.",
    "env": "Environments: where services run.",
    "lock": "Let nothing start in an environment.",
    "unlock": "Take the lock of an environment away.",
    "freeze": "Freezes: when nothing may be deployed.",
    "release": "Releases: what can be deployed.",
    "deploy": "Deploy a release, and see how that ends.",
    "promote": "Deploy a release into the next environment.",
    "rollback": "Undo a deployment.",
    "rollbacks": "Rollbacks: what was undone, and how far that is.",
    "why": "Say why a deployment waits or failed, and what to do.",
    "deployment": "Deployments: the way of a release into an environment.",
    "approve": "Approve a deployment that waits for you.",
    "reject": "Reject a deployment that waits for you.",
    "approval": "Approvals: who agreed to a deployment, and who is asked to.",
    "stage": "Stages: the steps of a deployment.",
    "run": "Run a command as a stage, and keep its log.",
    "incident": "Incidents: what went wrong for users.",
    "dora": "Show how well delivery goes: the four keys of DORA.",
    "metrics": "Metrics: what pipelines measure in their deployments.",
    "logs": "Show a deployment's log, also while it is written.",
    "audit": "The audit log: who did what, and whether it is still what it was.",
    "runbook": "Runbooks: what to do when something goes wrong.",
    "watch": "Show what happens to a deployment, or to all, as it happens.",
}


class LazyGroup(TyperGroup):
    """Knows the names and summaries of its commands; imports one when it is called."""

    def __init__(self, **settings: Any) -> None:  # what typer passes on
        super().__init__(**settings)
        self.commands = {name: TyperCommand(name, help=summary) for name, summary in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # typer's own types of these are private
        """Put the real command in the place of its summary."""
        if args and args[0] in COMMANDS:
            module = import_module(f"relman_client.cli.{args[0]}")
            command = get_command(module.app)
            command.name = args[0]
            self.commands[args[0]] = command
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=LazyGroup, no_args_is_help=True, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]}
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version  # noqa: PLC0415 - slow, and rarely wanted

        typer.echo(f"relman {version('relman-client')}")
        raise typer.Exit


@app.callback()
def relman(
    ctx: typer.Context,
    server: ServerOption = None,
    output: OutputOption = None,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Manage releases and their deployments.

    Releases are named SERVICE@VERSION (checkout@1.4.2), stages DEPLOYMENT/NAME, everything else by name or id.
    """
    ctx.obj = Globals(server, output)


def _open_what_is_closed() -> None:
    """Give standard streams that the caller closed a place: else a connection gets their number, and the output."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def main() -> NoReturn:
    """Run the command and exit: 0 when it worked, 2 when it was called wrongly, 130 after Ctrl-C, else 1."""
    _open_what_is_closed()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's own log; what matters of it is in the errors
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        get_command(app)(prog_name="relman")
    except Exception as error:
        from relman_client.cli import failures  # noqa: PLC0415 - only after a failure

        sentence = failures.describe(error)
        if sentence is None:
            raise  # a fault of ours: the traceback is what helps
        sys.stderr.write(sentence)
    sys.exit(1)

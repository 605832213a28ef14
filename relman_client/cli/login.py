"""`relman login`."""

import sys
from collections.abc import Callable
from getpass import getpass
from typing import Annotated

import typer

from relman_client.cli.options import new_app
from relman_client.cli.session import Session, connected
from relman_client.v1.auth_pb2 import GetCurrentUserRequest

app = new_app()


@app.command()
@connected
def login(
    session: Session,
    login: Annotated[
        str | None, typer.Option("--login", "-l", help="Email or username; asked for when left out.")
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    """Log in and remember it.

    The login is kept in ~/.config/relman (or $XDG_CONFIG_HOME/relman), for each server, readable by you only, and
    refreshed when needed. RELMAN_TOKEN is used instead when it is set.
    """
    if not (password_stdin or sys.stdin.isatty()):
        raise typer.BadParameter("there is no terminal to ask on: use --password-stdin", param_hint="--password-stdin")
    if password_stdin and login is None:
        raise typer.BadParameter("needed with --password-stdin", param_hint="--login")
    name = login if login is not None else _ask("Email or username: ", input)
    password = _password_from_stdin() if password_stdin else _ask("Password: ", getpass)
    session.client.login(name, password, store=session.store)
    user = session.client.auth.GetCurrentUser(GetCurrentUserRequest())
    if session.wants_json:
        session.show(user)
    else:
        session.done(f"logged in to {session.server} as {user.username}")


def _ask(question: str, read: Callable[[str], str]) -> str:
    """Ask on standard error: standard output is for answers."""
    sys.stderr.write(question)
    sys.stderr.flush()
    try:
        return read("")
    except (KeyboardInterrupt, EOFError):
        sys.stderr.write("\n")
        raise KeyboardInterrupt from None


def _password_from_stdin() -> str:
    """The first line; a line end is not part of it."""
    return sys.stdin.readline().removesuffix("\n").removesuffix("\r")

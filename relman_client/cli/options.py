"""Options that every command takes, before or after its name."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_SERVER = "127.0.0.1:50051"
MAX_NUMBER = 2**31 - 1
"""The largest that the contract's fields for numbers hold."""


class Output(StrEnum):
    """How to print what the server answers."""

    TABLE = "table"
    JSON = "json"


def new_app(about: str = "") -> typer.Typer:
    """A group of commands, or with nothing said about it a single command."""
    return typer.Typer(help=about or None, no_args_is_help=bool(about), add_completion=False, rich_markup_mode=None)


@dataclass(frozen=True)
class Globals:
    """What was given before the command's name."""

    server: str | None = None
    output: Output | None = None


ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="HOST:PORT",
        envvar="RELMAN_SERVER",
        help=f"Server to call. [default: {DEFAULT_SERVER}]",
        rich_help_panel="Connection and output",
    ),
]
OutputOption = Annotated[
    Output | None,
    typer.Option(
        "--output",
        "-o",
        envvar="RELMAN_OUTPUT",
        help="A table for people, or JSON for programs. [default: table]",
        rich_help_panel="Connection and output",
    ),
]
PlaintextOption = Annotated[
    bool,
    typer.Option(
        "--plaintext",
        envvar="RELMAN_PLAINTEXT",
        help="Do without TLS. To another machine this shows your token to the network.",
        rich_help_panel="Connection and output",
    ),
]
CaFileOption = Annotated[
    Path | None,
    typer.Option(
        "--ca-file",
        envvar="RELMAN_CA_FILE",
        help="PEM file of the authorities to trust.",
        rich_help_panel="Connection and output",
    ),
]

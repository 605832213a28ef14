"""What a command works with: the client, and a way to show what it answers."""

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import typer
from google.protobuf.message import Message

from relman_client.channel import ClientOptions, target_of
from relman_client.cli.config import FileStore
from relman_client.cli.failures import CommandError
from relman_client.cli.options import (
    DEFAULT_SERVER,
    CaFileOption,
    Globals,
    Output,
    OutputOption,
    PlaintextOption,
    ServerOption,
)
from relman_client.cli.output import Columns, as_json, print_fields, print_json, print_rows
from relman_client.cli.text import note, shown_of
from relman_client.client import Client
from relman_client.credentials import Credentials, Login, StaticToken

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=Message)
Request = TypeVar("Request", bound=Message)
Tables = Sequence[tuple[str, Columns[Any]]]


class Session:
    """One call of the command."""

    def __init__(self, server: str, output: Output, *, plaintext: bool, ca_file: Path | None) -> None:
        try:
            self.server = target_of(server)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--server") from None
        self.output = output
        self.store = FileStore(server)
        self.client = Client(
            server,
            credentials=self._credentials(),
            options=ClientOptions(
                plaintext=plaintext or None,
                root_certificates=ca_file.read_bytes() if ca_file else None,
                user_agent="relman",
            ),
        )

    @property
    def wants_json(self) -> bool:
        """Whether a program reads the answer."""
        return self.output is Output.JSON

    def show(self, message: Message, tables: Tables = ()) -> None:
        """Print one message."""
        if self.wants_json:
            print_json(as_json(message))
        else:
            print_fields(message, tables)

    def show_all(self, columns: Columns[M], messages: Iterable[M], *, empty: str) -> None:
        """Print a list that is complete."""
        if self.wants_json:
            print_json([as_json(message) for message in messages])
        elif found := list(messages):
            print_rows(columns, found)
        else:
            note(empty)

    def show_list(
        self,
        call: Callable[[Request], Any],
        request: Request,
        field: str,
        columns: Columns[Any],
        *,
        limit: int,
        empty: str,
    ) -> None:
        """Print the first `limit` of a list, or all of it when that is 0."""
        found, page = _first(call, request, field, limit)
        self.show_all(columns, found, empty=empty)
        # A total that is not exact may be less than what is shown.
        if limit and (page.total_size > len(found) if page.total_is_exact else len(found) == limit):
            note(f"{shown_of(len(found), page.total_size, is_exact=page.total_is_exact)}; --limit 0 shows all")

    def done(self, sentence: str) -> None:
        """Say that something happened which leaves nothing to show."""
        if not self.wants_json:
            note(sentence)

    def _credentials(self) -> Credentials | None:
        if token := os.environ.get("RELMAN_TOKEN"):
            return StaticToken(token)
        tokens = self.store.load()
        return Login(tokens, self.store) if tokens else None


def _first(call: Callable[[Request], Any], request: Request, field: str, limit: int) -> tuple[list[Any], Any]:
    """That many resources of a list, and the last answer, which says how many there are."""
    page: Any = None

    def resources() -> Iterator[Any]:
        nonlocal page
        while True:
            page = call(request)
            yield from getattr(page, field)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token  # type: ignore[attr-defined]

    request.page_size = min(limit, 500) if limit else 500  # type: ignore[attr-defined]
    return list(islice(resources(), limit or None)), page


def connected(function: Callable[Concatenate[Session, P], None]) -> Callable[..., None]:
    """Give a command its session, and the options to say which."""

    @functools.wraps(function)
    def command(
        ctx: typer.Context,
        *,
        server: str | None,
        output: Output | None,
        plaintext: bool,
        ca_file: Path | None,
        **own: Any,
    ) -> None:
        before = ctx.obj if isinstance(ctx.obj, Globals) else Globals()
        session = Session(
            _given(ctx, "server", server, before.server) or DEFAULT_SERVER,
            _given(ctx, "output", output, before.output) or Output.TABLE,
            plaintext=plaintext,
            ca_file=ca_file,
        )
        with session.client:
            function(session, **own)  # type: ignore[call-arg]
        sys.stdout.flush()

    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter("server", keyword, default=None, annotation=ServerOption),
        inspect.Parameter("output", keyword, default=None, annotation=OutputOption),
        inspect.Parameter("plaintext", keyword, default=False, annotation=PlaintextOption),
        inspect.Parameter("ca_file", keyword, default=None, annotation=CaFileOption),
    ]
    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context, *(parameter.replace(kind=keyword) for parameter in own), *added]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _given(ctx: typer.Context, name: str, own: T | None, before: T | None) -> T | None:
    """What an option says after the command's name, else before it, else in the environment."""
    source = ctx.get_parameter_source(name)
    return own if source is not None and source.name == "COMMANDLINE" else before or own


def read_text(path: Path) -> str:
    """A text file, or standard input for `-`."""
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text()
    except UnicodeDecodeError:
        raise CommandError(f"{path} is not UTF-8 text") from None

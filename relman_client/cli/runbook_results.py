"""Runbooks that were found, with their best part."""

import html
import re
import sys
from collections.abc import Iterable, Sequence

from relman_client.cli.text import coloured, has_colours, safe
from relman_client.v1 import runbook_pb2 as pb

_MARKED = re.compile("<mark>(.*?)</mark>", re.DOTALL)


def print_results(results: Sequence[pb.RunbookSearchResult]) -> None:
    """Title and what it is about, the part that matches, and how to read on."""
    colours = has_colours(sys.stdout)
    for number, result in enumerate(results):
        runbook = result.runbook
        title = safe(runbook.title)
        about = ", ".join(safe(name) for name in _about(runbook))
        if number:
            sys.stdout.write("\n")
        sys.stdout.write(f"{coloured(title, 'bold') if colours else title}{f'  ({about})' if about else ''}\n")
        if result.snippet:
            sys.stdout.write(f"  {_highlighted(result.snippet, colours=colours)}\n")
        command = f"relman runbook show {runbook.id}"
        sys.stdout.write(f"  {coloured(command, 'dim') if colours else command}\n")


def suggestions(results: Iterable[pb.RunbookSearchResult]) -> list[str]:
    """Runbooks that may help, a line each."""
    found = [(safe(result.runbook.title), result.runbook.id) for result in results]
    width = max((len(title) for title, _ in found), default=0)
    return [f"  {title.ljust(width)}  relman runbook show {runbook_id}" for title, runbook_id in found]


def _about(runbook: pb.Runbook) -> Iterable[str]:
    return (name for name in (runbook.service_name, runbook.environment_name, *runbook.tags) if name)


def _highlighted(snippet: str, *, colours: bool) -> str:
    """A snippet whose marks are yellow; its text is escaped as HTML until here."""
    parts = [safe(html.unescape(part)) for part in _MARKED.split(snippet)]
    return "".join(coloured(part, "yellow") if number % 2 and colours else part for number, part in enumerate(parts))

"""The versions of a runbook, and what each changed."""

import sys
from collections.abc import Iterator, Sequence
from difflib import unified_diff
from itertools import islice

from relman_client.cli import runbook_file
from relman_client.cli.output import Columns, print_rows, when
from relman_client.cli.text import coloured, has_colours, safe
from relman_client.v1 import runbook_pb2 as pb

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def show(shown: Sequence[pb.Runbook], known: Sequence[pb.Runbook], *, with_diff: bool) -> None:
    """Print versions, a line each, or what they changed.

    Args:
        shown: The newest first.
        known: The same, and the one before them if there is one.
        with_diff: Which of the two.
    """
    before = {version.version + 1: version for version in known}
    if not with_diff:
        columns: Columns[pb.Runbook] = {
            "version": lambda version: str(version.version),
            "changed": lambda version: when(version, "updated_at"),
            "by": lambda version: version.updated_by,
            "lines": lambda version: _counted(before.get(version.version), version),
            "title": lambda version: version.title,
        }
        print_rows(columns, shown)
        return
    colours = has_colours(sys.stdout)
    for version in shown:
        head = f"version {version.version}, {when(version, 'updated_at')}, by {version.updated_by or 'nobody known'}"
        sys.stdout.write(f"{coloured(head, 'bold') if colours else head}\n")
        for line in _changes(before.get(version.version), version):
            text = safe(line)
            sys.stdout.write((coloured(text, _STYLES.get(line[:1], "")) if colours else text) + "\n")
        sys.stdout.write("\n")


def _changes(old: pb.Runbook | None, new: pb.Runbook) -> Iterator[str]:
    """The lines of a diff, without the names of files."""
    changed = unified_diff(_lines(old) if old is not None else [], _lines(new), lineterm="")
    return islice(changed, 2, None)


def _lines(runbook: pb.Runbook) -> list[str]:
    return runbook_file.write(runbook_file.fields_of(runbook)).splitlines()


def _counted(old: pb.Runbook | None, new: pb.Runbook) -> str:
    signs = [line[:1] for line in _changes(old, new)]
    return f"+{signs.count('+')} -{signs.count('-')}"

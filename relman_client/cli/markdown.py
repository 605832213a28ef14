"""Markdown that others wrote, for a terminal."""

import shutil
import sys
from collections.abc import Iterator

from relman_client.cli.text import has_colours, is_terminal, safe

WIDEST = 100
"""Columns of a text that is read rather than looked at."""


def print_markdown(text: str) -> None:
    """Rendered on a terminal, as it is written in a file; what a terminal would act on is written out in both."""
    sys.stdout.writelines(f"{line}\n" for line in _lines(text))


def _lines(text: str) -> Iterator[str]:
    if not is_terminal(sys.stdout):
        yield from (safe(line) for line in text.splitlines())
        return
    from rich.console import Console  # noqa: PLC0415 - only terminals pay for it
    from rich.markdown import Markdown  # noqa: PLC0415

    colours = has_colours(sys.stdout)
    console = Console(
        width=min(shutil.get_terminal_size().columns, WIDEST), force_terminal=colours, highlight=False, emoji=False
    )
    # Links are shown with their address: one that hides behind its text may lead anywhere.
    lines = console.render_lines(Markdown(text, hyperlinks=False, code_theme="ansi_dark"), pad=False)
    for line in lines:
        # After rendering: Markdown can spell a control character, as in "&#27;".
        segments = [(safe(segment.text), segment.style) for segment in line if not segment.control]
        shown = "".join(style.render(part) if style and colours else part for part, style in segments)
        yield shown.rstrip()

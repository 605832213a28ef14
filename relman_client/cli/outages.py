"""Outages as a person sees them: one dim line that the connection is lost, and in its place that it is back."""

import sys
import time
from datetime import timedelta

from relman_client.cli.text import coloured, exact, has_colours, note, safe
from relman_client.errors import RelmanError
from relman_client.resume import ResumeOptions

_LINE_BEFORE = "\x1b[1A\r\x1b[2K"


class Outages:
    """Tells of the breaks of a stream.

    Args:
        overwrites: Nothing else is printed during an outage, so that a terminal may show its end where its beginning
            stood.
    """

    def __init__(self, *, overwrites: bool = True) -> None:
        self._overwrites = overwrites
        self._began = 0.0
        self._is_silent = False
        self.options = ResumeOptions(on_break=self._begin, on_resume=self._end)

    def say_no_more(self) -> None:
        """What breaks from now on is closed from here."""
        self._is_silent = True

    def _begin(self, error: RelmanError) -> None:
        self._began = time.monotonic()
        if not self._is_silent:
            why = f" ({safe(error.message).rstrip('.')})" if error.reason else ""
            note(f"connection to relman lost, trying again{why}")

    def _end(self) -> None:
        if self._is_silent:
            return
        text = f"connection to relman is back after {exact(timedelta(seconds=time.monotonic() - self._began))}"
        if self._overwrites and has_colours(sys.stderr):
            sys.stderr.write(f"{_LINE_BEFORE}{coloured(text, 'dim')}\n")
        else:
            note(text)

"""Lines of a log as a person or a program reads them."""

import math
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from relman_client.cli.ansi import cut, safe_in_colour, safe_without_colour, width_of
from relman_client.cli.output import as_json, print_json_line, to_datetime
from relman_client.cli.patience import patiently
from relman_client.cli.session import Session
from relman_client.cli.text import coloured, has_colours, is_terminal, safe
from relman_client.v1.common_pb2 import Severity
from relman_client.v1.deployment_pb2 import GetDeploymentStagesRequest
from relman_client.v1.log_pb2 import LogEntries, LogEntry, LogSource

# Stages that follow each other differ. Red and yellow are left to what is wrong.
_STAGE_STYLES = ("cyan", "magenta", "green", "blue", "bright cyan", "bright magenta", "bright green", "bright blue")
_BY_SOURCE = {LogSource.LOG_SOURCE_SYSTEM: "dim", LogSource.LOG_SOURCE_STDERR: "yellow"}
_BY_SEVERITY = {
    Severity.SEVERITY_DEBUG: "dim",
    Severity.SEVERITY_WARNING: "yellow",
    Severity.SEVERITY_ERROR: "red",
    Severity.SEVERITY_CRITICAL: "bold red",
}

Clock = Callable[[datetime], str]
"""Writes the time of a line."""


def local_time(moment: datetime) -> str:
    """In this machine's zone, to the millisecond."""
    return moment.astimezone().isoformat(timespec="milliseconds")


def utc_time(moment: datetime) -> str:
    """In UTC, to the millisecond."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def since(start: datetime) -> Clock:
    """How long after a moment: `+0:01:02.345`."""

    def elapsed(moment: datetime) -> str:
        milliseconds = (moment - start) // timedelta(milliseconds=1)
        rest, thousandths = divmod(abs(milliseconds), 1000)
        minutes, seconds = divmod(rest, 60)
        sign = "+" if milliseconds >= 0 else "-"
        return f"{sign}{minutes // 60}:{minutes % 60:02}:{seconds:02}.{thousandths:03}"

    return elapsed


@dataclass(frozen=True)
class Look:
    """What lines look like.

    Attributes:
        clock: Writes their times; None leaves these out.
        names_stages: Whether each says which stage it is of.
        keeps_colours: Whether colours that they bring are shown, where there are any.
        wraps: Whether a terminal may wrap them; else they are cut to its width.
    """

    clock: Clock | None = None
    names_stages: bool = True
    keeps_colours: bool = False
    wraps: bool = True


class Printer:
    """Prints lines of one deployment's log."""

    def __init__(self, session: Session, deployment: str, look: Look) -> None:
        self._session = session
        self._deployment = deployment
        self._look = look
        self._colours = has_colours(sys.stdout)
        self._cuts = not look.wraps and is_terminal(sys.stdout)
        self._stages: dict[str, str] | None = None
        """Names by id, in the order of the stages."""
        self._prefixes: dict[str, str] = {}

    def print(self, chunk: LogEntries) -> None:
        """Print lines that were committed together, at once."""
        if self._session.wants_json:
            stages = self._learn_stages(chunk.entries)
            for entry in chunk.entries:
                print_json_line({**as_json(entry), "stage": stages.get(entry.stage_id, "")})
            return
        if self._look.names_stages:
            self._learn_stages(chunk.entries)
        sys.stdout.write("".join(map(self._line, chunk.entries)))
        sys.stdout.flush()

    def _line(self, entry: LogEntry) -> str:
        time = f"{self._look.clock(to_datetime(entry.time))} " if self._look.clock else ""
        prefix = self._prefixes.get(entry.stage_id, "")
        text = self._text(entry.text, width_of(time + prefix))
        if not self._colours:
            return f"{time}{prefix}{text}\n"
        style = _BY_SEVERITY.get(entry.severity) or _BY_SOURCE.get(entry.source, "")
        told = coloured(prefix, self._style_of(entry.stage_id)) if prefix else ""
        return f"{coloured(time, 'dim') if time else ''}{told}{coloured(text, style) if text else ''}\n"

    def _text(self, text: str, used: int) -> str:
        """What is shown of a line, after so many columns."""
        keeps = self._look.keeps_colours
        if self._cuts:
            plain = (safe_without_colour if keeps else safe)(text).expandtabs()
            room = max(shutil.get_terminal_size().columns - used, 10)
            if width_of(plain) > room:
                return cut(plain, room)
        if not keeps:
            return safe(text)
        return safe_in_colour(text) if self._colours else safe_without_colour(text)

    def _style_of(self, stage_id: str) -> str:
        stages = list(self._stages or ())
        return _STAGE_STYLES[stages.index(stage_id) % len(_STAGE_STYLES)] if stage_id in stages else "dim"

    def _learn_stages(self, entries: Iterable[LogEntry]) -> dict[str, str]:
        """Ask for the names of stages, before the first line and when one is new; waits when relman is away."""
        known = self._stages
        if known is None or any(entry.stage_id and entry.stage_id not in known for entry in entries):
            call = self._session.client.deployments.GetDeploymentStages
            answer = patiently(call, GetDeploymentStagesRequest(deployment=self._deployment), math.inf)
            known = self._stages = {stage.id: stage.name for stage in answer.stages}
            width = max(map(len, known.values()), default=0)
            if known and self._look.names_stages:
                names = {"": "", **known}
                self._prefixes = {key: f"{safe(name).ljust(width)} | " for key, name in names.items()}
        return known

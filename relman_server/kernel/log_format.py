"""The server's own log, on standard error: JSON lines for machines, readable lines on a terminal."""

import logging
import sys
from typing import Any

import structlog


def configure(level: str, *, json: bool | None = None) -> None:
    """Set up structlog for the process.

    Args:
        level: debug, info, warning or error.
        json: Force JSON or readable lines; by default JSON unless standard error is a terminal.
    """
    readable = sys.stderr.isatty() if json is None else not json
    processors: list[Any] = [  # structlog's processors have no common type
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if readable else "iso", utc=not readable),
    ]
    if readable:
        # Not structlog's default where rich is installed: that shows local variables, of which some are passwords.
        plain = structlog.dev.plain_traceback
        processors.append(structlog.dev.ConsoleRenderer(pad_event_to=0, exception_formatter=plain))
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries log through the standard library; only their warnings matter here.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    # It warns of what it passes over as it closes a connection that is lost; that it is lost is raised, too.
    logging.getLogger("psycopg").setLevel(logging.ERROR)

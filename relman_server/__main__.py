"""`relman-server serve | migrate | audit prune`: what is asked for, and whether it can be meant."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, time

from relman_server import __version__, settings
from relman_server.settings import SettingsError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status: 0, 1 when it failed, 2 when it was asked for wrongly."""
    parser = argparse.ArgumentParser(
        "relman-server", description="The release manager. Every flag is also a variable (RELMAN_*) and a TOML key."
    )
    parser.add_argument("--version", action="version", version=f"relman-server {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help_text in (
        ("serve", "serve until SIGTERM or SIGINT; an embedded database is migrated first"),
        ("migrate", "bring the database to this version's schema"),
    ):
        settings.add_flags(commands.add_parser(name, help=help_text, description=help_text))
    _add_audit(commands)
    flags = vars(parser.parse_args(arguments))
    try:
        chosen = settings.load(flags)
    except SettingsError as error:
        return settings.fail(error)
    # Importing the server takes a second: who asked wrongly is told before, and who only watches does without.
    if flags["command"] == "serve" and chosen.workers > 1:
        from relman_server.supervisor import Supervisor  # noqa: PLC0415 - as just said

        try:
            return Supervisor(chosen, sys.argv[1:] if arguments is None else arguments).run()
        except OSError as error:
            return settings.fail(error, status=1)
    if flags["command"] == "audit":
        from relman_server.pruning import run as prune  # noqa: PLC0415 - as above

        return prune(chosen, flags["before"], flags["keep_months"])
    from relman_server.commands import run  # noqa: PLC0415 - as above

    return run(flags["command"], chosen)


def _add_audit(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    about = "the audit log: retention"
    audit = commands.add_parser("audit", help=about, description=about).add_subparsers(
        dest="audit_command", required=True, metavar="COMMAND"
    )
    about = "remove old rows of the audit log; the blocks that sealed them stay, so that the rest can be verified"
    prune = audit.add_parser("prune", help="remove old rows", description=about)
    until = prune.add_mutually_exclusive_group(required=True)
    until.add_argument(
        "--before", type=_day, metavar="DATE", help="remove what was recorded before this day (UTC), as 2026-01-31"
    )
    until.add_argument(
        "--keep-months", type=_months, metavar="N", help="keep the present month and so many full months before it"
    )
    settings.add_flags(prune)


def _day(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date, such as 2026-01-31") from None


def _months(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 1200:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of months from 0 to 1200")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

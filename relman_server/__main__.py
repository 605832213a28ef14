"""`relman-server serve | migrate`: what is asked for, and whether it can be meant."""

import argparse
import sys
from collections.abc import Sequence

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
    from relman_server.commands import run  # noqa: PLC0415 - as above

    return run(flags["command"], chosen)


if __name__ == "__main__":
    sys.exit(main())

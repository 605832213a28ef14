"""A whole log into a file, which is there when it is complete."""

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from relman_client.cli.text import is_terminal, note, safe
from relman_client.tail import Download


def download(log: Download, target: str) -> None:
    """Save a log; to standard output for `-`.

    A file appears under its name when the log is complete, and replaces what was there; it is not touched when
    something goes wrong before. What is no file, such as a pipe, is written as the log comes.
    """
    path = Path(target)
    if target == "-":
        _print(log)
    elif path.exists() and not path.is_file():
        with path.open("wb") as sink:
            log.save(sink)
    else:
        note(f"{_replace(log, path):,} bytes saved as {safe(target)}")


def _replace(log: Download, path: Path) -> int:
    with tempfile.NamedTemporaryFile(dir=path.resolve().parent, prefix=f".{path.name}.", delete=False) as part:
        try:
            size = log.save(part)
            part.flush()
            os.fchmod(part.fileno(), _mode())
            Path(part.name).replace(path.resolve())
        except BaseException:
            with suppress(OSError):
                Path(part.name).unlink()
            raise
    return size


def _mode() -> int:
    """What a new file would get; temporary ones are private."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _print(log: Download) -> None:
    """On a terminal, escapes are shown and not obeyed."""
    shown = is_terminal(sys.stdout)
    for part in log:
        if shown:
            sys.stdout.write("".join(f"{safe(line)}\n" for line in part.decode().removesuffix("\n").split("\n")))
        else:
            sys.stdout.buffer.write(part)
        sys.stdout.flush()

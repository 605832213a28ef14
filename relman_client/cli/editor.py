"""The caller's own editor, and a text that is not lost whatever happens."""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from relman_client.cli.failures import CommandError, describe


def _command() -> list[str]:
    return shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")


def _folder() -> Path | None:
    """Where texts survive a restart of the machine: $XDG_STATE_HOME/relman, else ~/.local/state/relman."""
    base = os.environ.get("XDG_STATE_HOME")
    folder = (Path(base) if base else Path.home() / ".local" / "state") / "relman"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None  # then where temporary files are
    return folder


def edit(text: str, name: str, take: Callable[[str], None], advice: Callable[[Path], str]) -> bool:
    """Let someone edit a text and take what they made of it; return whether they changed anything.

    The file is removed once it was taken, or when nothing was changed. Else it is kept, and the error says where.

    Args:
        text: What to start with.
        name: For the file.
        take: Takes the text; what it raises is said, with where the text is.
        advice: What to do with the file then.
    """
    number, path = tempfile.mkstemp(prefix=f"{name}-", suffix=".md", dir=_folder())
    file = Path(path)
    with os.fdopen(number, "w") as begun:
        begun.write(text)
    try:
        _run([*_command(), path])
        edited = file.read_text()
        if edited != text:
            take(edited)
    except KeyboardInterrupt:
        raise CommandError(f"interrupted; your text is kept in {file}") from None
    except Exception as error:
        said = describe(error)
        if said is None or _is_lost_on_nobody(file, text):
            raise
        sentence = said.removeprefix("Error: ").rstrip("\n")
        raise CommandError(f"{sentence}\n\nYour text is kept in {file}\n{advice(file)}") from error
    file.unlink()
    return edited != text


def _is_lost_on_nobody(file: Path, text: str) -> bool:
    """Remove the file if it says what it said at first; return whether it did."""
    if file.read_bytes() != text.encode():
        return False
    file.unlink()
    return True


def _run(command: list[str]) -> None:
    try:
        status = subprocess.call(command)  # noqa: S603 - the caller's own editor
    except FileNotFoundError:
        raise CommandError(f"there is no editor {command[0]}: $EDITOR says which to use") from None
    if status:
        raise CommandError(f"the editor ended with status {status}, so nothing was sent")

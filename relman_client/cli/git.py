"""What git knows of a release's commits."""

import shutil
import subprocess

from relman_client.cli.failures import CommandError
from relman_client.v1.release_pb2 import Change

_FORMAT = "%H%x1f%an%x1f%ct%x1f%s"


def changes_in(commits: str) -> list[Change]:
    """The commits of a range such as `v1.4.1..HEAD`, the newest first, of the repository here."""
    git = shutil.which("git")
    if git is None:
        raise CommandError("--changes needs git, and there is none")
    command = [git, "log", "--no-merges", f"--format={_FORMAT}", "--end-of-options", commits, "--"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")  # noqa: S603 - no shell
    if done.returncode:
        raise CommandError(f"git cannot list the commits {commits}: {done.stderr.strip().partition(chr(10))[0]}")
    return [_change(line) for line in done.stdout.splitlines()]


def _change(line: str) -> Change:
    commit, author, seconds, title = line.split("\x1f", 3)
    change = Change(commit=commit, author=author, title=title)
    change.committed_at.FromSeconds(int(seconds))
    return change

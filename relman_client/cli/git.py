"""What git knows of a release's commits."""

import shutil
import subprocess

from relman_client.cli.failures import CommandError
from relman_client.v1.release_pb2 import Change

_FORMAT = "%H%x1f%ct%x1f%an%x1f%s"


def changes_in(commits: str) -> list[Change]:
    """The commits of a range such as `v1.4.1..HEAD`, the newest first, of the repository here."""
    git = shutil.which("git")
    if git is None:
        raise CommandError("--changes needs git, and there is none")
    command = [git, "log", "-z", "--no-merges", "--no-show-signature", f"--format={_FORMAT}"]
    command += ["--end-of-options", commits, "--"]
    done = subprocess.run(command, check=False, capture_output=True)  # noqa: S603 - no shell
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise CommandError(f"git cannot list the commits {commits}: {why}")
    return [_change(record) for record in done.stdout.decode(errors="replace").split("\0") if record]


def _change(record: str) -> Change:
    commit, seconds, author, title = record.split("\x1f", 3)
    change = Change(commit=commit, author=_line(author, 200), title=_line(title, 500))
    change.committed_at.FromSeconds(int(seconds))
    return change


def _line(text: str, longest: int) -> str:
    """The text as the contract takes it: whoever wrote the commit cannot be asked to write it again."""
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest - 3]}..."

"""Pin everything relman installs, by hash: `make lock` (`make lock ARGS=--upgrade` for newer versions).

Writes requirements/run.txt (the server with its message bus, and the `relman` command), requirements/dev.txt (that,
and the tools to work on it) and requirements/bench.txt (the peer that `make bench` compares with). The ranges are in
the two pyproject.toml files, in requirements/dev.in and in requirements/bench.in. The index address is left out, so
that any mirror serves.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUN = "requirements/run.txt"
DEV = "requirements/dev.txt"
BENCH = "requirements/bench.txt"
OPTIONS = [
    "--universal",
    "--python-version=3.11",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--no-header",
    "--quiet",
]


def compile_pins(*arguments: str) -> None:
    """Run `uv pip compile`, deaf to this machine's own folders of wheels: their hashes are nobody else's."""
    environment = {key: value for key, value in os.environ.items() if "FIND_LINKS" not in key}
    command = [sys.executable, "-m", "uv", "--no-config", "pip", "compile", *OPTIONS, *arguments]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def main() -> None:
    """Pin what runs, then the tools around exactly that, and the peer with the same versions of what both use."""
    extra = sys.argv[1:]
    projects = ["pyproject.toml", "relman_client/pyproject.toml", "--all-extras"]
    compile_pins(*projects, "--no-emit-package=relman-client", f"--output-file={RUN}", *extra)
    compile_pins("requirements/dev.in", RUN, f"--output-file={DEV}", *extra)
    compile_pins("requirements/bench.in", f"--constraint={RUN}", f"--output-file={BENCH}", *extra)


if __name__ == "__main__":
    main()

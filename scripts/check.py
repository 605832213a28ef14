"""Every check there is, two at a time; all of them run, so that one run tells everything: `make check`."""

import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sysconfig.get_path("scripts"))

CHECKS: dict[str, list[str | Path]] = {
    "types": [BIN / "mypy"],
    "lint": [BIN / "ruff", "check", "--quiet"],
    "format": [BIN / "ruff", "format", "--check", "--quiet"],
    "import contracts": [BIN / "lint-imports", "--no-logo"],
    "proto: lint, format, compatibility": [sys.executable, "scripts/check_proto.py"],
    "proto: generated code is current": [sys.executable, "scripts/generate.py", "--check"],
    "migrations match the models": [sys.executable, "-m", "relman_server.kernel.db.drift"],
}


def run(name: str) -> bool:
    """Run one check; print a line, and what it said when it failed."""
    started = time.monotonic()
    done = subprocess.run(
        CHECKS[name], cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    passed = done.returncode == 0
    said = "" if passed else f"\n{done.stdout.rstrip()}"
    print(f"{'ok    ' if passed else 'FAILED'} {name} ({time.monotonic() - started:.1f} s){said}", flush=True)
    return passed


def main() -> None:
    """Run all checks."""
    with ThreadPoolExecutor(max_workers=2) as executor:
        passed = list(executor.map(run, CHECKS))
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()

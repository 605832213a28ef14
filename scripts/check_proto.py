"""Lint the contract, check its format, and compare it with the last released one.

The released contract is kept as a descriptor image, proto/relman-v1.binpb. `make release-contract` writes it when
a version is released; from then on, what breaks clients of that version fails here. Until there is one, nothing is
compared.
"""

import argparse
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from google.api import annotations_pb2

ROOT = Path(__file__).resolve().parent.parent
BUF = Path(sysconfig.get_path("scripts")) / "buf"
IMAGE = "proto/relman-v1.binpb"
THIRD_PARTY = ROOT / "build" / "third_party_proto"
# What proto/ imports, with what that imports.
IMPORTED = ["annotations", "field_behavior", "http"]


def copy_imports() -> None:
    """Put google/api/*.proto where buf.yaml expects them: buf would fetch them from its registry otherwise."""
    installed = Path(annotations_pb2.__file__).parent
    target = THIRD_PARTY / "google" / "api"
    target.mkdir(parents=True, exist_ok=True)
    for name in IMPORTED:
        shutil.copyfile(installed / f"{name}.proto", target / f"{name}.proto")


def buf(*arguments: str) -> bool:
    """Run buf in the repository; say whether it was content."""
    return subprocess.run([BUF, *arguments], cwd=ROOT, check=False).returncode == 0


def check() -> bool:
    """Lint, format and compatibility; all of them, so that one run tells everything."""
    content = [buf("lint"), buf("format", "--diff", "--exit-code", "proto")]
    if (ROOT / IMAGE).exists():
        content.append(buf("breaking", "proto", "--against", IMAGE))
    return all(content)


def main() -> None:
    """Check, format, or record the contract."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", action="store_true", help="format proto/ in place")
    parser.add_argument("--release", action="store_true", help=f"write {IMAGE}")
    arguments = parser.parse_args()
    copy_imports()
    if arguments.format:
        content = buf("format", "--write", "proto")
    elif arguments.release:
        content = check() and buf("build", "proto", "--exclude-source-info", "--output", IMAGE)
    else:
        content = check()
    sys.exit(not content)


if __name__ == "__main__":
    main()

"""Generate the Python package relman_client.v1 from proto/relman/v1: `make proto`.

With --check nothing is written: it fails when a fresh generation differs from what is committed.
"""

import argparse
import re
import sys
import sysconfig
import tempfile
from pathlib import Path

import grpc_tools
from google.api import annotations_pb2
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
TARGET = ROOT / "relman_client" / "v1"
BIN = Path(sysconfig.get_path("scripts"))
# protoc reads google/protobuf/*.proto here, and google/api/*.proto there.
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"
GOOGLEAPIS = Path(annotations_pb2.__file__).parent.parent.parent

DOCSTRING = '''"""The contract relman.v1 as Python messages and stubs.

Generated from proto/relman/v1 by `make proto`; never edited.
"""
'''

# Rewritten in what the generators write, in this order.
REWRITES = [
    # The package is relman_client.v1, wherever it is installed.
    (r"^from relman\.v1 import", "from . import"),
    # Servicers: the server is grpc.aio, so an answer is always awaited, and ...
    (r"-> _typing\.Union\[(\S+), _abc\.Awaitable\[\1\]\]:", r"-> _abc.Awaitable[\1]:"),
    # ... a streaming handler may be a coroutine that calls context.write. (mypy-protobuf's own option
    # `only_async` knows async generators only, and would take the synchronous stubs from clients.)
    (
        r"-> _typing\.Union\[_abc\.Iterator\[(\S+)\], _abc\.AsyncIterator\[\1\]\]:",
        r"-> _typing.Union[_abc.AsyncIterator[\1], _abc.Awaitable[None]]:",
    ),
]


def generate(output: Path) -> dict[str, str]:
    """Generate into an empty folder; return the contents by file name, rewritten."""
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("relman/v1/*.proto"))
    failed = protoc.main(
        [
            "protoc",
            f"--proto_path={PROTO}",
            f"--proto_path={WELL_KNOWN}",
            f"--proto_path={GOOGLEAPIS}",
            f"--plugin=protoc-gen-mypy={BIN / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={BIN / 'protoc-gen-mypy_grpc'}",
            f"--python_out={output}",
            f"--grpc_python_out={output}",
            f"--mypy_out=quiet:{output}",
            f"--mypy_grpc_out=quiet:{output}",
            *sources,
        ]
    )
    if failed:
        sys.exit(f"protoc failed with status {failed}")
    files = {path.name: rewrite(path.read_text()) for path in (output / "relman" / "v1").iterdir()}
    # A file without a service still gets an empty *_pb2_grpc module.
    kept = {name: text for name, text in files.items() if "_pb2_grpc." not in name or "Stub" in text}
    return {"__init__.py": DOCSTRING, **kept}


def rewrite(text: str) -> str:
    """Apply the rewrites to one generated file."""
    for pattern, replacement in REWRITES:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


def generated_files() -> dict[str, str]:
    """The package as it is now."""
    return {path.name: path.read_text() for path in TARGET.glob("*") if path.is_file()}


def check(fresh: dict[str, str]) -> None:
    """Exit with the names of the files that differ from a fresh generation."""
    present = generated_files()
    differing = sorted(name for name in fresh.keys() | present.keys() if fresh.get(name) != present.get(name))
    if differing:
        sys.exit(f"not what proto/ generates: {', '.join(differing)}\nrun `make proto` and commit the result")


def write(fresh: dict[str, str]) -> None:
    """Replace the package; unchanged files keep their time, so that nothing is rebuilt for them."""
    present = generated_files()
    TARGET.mkdir(exist_ok=True)
    for name in present.keys() - fresh.keys():
        (TARGET / name).unlink()
    for name, text in fresh.items():
        if present.get(name) != text:
            (TARGET / name).write_text(text)
    print(f"relman_client/v1: {len(fresh)} files")


def main() -> None:
    """Generate, then compare or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the committed code differs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fresh = generate(Path(folder))
    (check if arguments.check else write)(fresh)


if __name__ == "__main__":
    main()

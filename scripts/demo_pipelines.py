"""The commands that the demo's stages run: they really build, install and try the client."""

from scripts.demo_parts import BIN, HOME, ROOT, DemoError

PYTHON = str(BIN.relative_to(ROOT) / "python")
FOLDER = HOME.relative_to(ROOT)
INSTALLED = FOLDER / "installed"

Stages = dict[str, list[str]]
"""Commands by the names of their stages, in their order."""


def _build(source: str, wheels: str) -> list[str]:
    return [PYTHON, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(FOLDER / wheels), source]


def staging() -> Stages:
    """Build the client's wheel, and run a part of the tests."""
    tests = ["-p", "no:cacheprovider", "-v", "--color=no", "-k", "sqlite", "tests/teams"]
    return {"build": _build("./relman_client", "wheels"), "test": [PYTHON, "-m", "pytest", *tests]}


def staging_of_the_bad_one() -> Stages:
    """Build a client with a fault that no test of this stage sees."""
    copy = str(FOLDER / "bad")
    fault = "raise ImportError('a module of this release was forgotten')"
    script = f'rm -rf {copy} && cp -r relman_client {copy} && echo "{fault}" >> {copy}/client.py'
    return {"spoil": ["sh", "-c", script], "build": _build(f"./{copy}", "bad-wheels")}


def production(wheels: str = "wheels") -> Stages:
    """Install the newest wheel of a build, and call this server through it."""
    install = ["-m", "pip", "install", "--no-deps", "--no-index", "--upgrade", "--target", str(INSTALLED)]
    return {
        "install": [PYTHON, *install, _newest(wheels)],
        "smoke": ["env", f"PYTHONPATH={INSTALLED}", PYTHON, "-P", "scripts/smoke.py"],
    }


def _newest(wheels: str) -> str:
    found = sorted((HOME / wheels).glob("relman_client-*.whl"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise DemoError("the build made no wheel")
    return str(found[-1].relative_to(ROOT))

"""`make demo`: the main job, on real input. This repository at HEAD is the service that is released and deployed."""

import subprocess
import sys
import tomllib
from dataclasses import dataclass

from scripts.demo_parts import BIN, HOME, LOGIN, ROOT, Cli, DemoError, Screen, Server, connect, console, heading

SERVICE = "relman"
CHANGES = 20
PYTHON = str(BIN.relative_to(ROOT) / "python")
WHEELS = HOME.relative_to(ROOT) / "wheels"
INSTALLED = HOME.relative_to(ROOT) / "installed"


@dataclass(frozen=True)
class Commit:
    """HEAD, as a release needs it.

    Attributes:
        version: From the project's version and the number of commits.
        commit: The full hash.
        since: A revision range of the newest commits.
    """

    version: str
    commit: str
    since: str

    @property
    def release(self) -> str:
        """The release's name."""
        return f"{SERVICE}@{self.version}"


def git(*arguments: str) -> str:
    """Return what git says."""
    done = subprocess.run(["/usr/bin/env", "git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DemoError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def head() -> Commit:
    """Read version, commit and changes from git and the project file."""
    base = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    count = int(git("rev-list", "--count", "HEAD"))
    commit = git("rev-parse", "HEAD")
    # A shallow clone, or a young repository, has fewer.
    since = f"HEAD~{CHANGES}..HEAD" if count > CHANGES else "HEAD"
    return Commit(f"{base}-dev.{count}+g{commit[:9]}", commit, since)


def main() -> int:
    """Run the demo; return its exit status."""
    try:
        with Server().running() as server:
            carry_through(server)
    except DemoError as error:
        console.print(f"\nThe demo stopped: {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("\nThe demo was stopped.")
        return 130
    return 0


def carry_through(server: Server) -> None:
    """Take HEAD from a draft to production."""
    cli = Cli(server.address)
    heading(f"A server on an embedded database, at {server.address}")
    cli.show("login", "--login", LOGIN, "--password-stdin", standard_input=server.password)
    prepare(cli)

    now = head()
    heading(f"Release {now.release}: version, commit and changes come from git")
    record(cli, now)

    heading("To staging: build the client's wheel, run a part of the tests")
    deploy(
        cli,
        server,
        now,
        "staging",
        {
            "build": [
                PYTHON,
                "-m",
                "pip",
                "wheel",
                "--no-deps",
                "--no-build-isolation",
                "-w",
                str(WHEELS),
                "./relman_client",
            ],
            "test": [
                PYTHON,
                "-m",
                "pytest",
                "-p",
                "no:cacheprovider",
                "-v",
                "--color=no",
                "-k",
                "sqlite",
                "tests/teams",
            ],
        },
    )
    heading("To production: install that wheel, and call this server through it")
    deploy(
        cli,
        server,
        now,
        "production",
        {
            "install": [
                PYTHON,
                "-m",
                "pip",
                "install",
                "--no-deps",
                "--no-index",
                "--upgrade",
                "--target",
                str(INSTALLED),
                wheel(),
            ],
            "smoke": ["env", f"PYTHONPATH={INSTALLED}", PYTHON, "-P", "scripts/smoke.py"],
        },
    )
    heading("What happened")
    cli.show("release", "history", now.release)
    cli.show("deployment", "list", "--service", SERVICE)
    cli.show("service", "health", SERVICE)
    how_to_go_on(server)


def prepare(cli: Cli) -> None:
    """Create what is there at most once."""
    if cli.ask("service", "get", SERVICE) is None:
        cli.show("service", "create", SERVICE, "--description", "The release manager")
    for name in ("staging", "production"):
        if cli.ask("env", "get", name) is None:
            before = ["--promotes-from", "staging"] if name == "production" else []
            cli.show("env", "create", name, "--type", name, *before)


def record(cli: Cli, now: Commit) -> None:
    """Create and publish the release, unless an earlier demo did."""
    release = cli.ask("release", "get", now.release)
    if release is None:
        create = ["--commit", now.commit, "--changes", now.since, "--notes", f"relman at {now.commit[:9]}"]
        release = cli.ask("release", "create", SERVICE, now.version, *create, shown=True)
        console.print(
            f"a draft with {len(release['changes'])} changes, the newest: {release['changes'][0]['title']}",
            markup=False,
        )
    else:
        console.print(f"{now.release} is there from an earlier demo: it is deployed once more.", markup=False)
    if release["status"] == "RELEASE_STATUS_DRAFT":
        cli.ask("release", "publish", now.release, shown=True)
        console.print("published: it can be deployed")


def wheel() -> str:
    """Return the newest wheel that a build stage made."""
    found = sorted((ROOT / WHEELS).glob("relman_client-*.whl"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise DemoError("the build made no wheel")
    return str(found[-1].relative_to(ROOT))


def deploy(cli: Cli, server: Server, now: Commit, environment: str, stages: dict[str, list[str]]) -> None:
    """Create a deployment, run its stages, and complete it."""
    options = [option for name in stages for option in ("--stage", f"{name}:600")]
    deployment = cli.ask("deployment", "create", now.release, environment, *options, shown=True)["id"]
    cli.ask("deployment", "start", deployment, shown=True)
    with connect(server.address) as client, Screen(client, deployment).following():
        for name, command in stages.items():
            status = cli.run_stage(deployment, name, command)
            if status != 0:
                cli.ask(
                    "deployment", "complete", deployment, "--failed", "--reason", f"{name} ended with status {status}"
                )
                raise DemoError(f"stage {name} ended with status {status}")
        cli.ask("deployment", "complete", deployment)
    console.print(f"[green]{now.release} runs in {environment}[/green]")


def how_to_go_on(server: Server) -> None:
    """Say what to try next."""
    heading("Go on")
    console.print(
        f"""\
  RELMAN_DATA_DIR={HOME.relative_to(ROOT)}/data make run      the same server in the foreground, at 127.0.0.1:50051
  {BIN.relative_to(ROOT)}/relman login --login {LOGIN}      the password is {server.password}
  {BIN.relative_to(ROOT)}/relman env list
  {BIN.relative_to(ROOT)}/relman deployment list --service {SERVICE}
  {BIN.relative_to(ROOT)}/relman release history {head().release}
  grpcurl -plaintext 127.0.0.1:50051 relman.v1.SystemService/GetHealth

  `make run` alone starts an empty server of your own.""",
        markup=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    sys.exit(main())

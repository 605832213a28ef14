"""`make demo`: the main job, on real input. This repository at HEAD is the service that is released and deployed."""

import subprocess
import sys
import tomllib
from dataclasses import dataclass, replace

from scripts import demo_pipelines as pipelines
from scripts.demo_parts import (
    BIN,
    HOME,
    LOGIN,
    ROOT,
    Cli,
    DemoError,
    Screen,
    Server,
    connect,
    console,
    heading,
    password_of,
)
from scripts.demo_pipelines import Stages

SERVICE = "relman"
APPROVER = "bob"
TEAM = "approvers"
CHANGES = 20
RUNBOOK = """\
# The smoke test fails

The client cannot be imported, or does not reach the server.

1. Roll back first: `relman rollback relman production --reason "the smoke test failed"`
2. Then look: `relman logs DEPLOYMENT --stage smoke`
"""


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

    @property
    def bad(self) -> "Commit":
        """The same, spoilt."""
        version, plus, build = self.version.partition("+")
        return replace(self, version=f"{version}.bad{plus}{build}")


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
    """Take HEAD from a draft to production, then a bad release, and back."""
    cli, approver = Cli(server.address), Cli(server.address, APPROVER)
    heading(f"A server on an embedded database, at {server.address}")
    cli.show("login", "--login", LOGIN, "--password-stdin", standard_input=server.password)
    prepare(cli)
    approver.show("login", "--login", APPROVER, "--password-stdin", standard_input=password_of(APPROVER))

    now = head()
    heading(f"Release {now.release}: version, commit and changes come from git")
    record(cli, now)

    heading("To staging: build the client's wheel, run a part of the tests")
    to_staging = create(cli, now.release, "staging", pipelines.staging())
    carry_out(cli, server, to_staging, pipelines.staging())

    heading("To production: somebody else has to approve that")
    to_production = create(cli, now.release, "production", pipelines.production())
    cli.show("why", to_production)
    approve(cli, approver, to_production)
    heading("Install that wheel, and call this server through it")
    carry_out(cli, server, to_production, pipelines.production())

    go_bad(cli, approver, server, now)
    heading("What happened")
    cli.show("release", "history", now.release)
    cli.show("deployment", "list", "--service", SERVICE)
    cli.show("service", "health", SERVICE)
    explain(cli)
    prove(cli)
    how_to_go_on(server)


def go_bad(cli: Cli, approver: Cli, server: Server, now: Commit) -> None:
    """Deploy a release with a fault, see it fail, and go back."""
    bad = now.bad
    heading(f"A bad release: {bad.release} passes staging, and its check in production fails")
    record(cli, bad)
    to_staging = create(cli, bad.release, "staging", pipelines.staging_of_the_bad_one())
    carry_out(cli, server, to_staging, pipelines.staging_of_the_bad_one())
    to_production = create(cli, bad.release, "production", pipelines.production("bad-wheels"))
    approve(cli, approver, to_production)
    carry_out(cli, server, to_production, pipelines.production("bad-wheels"), fails=True)
    cli.show("why", to_production)

    heading("Back to what ran before: a rollback waits neither for freezes nor for others")
    reason = "the smoke test failed"
    rollback = cli.ask("rollback", SERVICE, "production", "--reason", reason, shown=True)["rollback_deployment_id"]
    carry_out(cli, server, rollback, pipelines.production())

    heading("The bad release is held, whatever way one tries")
    cli.show("deploy", bad.release, "staging", refused=True)
    cli.show("promote", bad.release, refused=True)


def explain(cli: Cli) -> None:
    """Show how delivery goes, by what this did, and what each number comes from."""
    heading("How delivery goes, by what just happened, and the deployments behind each number")
    asked = ("dora", "--service", SERVICE, "--since", "30d")
    cli.show(*asked)
    for key in ("frequency", "lead-time", "failure-rate", "restore", "rework"):
        cli.show(*asked, "--explain", key, "--limit", "5")
    cli.show(*asked, "--html", str(pipelines.FOLDER / "dora.html"))


def prove(cli: Cli) -> None:
    """Export who did what, and verify it without the server."""
    heading("Who did what: sealed, exported, and verified without the server")
    file = str(pipelines.FOLDER / "audit.jsonl")
    cli.show("audit", "list", "--action", "deployment.*", "--limit", "5")
    cli.show("audit", "verify", "--seal")
    cli.show("audit", "export", file)
    cli.show("audit", "verify", file)


def prepare(cli: Cli) -> None:
    """Create what is there at most once."""
    if cli.ask("service", "get", SERVICE) is None:
        cli.show("service", "create", SERVICE, "--description", "The release manager")
    for status in ("in-progress", "ready", "pending"):
        for left in cli.ask("deployment", "list", "--service", SERVICE, "--status", status):
            cli.show("deployment", "cancel", left["id"], "--reason", "a demo was stopped in the middle")
    if cli.ask("team", "get", TEAM) is None:
        cli.show("team", "create", TEAM, "--description", "Who decides what goes to production")
        create = ("user", "create", APPROVER, f"{APPROVER}@example.com", "--password-stdin")
        cli.show(*create, standard_input=password_of(APPROVER))
        cli.show("team", "add", TEAM, APPROVER)
    if not cli.ask("runbook", "list", "--service", SERVICE):
        runbook = ("runbook", "create", "The smoke test fails", "--service", SERVICE, "--tag", "smoke", "--file", "-")
        cli.show(*runbook, standard_input=RUNBOOK)
    if cli.ask("env", "get", "staging") is None:
        cli.show("env", "create", "staging", "--type", "staging")
    rules = ("--promotes-from", "staging", "--approvals", "1", "--approver-team", TEAM)
    if cli.ask("env", "get", "production") is None:
        cli.show("env", "create", "production", "--type", "production", *rules)
    else:  # also that of an earlier version
        cli.ask("env", "update", "production", *rules)


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
    if release.get("quarantine"):
        cli.show("release", "clear-quarantine", now.release, "--reason", "the demo runs again")
    if release["status"] == "RELEASE_STATUS_DRAFT":
        cli.ask("release", "publish", now.release, shown=True)
        console.print("published: it can be deployed")


def create(cli: Cli, release: str, environment: str, stages: Stages) -> str:
    """Create a deployment with such stages; return its id."""
    options = [option for name in stages for option in ("--stage", f"{name}:600")]
    deployment: str = cli.ask("deploy", release, environment, *options, shown=True)["id"]
    return deployment


def approve(cli: Cli, approver: Cli, deployment: str) -> None:
    """Let somebody else approve, while the author watches."""
    with cli.watching(deployment, until=" ready"):
        approver.ask("approve", deployment, "--notes", "looks good", shown=True)


def carry_out(cli: Cli, server: Server, deployment: str, stages: Stages, *, fails: bool = False) -> None:
    """Start a deployment, run its stages and complete it; the last one `fails` when it has to."""
    cli.ask("deployment", "start", deployment, shown=True)
    found = cli.ask("deployment", "get", deployment)
    where = f"{found['service_name']}@{found['release_version']} in {found['environment_name']}"
    failed = ""
    with connect(server.address) as client, Screen(client, deployment).following():
        for name, command in stages.items():
            status = cli.run_stage(deployment, name, command)
            if status != 0:
                failed = f"stage {name}: exit status {status}"
                break
        ending = ["--failed", "--impacted", "--reason", failed] if failed else []
        cli.ask("deployment", "complete", deployment, *ending)
    if bool(failed) is not fails:
        raise DemoError(failed or "what must fail did not")
    colour, how = ("red", "failed") if failed else ("green", "runs")
    console.print(f"[{colour}]{where} {how}[/{colour}]")


def how_to_go_on(server: Server) -> None:
    """Say what to try next."""
    heading("Go on")
    console.print(
        f"""\
  RELMAN_DATA_DIR={HOME.relative_to(ROOT)}/data make run      the same server in the foreground, at 127.0.0.1:50051
  {BIN.relative_to(ROOT)}/relman login --login {LOGIN}      the password is {server.password}
  {BIN.relative_to(ROOT)}/relman env status production
  {BIN.relative_to(ROOT)}/relman deployment list --service {SERVICE}
  {BIN.relative_to(ROOT)}/relman release history {head().release}
  grpcurl -plaintext 127.0.0.1:50051 relman.v1.SystemService/GetHealth

  `make run` alone starts an empty server of your own.""",
        markup=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    sys.exit(main())

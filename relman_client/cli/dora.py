"""`relman dora`: how well delivery goes."""

# ruff: noqa: PLR0913, PLR0917 - a command has one parameter for each option

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from relman_client.cli import dora_csv, dora_explain, dora_page, dora_text
from relman_client.cli.dora_data import KEYS, MORE_KEYS, Asked, Key, Report, report_of, zone_of
from relman_client.cli.inputs import enum_of, time_of
from relman_client.cli.options import new_app
from relman_client.cli.output import as_json, print_json, to_datetime
from relman_client.cli.session import Session, connected
from relman_client.v1.environment_pb2 import EnvironmentType

app = new_app()
_BY_NAME = {key.name: key for key in (*KEYS, *MORE_KEYS)}


@app.command()
@connected
def dora(
    session: Session,
    service: Annotated[
        list[str] | None, typer.Option("--service", "-s", help="Only of this service. May be repeated.")
    ] = None,
    type_: Annotated[
        list[str] | None,
        typer.Option("--type", help="Of environments: development, testing, staging. [default: production]"),
    ] = None,
    since: Annotated[
        str, typer.Option("--since", help="From the day on that was so long ago: 30d, or a date.")
    ] = "90d",
    until: Annotated[str | None, typer.Option("--until", help="Up to this day. [default: today]")] = None,
    zone: Annotated[str, typer.Option("--zone", envvar="RELMAN_ZONE", help="Time zone of the days.")] = "UTC",
    explain: Annotated[
        str | None,
        typer.Option("--explain", metavar="KEY", help=f"List the deployments behind: {', '.join(_BY_NAME)}."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page that needs no network.")
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write every number on a line.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, max=100, help="With --explain: how many deployments.")
    ] = 20,
) -> None:
    """Show how well delivery goes: how often, how fast, how reliably, and how soon failures are over.

    The four keys of DORA are computed from what was deployed to production and from incidents; bands compare them with
    other organisations. Every number can be explained.
    """
    asked = _asked(service, type_, since, until, zone)
    if explain is not None:
        dora_explain.show(session, asked, _key(explain), limit)
        return
    report = report_of(session.client, asked)
    if csv is not None:
        dora_csv.write(report, csv)
        session.done(f"{csv} has every number")
    if html is not None:
        html.write_text(dora_page.page(report), encoding="utf-8")
        session.done(f"{html} is ready to be opened in a browser")
    if session.wants_json:
        print_json(_json(report))
    elif csv is None and html is None:
        dora_text.show(report)
        sys.stdout.flush()


def _key(name: str) -> Key:
    if name not in _BY_NAME:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(_BY_NAME)}", param_hint="--explain")
    return _BY_NAME[name]


def _asked(services: list[str] | None, types: list[str] | None, since: str, until: str | None, zone: str) -> Asked:
    where = zone_of(zone)
    start, end = time_of(since, "--since"), time_of(until, "--until")
    assert start is not None
    first = to_datetime(start).astimezone(where).date()
    last = (to_datetime(end) if end else datetime.now(UTC)).astimezone(where).date()
    if first > last:
        raise typer.BadParameter("must not be after --until, which without it is today", param_hint="--since")
    if (last - first) >= timedelta(days=3659):
        raise typer.BadParameter("must be at most 3,659 days before --until", param_hint="--since")
    if last.year > 9997:
        raise typer.BadParameter("is too far away", param_hint="--until")
    chosen = [enum_of(EnvironmentType, text, "--type") for text in types or ()]
    return Asked(services or [], chosen, first, last, where)


def _json(report: Report) -> dict[str, Any]:  # JSON
    return {
        "first_day": str(report.asked.first),
        "last_day": str(report.asked.last),
        "time_zone": report.asked.zone.key,
        "summary": as_json(report.summary),
        "parts": [
            {"first_day": str(part.first), "last_day": str(part.last), "metrics": as_json(part.metrics)}
            for part in report.parts
        ],
        "days": [as_json(point) for point in report.days],
        "services": [as_json(row) for row in report.services],
        "environments": [as_json(row) for row in report.environments],
    }

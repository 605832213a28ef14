"""`relman metrics`: numbers that pipelines measure in their deployments."""

# ruff: noqa: PLR0913, PLR0917 - a command has one parameter for each option

import re
from typing import Annotated

import typer

from relman_client.cli.inputs import LimitOption, time_of
from relman_client.cli.options import new_app
from relman_client.cli.output import Columns, when
from relman_client.cli.session import Session, connected
from relman_client.v1 import analytics_pb2 as pb

app = new_app("Metrics: numbers that pipelines measure in their deployments.")

_NUMBER = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(.*)", re.DOTALL)

METRICS: Columns[pb.DeploymentMetric] = {
    "<deployment>": lambda metric: metric.deployment_id,
    "metric": lambda metric: metric.metric_name,
    "value": lambda metric: f"{metric.metric_value:.10g}",
    "unit": lambda metric: metric.unit,
    "recorded": lambda metric: when(metric, "updated_at"),
}
PERCENTILES: Columns[pb.DeploymentMetricPercentiles] = {
    "release": lambda row: f"{row.service_name}@{row.release_version}",
    "metric": lambda row: row.metric_name,
    "unit": lambda row: row.unit,
    "count": lambda row: str(row.count),
    "least": lambda row: f"{row.minimum:.6g}",
    "p50": lambda row: f"{row.p50:.6g}",
    "p90": lambda row: f"{row.p90:.6g}",
    "p99": lambda row: f"{row.p99:.6g}",
    "most": lambda row: f"{row.maximum:.6g}",
}


def value_of(text: str) -> pb.DeploymentMetricValue:
    """A number to record: NAME=VALUE, with its unit right behind."""
    name, equals, said = text.partition("=")
    match = _NUMBER.fullmatch(said)
    if not equals or not name or match is None:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE such as build=48.2s or tests=1204", param_hint="METRIC")
    return pb.DeploymentMetricValue(metric_name=name, metric_value=float(match[1]), unit=match[2].strip())


@app.command("record")
@connected
def record(
    session: Session,
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Id.")],
    metric: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="build=48.2s image=212MiB tests=1204")],
) -> None:
    """Record numbers of a deployment, all or none; one of the same name is replaced."""
    request = pb.RecordDeploymentMetricsRequest(deployment=deployment, metrics=map(value_of, metric))
    recorded = session.client.analytics.RecordDeploymentMetrics(request).deployment_metrics
    session.show_all(METRICS, recorded, empty="nothing")


@app.command("list")
@connected
def list_(
    session: Session,
    deployment: Annotated[str, typer.Option("--deployment", help="Only those of this deployment.")] = "",
    name: Annotated[str, typer.Option("--name", help="Only those of this name.")] = "",
    service: Annotated[str, typer.Option("--service", help="Only those of this service.")] = "",
    release: Annotated[str, typer.Option("--release", help="Only those of this release.")] = "",
    environment: Annotated[str, typer.Option("--environment", "-e", help="Only those of this environment.")] = "",
    since: Annotated[str | None, typer.Option("--since", help="Recorded since: 10m, 2d or a date.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Recorded before.")] = None,
    percentiles: Annotated[
        bool, typer.Option("--percentiles", "-p", help="How they are distributed, release by release.")
    ] = False,
    limit: LimitOption = 50,
) -> None:
    """List numbers that pipelines measured, the newest first."""
    request = pb.ListDeploymentMetricsRequest(
        deployment=deployment,
        metric_name=name,
        service=service,
        release=release,
        environment=environment,
        start_date=time_of(since, "--since"),
        end_date=time_of(until, "--until"),
    )
    call = session.client.analytics.ListDeploymentMetrics
    if percentiles:
        request.with_percentiles, request.page_size = True, 1
        found = call(request).percentiles
        session.show_all(PERCENTILES, found[: limit or None], empty="no metrics")
        return
    session.show_list(call, request, "deployment_metrics", METRICS, limit=limit, empty="no metrics")

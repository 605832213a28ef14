"""Metrics between the contract and Python."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TypeVar

from google.protobuf.message import Message

from relman_client.v1 import analytics_pb2 as pb
from relman_server.analytics.inputs import ListMetrics, PagedQuestion, Question, Recording
from relman_server.analytics.model import DeploymentMetric
from relman_server.analytics.summary import DEFINITION_VERSION, Groups
from relman_server.kernel.rpc.reading import reader
from relman_server.kernel.rpc.writing import Source, fitting_rows, page_writer, timestamp, writer

M = TypeVar("M", bound=Message)

summary_question = reader(pb.GetMetricsSummaryRequest, Question)
trends_question = reader(pb.GetMetricsTrendsRequest, Question)
services_question = reader(pb.GetMetricsByServiceRequest, PagedQuestion)
environments_question = reader(pb.GetMetricsByEnvironmentRequest, PagedQuestion)
recording = reader(pb.RecordDeploymentMetricsRequest, Recording)
list_metrics = reader(pb.ListDeploymentMetricsRequest, ListMetrics)

summary = writer(pb.MetricsSummary)
trends = writer(pb.GetMetricsTrendsResponse)
deployment_metric = writer(pb.DeploymentMetric)
_percentiles = writer(pb.DeploymentMetricPercentiles, count=lambda row: row.size)
_page = page_writer(pb.ListDeploymentMetricsResponse, "deployment_metrics", deployment_metric)
_service = writer(pb.ServiceMetrics, service_id=lambda row: str(row.id), service_name=lambda row: row.name)
_environment = writer(
    pb.EnvironmentMetrics, environment_id=lambda row: str(row.id), environment_name=lambda row: row.name
)


def deployment_metrics(listed: SimpleNamespace) -> pb.ListDeploymentMetricsResponse:
    """Write a page of recorded numbers."""
    message = _page(listed.page)
    message.percentiles.extend(map(_percentiles, listed.percentiles))
    return message


def recorded(metrics: Sequence[DeploymentMetric]) -> pb.RecordDeploymentMetricsResponse:
    """Write what was recorded."""
    return pb.RecordDeploymentMetricsResponse(deployment_metrics=map(deployment_metric, metrics))


def _groups_writer(message: type[M], write: Callable[[Source], Message]) -> Callable[[Groups], M]:
    def write_groups(found: Groups) -> M:
        rows, token = fitting_rows(found, write)
        return message(
            rows=rows,
            next_page_token=token,
            definition_version=DEFINITION_VERSION,
            start_date=timestamp(found.range.start),
            end_date=timestamp(found.range.end),
        )

    return write_groups


by_service = _groups_writer(pb.GetMetricsByServiceResponse, _service)
by_environment = _groups_writer(pb.GetMetricsByEnvironmentResponse, _environment)

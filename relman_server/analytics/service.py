"""AnalyticsService: how well delivery goes."""

from relman_client.v1 import analytics_pb2 as pb
from relman_client.v1 import analytics_pb2_grpc
from relman_server.analytics import convert, logic, recording
from relman_server.kernel.db import Database
from relman_server.kernel.rpc.chain import Context


class AnalyticsService(analytics_pb2_grpc.AnalyticsServiceServicer):
    """Analytics: how well delivery goes. What is computed in several statements is of one snapshot."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def GetMetricsSummary(self, request: pb.GetMetricsSummaryRequest, context: Context) -> pb.MetricsSummary:
        asked = convert.summary_question(request)
        return await self._db.snapshot(logic.metrics_summary, asked, into=convert.summary)

    async def GetMetricsTrends(
        self, request: pb.GetMetricsTrendsRequest, context: Context
    ) -> pb.GetMetricsTrendsResponse:
        asked = convert.trends_question(request)
        return await self._db.snapshot(logic.metrics_trends, asked, into=convert.trends)

    async def GetMetricsByService(
        self, request: pb.GetMetricsByServiceRequest, context: Context
    ) -> pb.GetMetricsByServiceResponse:
        asked = convert.services_question(request)
        return await self._db.snapshot(logic.metrics_by_service, asked, into=convert.by_service)

    async def GetMetricsByEnvironment(
        self, request: pb.GetMetricsByEnvironmentRequest, context: Context
    ) -> pb.GetMetricsByEnvironmentResponse:
        asked = convert.environments_question(request)
        return await self._db.snapshot(logic.metrics_by_environment, asked, into=convert.by_environment)

    async def RecordDeploymentMetrics(
        self, request: pb.RecordDeploymentMetricsRequest, context: Context
    ) -> pb.RecordDeploymentMetricsResponse:
        return await self._db.write(recording.record_metrics, convert.recording(request), into=convert.recorded)

    async def ListDeploymentMetrics(
        self, request: pb.ListDeploymentMetricsRequest, context: Context
    ) -> pb.ListDeploymentMetricsResponse:
        wanted = convert.list_metrics(request)
        return await self._db.read(recording.list_metrics, wanted, into=convert.deployment_metrics)

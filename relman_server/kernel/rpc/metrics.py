"""Third step: count calls and how long they take, for Prometheus."""

import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from relman_server.kernel.identity import Call
from relman_server.kernel.rpc.chain import Context, Proceed


class Metrics:
    """Calls by method and status, their durations, and how many are under way."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter("relman_calls", "Calls that ended.", ["method", "status"], registry=registry)
        self._seconds = Histogram(
            "relman_call_seconds",
            "Time from the first byte of a call to its end.",
            ["method"],
            buckets=(0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
            registry=registry,
        )
        self._under_way = Gauge("relman_calls_under_way", "Calls that have not ended.", registry=registry)

    async def __call__(self, call: Call, request: Any, context: Context, proceed: Proceed) -> Any:
        """Observe after everything inside is done. Methods are those of the contract, so labels stay few."""
        self._under_way.inc()
        try:
            return await proceed(call, request, context)
        finally:
            self._under_way.dec()
            self._calls.labels(call.method, call.status).inc()
            self._seconds.labels(call.method).observe(time.monotonic() - call.started)

"""`relman health`."""

import sys
from datetime import timedelta

from relman_client.cli.options import new_app
from relman_client.cli.output import Columns, as_json, print_json, print_rows, word
from relman_client.cli.session import Session, connected
from relman_client.v1.common_pb2 import HealthStatus
from relman_client.v1.system_pb2 import ComponentHealth, GetHealthRequest

app = new_app()

Part = tuple[str, ComponentHealth]
PARTS: Columns[Part] = {
    "part": lambda part: part[0],
    "status": lambda part: word(part[1], "status"),
    "latency": lambda part: _latency(part[1]),
    "version": lambda part: part[1].version,
    "message": lambda part: part[1].message,
}


@app.command()
@connected
def health(session: Session) -> None:
    """Show how the server is doing. Exits with 1 when it does not work."""
    answer = session.client.system.GetHealth(GetHealthRequest())
    if session.wants_json:
        print_json(as_json(answer))
    else:
        print_rows(PARTS, [("server", answer.app), ("database", answer.database), ("redis", answer.redis)])
    if answer.status == HealthStatus.HEALTH_STATUS_FAILING:
        sys.exit(1)


def _latency(part: ComponentHealth) -> str:
    if not part.HasField("latency"):
        return ""
    span = timedelta(seconds=part.latency.seconds, microseconds=part.latency.nanos // 1000)
    return f"{span.total_seconds() * 1000:.1f} ms"

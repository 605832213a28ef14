from datetime import UTC, datetime, timedelta

import pytest
import typer

from relman_client.cli import inputs
from relman_client.v1.deployment_pb2 import DeploymentStatus


@pytest.mark.parametrize("text", ["in-progress", "IN_PROGRESS", "in progress"])
def test_enums_are_named_as_people_write_them(text: str) -> None:
    value = inputs.enum_of(DeploymentStatus, text, "--status")
    assert value == DeploymentStatus.DEPLOYMENT_STATUS_IN_PROGRESS


@pytest.mark.parametrize("text", ["unspecified", "running", ""])
def test_other_names_are_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"pending, ready, in-progress, .*rolled-back"):
        inputs.enum_of(DeploymentStatus, text, "--status")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("45s", 45), ("1h30m", 5400), ("2d", 172800), ("1.5h", 5400)]
)
def test_spans(text: str, seconds: float) -> None:
    assert inputs.seconds_of(text, "--for") == seconds


@pytest.mark.parametrize("text", ["", "x", "-5m", "5 m", "5mm", "m", "٣"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="no span"):
        inputs.seconds_of(text, "--for")


def test_times_are_ago_or_dates() -> None:
    since = inputs.time_of("10m", "--since")
    assert since is not None
    assert abs(since.ToDatetime(UTC) - datetime.now(UTC) + timedelta(minutes=10)) < timedelta(seconds=5)
    day = inputs.time_of("2026-01-02T03:04:05Z", "--since")
    assert day is not None
    assert day.ToDatetime(UTC) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_stages_may_have_a_timeout() -> None:
    build, test = inputs.stages_of(["build", "test:600"])
    assert (build.name, build.timeout_seconds) == ("build", 0)
    assert (test.name, test.timeout_seconds) == ("test", 600)
    with pytest.raises(typer.BadParameter):
        inputs.stages_of(["test:ten"])


def test_labels_are_pairs() -> None:
    assert inputs.labels_of(["a=b", "c=d=e", "f="]) == {"a": "b", "c": "d=e", "f": ""}
    for wrong in ("a", "=b"):
        with pytest.raises(typer.BadParameter):
            inputs.labels_of([wrong])

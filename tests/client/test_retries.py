import grpc
import pytest

from relman_client import RelmanError, RetryOptions
from relman_client.retries import Backoff, may_repeat, traits_of
from relman_client.v1 import auth_pb2, log_pb2, release_pb2

GET = "/relman.v1.ReleaseService/GetRelease"
CREATE = "/relman.v1.ReleaseService/CreateRelease"
UNAVAILABLE = RelmanError(grpc.StatusCode.UNAVAILABLE, "away")


def test_reads_may_be_repeated() -> None:
    assert may_repeat(GET, release_pb2.GetReleaseRequest(), UNAVAILABLE)


def test_changes_may_be_repeated_with_a_request_id_only() -> None:
    assert not may_repeat(CREATE, release_pb2.CreateReleaseRequest(), UNAVAILABLE)
    assert may_repeat(CREATE, release_pb2.CreateReleaseRequest(request_id="x"), UNAVAILABLE)


def test_a_login_is_not_repeated_and_a_refresh_is() -> None:
    assert not may_repeat("/relman.v1.AuthService/Login", auth_pb2.LoginRequest(), UNAVAILABLE)
    assert may_repeat("/relman.v1.AuthService/RefreshToken", auth_pb2.RefreshTokenRequest(), UNAVAILABLE)


def test_sequences_make_repeated_appends_safe() -> None:
    assert may_repeat("/relman.v1.DeploymentLogService/AppendLogs", log_pb2.AppendLogsRequest(), UNAVAILABLE)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("INTERNAL", "INTERNAL"),
        ("DEADLINE_EXCEEDED", ""),
        ("ABORTED", "STALE_ETAG"),
        ("RESOURCE_EXHAUSTED", "LOG_QUOTA"),
    ],
)
def test_other_failures_are_not_repeated(code: str, reason: str) -> None:
    assert not may_repeat(GET, release_pb2.GetReleaseRequest(), RelmanError(grpc.StatusCode[code], "", reason=reason))


def test_an_overloaded_server_began_nothing() -> None:
    error = RelmanError(grpc.StatusCode.RESOURCE_EXHAUSTED, "", reason="OVERLOADED", retry_after=1)
    assert may_repeat(CREATE, release_pb2.CreateReleaseRequest(), error)


def test_tokens_are_not_sent_to_what_hands_them_out() -> None:
    assert not traits_of("/relman.v1.AuthService/Login").takes_token
    assert traits_of("/relman.v1.AuthService/GetCurrentUser").takes_token
    assert traits_of("/relman.v1.SystemService/GetHealth").takes_token
    assert traits_of("/grpc.health.v1.Health/Check").takes_token


def test_delays_grow_up_to_a_limit_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(RetryOptions(initial_delay=1, max_delay=4))
    delays = [backoff.next() for _ in range(5)]
    for delay, longest in zip(delays, [1, 2, 4, 4, 4], strict=True):
        assert longest / 2 <= delay <= longest
    backoff.reset()
    assert backoff.next() <= 1


def test_the_server_may_ask_for_a_longer_delay_which_is_spread_too() -> None:
    error = RelmanError(grpc.StatusCode.UNAVAILABLE, "", retry_after=9)
    delays = {Backoff().next(error) for _ in range(5)}
    assert len(delays) > 1
    assert all(9 < delay <= 9.1 for delay in delays)

"""What is wrong with a request is said, for every RPC and every field: with a reason, and all of it at once."""

import base64
import itertools
import json
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from relman_client.v1 import release_pb2, system_pb2, team_pb2
from relman_server.kernel.rpc import descriptors
from tests.contract import (
    REASONS,
    RPCS,
    UNKNOWN_ID,
    FieldPath,
    Outcome,
    Rpc,
    call,
    dotted,
    paths,
    required,
    set_path,
)
from tests.factories import Caller, RunningServer, make_service, make_team, refused, unique

NEVER = {"INTERNAL", "UNKNOWN", "DATA_LOSS"}
# Log lines are read by their own reader: what a build prints is never refused for its letters.
READ_ELSEWHERE = "relman.v1.LogEntry"


def sound(rpc: Rpc, outcome: Outcome) -> Outcome:
    """Assert that a refusal says what it should, and that nothing unexpected happened."""
    assert outcome.status not in NEVER, f"{rpc.name}: {outcome.status} {outcome.refusal and outcome.refusal.message}"
    if outcome.refusal is not None:
        assert outcome.refusal.info.domain == "relman", f"{rpc.name}: {outcome.status} without ErrorInfo"
        assert outcome.reason in REASONS, f"{rpc.name}: {outcome.reason}"
        assert outcome.request_id, f"{rpc.name}: no x-request-id"
    return outcome


class Walk:
    """Calls as an admin, of which each must end soundly."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.admin: Caller = server.admin
        self.wrong: list[str] = []
        self.asked = 0

    async def call(self, rpc: Rpc, request: Any) -> Outcome:
        """Call and assert that the end is sound."""
        self.asked += 1
        return sound(rpc, await call(self.server.channel, rpc, request, self.admin.metadata, within=10))

    def expect(self, rpc: Rpc, field: str, outcome: Outcome, *, reason: str = "INVALID_INPUT") -> None:
        """Note it as wrong unless the answer is INVALID_ARGUMENT and names the field."""
        named = any(name == field or name.startswith((f"{field}.", f"{field}[")) for name in outcome.violations)
        if outcome.status == "UNIMPLEMENTED":
            return
        if outcome.status != "INVALID_ARGUMENT" or outcome.reason != reason or not named:
            self.wrong.append(f"{rpc.name} {field}: {outcome.status} {outcome.reason} {outcome.violations}")

    async def end(self) -> None:
        """Assert that nothing was noted, something was asked, and the server is well."""
        assert not self.wrong, "\n".join(self.wrong)
        assert self.asked > 3
        health = await self.server.nobody.system.GetHealth(system_pb2.GetHealthRequest())
        assert health.status


def _fields(rpc: Rpc, kind: int) -> list[FieldPath]:
    return [
        path
        for path in paths(rpc.method.input_type)
        if path[-1].type == kind and not any(each.message_type and _elsewhere(each) for each in path)
    ]


def _elsewhere(each: FieldDescriptor) -> bool:
    return each.message_type is not None and each.message_type.full_name == READ_ELSEWHERE


async def test_an_empty_request_is_told_every_required_field(shared_server: RunningServer) -> None:
    walk = Walk(shared_server)
    for rpc in RPCS:
        needed = {each.name for each in rpc.method.input_type.fields if descriptors.is_required(each)}
        if not needed:
            continue
        outcome = await walk.call(rpc, rpc.request())
        assert (outcome.status, outcome.reason) == ("INVALID_ARGUMENT", "INVALID_INPUT"), rpc.name
        assert needed <= outcome.violations, rpc.name
    await walk.end()


async def test_no_text_holds_the_character_nul(shared_server: RunningServer) -> None:
    """PostgreSQL cannot store it, so without the check such a request ends in the driver's error."""
    walk = Walk(shared_server)
    for rpc in RPCS:
        for path in _fields(rpc, FieldDescriptor.TYPE_STRING):
            request = required(rpc)
            set_path(request, path, "a\0b")
            outcome = await walk.call(rpc, request)
            assert outcome.status == "INVALID_ARGUMENT", f"{rpc.name} {dotted(path)}"
            walk.expect(rpc, dotted(path), outcome)
    await walk.end()


async def test_no_map_holds_the_character_nul(shared_server: RunningServer) -> None:
    walk = Walk(shared_server)
    for rpc in RPCS:
        for path in paths(rpc.method.input_type):
            if descriptors.is_map(path[-1]):
                request = required(rpc)
                set_path(request, path, "a\0b")
                walk.expect(rpc, dotted(path), await walk.call(rpc, request))
    await walk.end()


async def test_an_enum_takes_its_values_only(shared_server: RunningServer) -> None:
    walk = Walk(shared_server)
    for rpc in RPCS:
        for path in _fields(rpc, FieldDescriptor.TYPE_ENUM):
            for number in (99_999, -1):
                request = required(rpc)
                set_path(request, path, number)
                outcome = await walk.call(rpc, request)
                assert outcome.status == "INVALID_ARGUMENT", f"{rpc.name} {dotted(path)}"
                walk.expect(rpc, dotted(path), outcome)
    await walk.end()


def _raw(field: FieldDescriptor, content: bytes) -> bytes:
    """Return a message with one field of these bytes; tag and length in one byte each or two."""
    tag = field.number << 3 | 2
    head = bytes([tag]) if tag < 128 else bytes([tag & 0x7F | 0x80, tag >> 7])
    return head + bytes([len(content)]) + content


MALFORMED = [b"\xff", b"\x0a\xff", b"\x0a\x05ab", b"\x0b", b"\x00", b"\xff" * 100]
NOT_UTF8 = {"a lone surrogate": b"\xed\xa0\x80", "a stray byte": b"a\xff", "an overlong slash": b"\xc0\xaf"}


async def test_bytes_that_are_no_message_are_refused_as_such(shared_server: RunningServer) -> None:
    walk = Walk(shared_server)
    for rpc in RPCS:
        for data in MALFORMED:
            outcome = await walk.call(rpc, data)
            assert (outcome.status, outcome.reason) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE"), f"{rpc.name} {data!r}"
    await walk.end()


@pytest.mark.parametrize(
    "path",
    [
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.channelz.v1.Channelz/GetServer",
    ],
)
async def test_bytes_that_are_no_message_are_refused_also_where_the_rpc_is_not_relmans_own(
    shared_server: RunningServer, path: str
) -> None:
    method: Any = shared_server.channel.stream_stream(path)  # which can call methods of the other kinds, too
    refusal = await refused(method([b"\xff"], timeout=10))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE")


@pytest.mark.parametrize("text", NOT_UTF8)
async def test_text_that_is_not_utf_8_is_refused(shared_server: RunningServer, text: str) -> None:
    walk = Walk(shared_server)
    for rpc in RPCS:
        for field in rpc.method.input_type.fields:
            if field.type == FieldDescriptor.TYPE_STRING:
                outcome = await walk.call(rpc, required(rpc).SerializeToString() + _raw(field, NOT_UTF8[text]))
                assert (outcome.status, outcome.reason) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE"), rpc.name
    await walk.end()


async def test_what_an_unknown_reference_names_is_said_to_be_missing(shared_server: RunningServer) -> None:
    words = {"team", "service", "environment", "release", "deployment", "stage", "user", "deploy_policy"}
    walk = Walk(shared_server)
    for rpc in RPCS:
        needed = [each for each in rpc.method.input_type.fields if descriptors.is_required(each)]
        texts = [each.name for each in needed if each.type == FieldDescriptor.TYPE_STRING]
        if not texts or not set(texts) <= words:
            continue
        outcome = await walk.call(rpc, required(rpc))
        if outcome.status == "UNIMPLEMENTED":
            continue
        assert outcome.refusal is not None
        assert (outcome.status, outcome.reason) == ("NOT_FOUND", "NOT_FOUND"), rpc.name
        assert outcome.refusal.resource.resource_type in texts, rpc.name
        assert outcome.refusal.resource.resource_name == UNKNOWN_ID, rpc.name
    await walk.end()


ODD_REFERENCES = [
    "",
    " ",
    "x" * 400,
    "a@",
    "@",
    "a@@b",
    "/",
    "a/b/c",
    "Ünï-cödé",
    "💥",
    "'; drop table release; --",
    "%",
]


async def test_an_odd_reference_is_not_found_or_invalid(shared_server: RunningServer) -> None:
    odd = itertools.cycle(ODD_REFERENCES)  # as many as there are would take minutes; each field has its turn with some
    walk = Walk(shared_server)
    for rpc in RPCS:
        for path in _fields(rpc, FieldDescriptor.TYPE_STRING):
            request = required(rpc)
            set_path(request, path, next(odd))
            await walk.call(rpc, request)
    await walk.end()


async def test_an_update_mask_names_what_can_be_set(shared_server: RunningServer) -> None:
    walk = Walk(shared_server)
    for rpc in RPCS:
        if "update_mask" not in rpc.method.input_type.fields_by_name:
            continue
        for bad in ("nothing", "id", "etag", "created_at", "*.x", "", "name.x"):
            request = required(rpc)
            request.update_mask.CopyFrom(FieldMask(paths=[bad]))
            walk.expect(rpc, "update_mask", await walk.call(rpc, request))
    await walk.end()


async def test_a_request_id_is_a_uuid(shared_server: RunningServer) -> None:
    walk = Walk(shared_server)
    for rpc in RPCS:
        if not rpc.has_request_id:
            continue
        for bad in ("x", "1" * 36, UNKNOWN_ID.replace("-", ""), f"{{{UNKNOWN_ID}}}", "💥"):
            request = required(rpc)
            request.request_id = bad
            outcome = await walk.call(rpc, request)
            assert (outcome.status, outcome.violations) == ("INVALID_ARGUMENT", {"request_id"}), rpc.name
    await walk.end()


TIMES = [
    Timestamp(seconds=2**62),
    Timestamp(seconds=-(2**62)),
    Timestamp(seconds=253402300800),
    Timestamp(seconds=-62135596801),
    Timestamp(nanos=-1),
    Timestamp(nanos=2_000_000_000),
]
SPANS = [
    Duration(seconds=2**62),
    Duration(seconds=-(2**62)),
    Duration(seconds=1, nanos=2_000_000_000),
    Duration(nanos=-2_000_000_000),
]


@pytest.mark.parametrize(("kind", "values"), [("Timestamp", TIMES), ("Duration", SPANS)])
async def test_times_and_spans_out_of_range_are_refused(
    shared_server: RunningServer, kind: str, values: list[Any]
) -> None:
    walk = Walk(shared_server)
    for rpc in RPCS:
        for path in _fields(rpc, FieldDescriptor.TYPE_MESSAGE):
            inner = path[-1].message_type
            if inner is None or inner.full_name != f"google.protobuf.{kind}":
                continue
            for value in values:
                request = required(rpc)
                set_path(request, path, value)
                walk.expect(rpc, dotted(path), await walk.call(rpc, request))
    await walk.end()


async def test_numbers_at_their_limits_are_accepted_or_refused(shared_server: RunningServer) -> None:
    """Columns are narrower than the contract's int64, and OFFSET is narrower than int32 times pages."""
    limits: dict[int, list[float]] = {
        FieldDescriptor.TYPE_INT32: [-1, -(2**31), 2**31 - 1],
        FieldDescriptor.TYPE_INT64: [-1, -(2**63), 2**63 - 1, 2**53],
        FieldDescriptor.TYPE_DOUBLE: [float("nan"), float("inf"), -1e308],
    }
    walk = Walk(shared_server)
    for rpc in RPCS:
        for kind, values in limits.items():
            for path in _fields(rpc, kind):
                for value in values:
                    request = required(rpc)
                    set_path(request, path, value)
                    await walk.call(rpc, request)
    await walk.end()


async def test_text_of_100_kb_is_accepted_or_refused(shared_server: RunningServer) -> None:
    walk = Walk(shared_server)
    long = itertools.cycle(["x" * 100_000, "💥" * 25_000, " " * 100_000])
    for rpc in RPCS:
        for path in paths(rpc.method.input_type):
            if path[-1].type == FieldDescriptor.TYPE_STRING or descriptors.is_map(path[-1]):
                request = required(rpc)
                set_path(request, path, next(long))
                await walk.call(rpc, request)
    await walk.end()


async def test_a_message_of_5_mib_is_too_large(shared_server: RunningServer) -> None:
    """GRPC itself refuses it, before any of our code: without details, but with the right status."""
    metadata = shared_server.admin.metadata
    kinds = {(rpc.method.client_streaming, rpc.method.server_streaming): rpc for rpc in RPCS if rpc.mutating}
    for rpc in kinds.values():  # one of each kind: it takes a quarter of a second
        outcome = await call(shared_server.channel, rpc, b"\x0a" + b"\x80\x80\xc0\x02" + b"x" * (5 << 20), metadata)
        assert outcome.status == "RESOURCE_EXHAUSTED", rpc.name
    assert await shared_server.nobody.system.GetHealth(system_pb2.GetHealthRequest()) != system_pb2.ServerHealth()


# --- lists


LISTS = [rpc for rpc in RPCS if "page_token" in rpc.method.input_type.fields_by_name]


def _token(*fields: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")


async def test_pages_of_less_than_nothing_are_refused(shared_server: RunningServer) -> None:
    walk = Walk(shared_server)
    for rpc in LISTS:
        for name in ("page_size", "skip"):
            request = required(rpc)
            if name in rpc.method.input_type.fields_by_name:
                setattr(request, name, -1)
                walk.expect(rpc, name, await walk.call(rpc, request))
    await walk.end()


async def test_an_order_by_what_is_no_field_is_refused(shared_server: RunningServer) -> None:
    walk = Walk(shared_server)
    for rpc in LISTS:
        if "order_by" not in rpc.method.input_type.fields_by_name:
            continue
        for bad in ("nothing", "created_at; drop table release", "created_at sideways", "created_at desc desc", ","):
            request = required(rpc)
            request.order_by = bad
            outcome = await walk.call(rpc, request)
            if outcome.status != "NOT_FOUND":  # of lists within a resource, which is looked for first
                walk.expect(rpc, "order_by", outcome)
    await walk.end()


@pytest.mark.parametrize(
    "token",
    [
        "garbage",
        "💥",
        "=",
        "A",
        _token(),
        _token(1),
        _token("fingerprint", ["a", "b"], 1, 1, 1),
        _token("fingerprint", [1, 2, 3], 1, 1, 1),
        _token("fingerprint", [{"t": "never"}, {"u": "x"}], 1, 1, 1),
        _token("fingerprint", [None, None], "x", {}, []),
        _token("x" * 5000),
        base64.urlsafe_b64encode(b"[" * 3000).decode().rstrip("="),
    ],
    ids=[str(number) for number in range(12)],
)
async def test_a_page_token_of_ones_own_making_is_refused(shared_server: RunningServer, token: str) -> None:
    walk = Walk(shared_server)
    for rpc in LISTS:
        request = required(rpc)
        request.page_token = token
        outcome = await walk.call(rpc, request)
        if outcome.status != "NOT_FOUND":
            reason = (
                "INVALID_INPUT" if outcome.reason == "INVALID_INPUT" and len(token) > 1024 else "INVALID_PAGE_TOKEN"
            )
            walk.expect(rpc, "page_token", outcome, reason=reason)
    await walk.end()


@pytest.mark.parametrize(
    ("order", "place", "altered"),
    [
        ("name", 4, 2**40),
        ("name", 4, -1),
        ("name", 2, 2**70),
        ("name", 2, -1),
        ("name", 1, ["a\0b", None]),
        ("name", 1, ["\ud800", None]),
        ("name", 1, [2**70, None]),
        ("created_at", 1, [{"t": "0001-01-01T00:00:00+14:00"}, None]),
        ("created_at", 1, [{"t": "9999-12-31T23:59:59-14:00"}, None]),
    ],
    ids=[str(number) for number in range(9)],
)
async def test_a_page_token_that_was_altered_is_refused(
    shared_server: RunningServer, order: str, place: int, altered: Any
) -> None:
    for _ in range(2):
        await make_team(shared_server.admin)
    page = await shared_server.admin.teams.ListTeams(team_pb2.ListTeamsRequest(page_size=1, order_by=order))
    token = page.next_page_token
    fields = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    fields[place] = [altered[0], fields[1][1]] if place == 1 else altered
    request = team_pb2.ListTeamsRequest(page_size=1, order_by=order, page_token=_token(*fields))
    refusal = await refused(shared_server.admin.teams.ListTeams(request))
    assert refusal.reason == "INVALID_PAGE_TOKEN"


async def test_a_page_token_belongs_to_the_filters_and_the_order_it_came_with(server: RunningServer) -> None:
    team = await make_team(server.admin)
    for _ in range(3):
        await make_service(server.admin, team=team.name)
    list_services = next(rpc for rpc in LISTS if rpc.name == "CatalogService/ListServices")
    first: Any = list_services.request(page_size=1)
    page = await server.admin.catalog.ListServices(first)
    for other in ({"query": "x"}, {"team": team.name}, {"is_active": True}, {"order_by": "name desc"}):
        refusal = await refused(
            server.admin.catalog.ListServices(
                list_services.request(page_size=1, page_token=page.next_page_token, **other)  # type: ignore[arg-type]
            )
        )
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


# --- answers that are large, or come from far inside


async def test_a_thousand_violations_still_arrive(shared_server: RunningServer) -> None:
    """Fails when details are not cut: answers travel as metadata, and clients refuse more than 8 KiB of it."""
    changes = [release_pb2.Change(commit="no commit " * 20, title="t" * 600) for _ in range(1000)]
    refusal = await refused(
        shared_server.admin.releases.CreateRelease(
            release_pb2.CreateReleaseRequest(service="x", version="no version", changes=changes)
        )
    )
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert "..." in refusal.violations
    assert len(refusal.violations) > 5


async def test_violations_in_long_words_of_many_bytes_still_arrive(shared_server: RunningServer) -> None:
    refusal = await refused(
        shared_server.admin.releases.GetRelease(release_pb2.GetReleaseRequest(release="💥" * 100_000))
    )
    assert refusal.code in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}


async def test_labels_with_odd_keys_are_refused_with_a_path_that_can_be_sent(shared_server: RunningServer) -> None:
    request: Any = required(next(rpc for rpc in RPCS if rpc.name == "DeploymentService/CreateDeployment"))
    for number in range(200):
        request.labels[f"Ünï-cödé {number} " * 50] = "x" * 1000
    refusal = await refused(shared_server.admin.deployments.CreateDeployment(request))
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT


async def test_what_a_machine_says_of_itself_is_taken_with_care(shared_server: RunningServer) -> None:
    """A correlation id that could forge a line of the log is replaced; a good one is kept."""
    rpc = next(rpc for rpc in RPCS if rpc.name == "SystemService/GetHealth")
    for sent, kept in (("pipeline-42/build:7", True), ("x" * 129, False), ('a b"c', False)):
        outcome = await call(shared_server.channel, rpc, b"", (("x-request-id", sent),))
        assert (outcome.request_id == sent) == kept
        assert outcome.request_id


async def test_a_name_that_is_taken_is_said_to_be(server: RunningServer) -> None:
    name = unique("team")
    await make_team(server.admin, name=name)
    refusal = await refused(server.admin.teams.CreateTeam(team_pb2.CreateTeamRequest(name=name)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")
    assert (refusal.resource.resource_type, refusal.resource.resource_name) == ("team", name)

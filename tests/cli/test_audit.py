"""`relman audit`: what was done, exported, and verified without a server."""

import json
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.message import Message

from relman_client.audit_chain import GENESIS, Block, digest, row_line, rows_hash
from relman_client.v1.audit_pb2 import AuditExportFormat, ExportAuditLogsRequest, ExportAuditLogsResponse
from relman_server.audit.signing import BlockSigner
from tests.cli.conftest import Command
from tests.client.scripted import Fault, scripted

AT = "2026-11-25T21:00:00.000000Z"


def _row(number: int) -> bytes:
    texts = ("team.create", AT, "{}", f"id-{number}", "127.0.0.1", "SUCCESS", "r", "t", "team", "test", "", "ann")
    return row_line(*texts)


def _block(before: Block | None, lines: list[bytes], signer: BlockSigner | None = None, number: int = 0) -> Block:
    unsealed = Block(
        number=number or (before.number + 1 if before else 1),
        previous=before.hash if before else GENESIS,
        rows=len(lines),
        rows_hash=rows_hash(digest(line) for line in lines),
        newest=AT,
        sealed_at=AT,
    )
    found = unsealed.computed_hash()
    return Block(**{**vars(unsealed), "hash": found, "signature": signer.sign(found) if signer else ""})


def _export(folder: Path, *lines: bytes) -> str:
    (folder / "audit.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    return "audit.jsonl"


def _public(signer: BlockSigner, file: Path) -> str:
    file.write_bytes(signer._public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return str(file)


def test_what_was_done_is_listed_and_shown(relman: Command) -> None:
    assert relman("team", "create", "audited-team").returncode == 0
    listed = relman("audit", "list", "--user", "admin", "--action", "team.*", "--since", "1h", "-o", "json")
    row = next(
        row for row in json.loads(listed.stdout) if row["details"]["changes"].get("name") == [None, "audited-team"]
    )
    assert (row["action"], row["outcome"], row["username"]) == ("team.create", "AUDIT_OUTCOME_SUCCESS", "admin")
    table = relman("audit", "list", "--resource", row["resource_id"]).stdout.splitlines()
    assert table[0].split() == ["ID", "WHEN", "WHO", "ACTION", "RESOURCE", "OUTCOME", "FROM", "BLOCK"]
    assert table[1].split()[2:6] == ["admin", "team.create", row["resource_id"], "success"]
    assert row["request_id"] in relman("audit", "get", row["id"]).stdout
    assert relman("audit", "list", "--outcome", "perhaps").returncode == 2


def test_an_export_of_a_server_verifies_without_it(relman: Command) -> None:
    by_server = relman("audit", "verify", "--seal", "-o", "json")
    assert by_server.returncode == 0
    head = json.loads(by_server.stdout)
    assert relman("audit", "export", "audit.jsonl").returncode == 0
    relman.environment["RELMAN_SERVER"] = "127.0.0.1:1"
    found = relman("audit", "verify", "audit.jsonl", "--hash", head["head_hash"], "-o", "json")
    assert found.returncode == 0
    facts = json.loads(found.stdout)
    assert (facts["valid"], facts["head_hash"], facts["rows_checked"]) == (
        True,
        head["head_hash"],
        head["rows_checked"],
    )
    assert relman("audit", "verify", "audit.jsonl", "--hash", "0" * 64).returncode == 3
    assert head["head_hash"] in relman("audit", "verify", "audit.jsonl").stdout
    file = relman.folder / "audit.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"username":"admin"', b'"username":"nobody"', 1))
    tampered = relman("audit", "verify", "audit.jsonl")
    assert tampered.returncode == 3
    assert "rows that are not those that were sealed" in tampered.stderr


def test_an_export_goes_on_after_the_connection_broke(relman: Command) -> None:
    """By a scripted server: what is to be seen here is an export that breaks."""
    parts: list[list[Message | Fault]] = [
        [ExportAuditLogsResponse(data=b"one\r\n", cursor="a"), Fault(grpc.StatusCode.UNAVAILABLE)],
        [ExportAuditLogsResponse(data=b"two\r\n", cursor="b")],
    ]
    with scripted("AuditLogService/ExportAuditLogs", ExportAuditLogsRequest, *parts) as script:
        relman.environment["RELMAN_SERVER"] = script.address
        done = relman("audit", "export", "audit.csv", "--user", "ann", "--type", "team")
        assert done.returncode == 0, done.stderr
        assert "lost" in done.stderr
        assert (relman.folder / "audit.csv").read_bytes() == b"one\r\ntwo\r\n"
        first, second = script.requests
        assert (first.user, first.resource_type, first.cursor) == ("ann", "team", "")
        assert first.format == AuditExportFormat.AUDIT_EXPORT_FORMAT_CSV
        assert second == ExportAuditLogsRequest(user="ann", resource_type="team", format=first.format, cursor="a")
        assert relman("audit", "export", "--format", "jsonl").returncode == 0
        assert script.requests[-1].format == AuditExportFormat.AUDIT_EXPORT_FORMAT_JSON_LINES


def test_the_newest_block_must_be_signed_when_a_key_is_named(bare: Command) -> None:
    """Its signature stands for the blocks before it: older ones may have none, or one of an older key."""
    signer, older = BlockSigner(Ed25519PrivateKey.generate()), BlockSigner(Ed25519PrivateKey.generate())
    key, other = _public(signer, bare.folder / "key.pem"), _public(older, bare.folder / "older.pem")
    first = _block(None, [_row(1)])
    second = _block(first, [_row(2)], older)
    third = _block(second, [_row(3)], signer)
    lines = [_row(1), first.line(), _row(2), second.line()]
    file = _export(bare.folder, *lines, _row(3), third.line(), _row(4))
    done = bare("audit", "verify", file, "--public-key", key)
    assert (done.returncode, "1 block is signed" in done.stdout, "1 row at the end" in done.stdout) == (
        0,
        True,
        True,
    )
    assert bare("audit", "verify", file, "--public-key", other).returncode == 3
    assert bare("audit", "verify", file, "--public-key", other, "--public-key", key).returncode == 0
    cut = _export(bare.folder, *lines)
    assert "not signed" in bare("audit", "verify", cut, "--public-key", key).stderr
    (bare.folder / "bad.pem").write_text("nonsense")
    assert bare("audit", "verify", file, "--public-key", "bad.pem").returncode == 1


def test_a_beginning_that_nothing_vouches_for_is_told_of(bare: Command) -> None:
    block = _block(None, [_row(1)], number=7)
    assert "begins with block 7" in bare("audit", "verify", _export(bare.folder, _row(1), block.line())).stdout


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "no block"),
        ([_row(1)], "no block"),
        ([b"id,created_at"], "line 1 is neither"),
        ([_row(1), b'{"block":1}'], "line 2 looks like a block"),
        ([_row(1), b'{"block":' + b"[" * 100_000], "line 2 looks like a block"),
        ([_row(1), _block(None, [_row(1)]).line().replace(b'"signature":""', b'"signature":[]')], "line 2 looks"),
    ],
)
def test_what_is_no_export_is_said_to_be_none(bare: Command, lines: list[bytes], says: str) -> None:
    done = bare("audit", "verify", _export(bare.folder, *lines))
    assert done.returncode == 4
    assert says in done.stderr


def test_a_file_that_is_not_there_and_options_that_do_not_go_together(bare: Command) -> None:
    assert bare("audit", "verify", "nowhere.jsonl").returncode == 1
    assert bare("audit", "verify", "nowhere.jsonl", "--seal").returncode == 2
    assert bare("audit", "verify", "--hash", "0").returncode == 2

"""Verifying an export of the audit log on its own, without a server."""

import base64
import binascii
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from relman_client.audit_chain import ChainError, Checker, ExportError, check_export, signed
from relman_client.cli import exits
from relman_client.cli.failures import CommandError
from relman_client.cli.output import as_json, print_json
from relman_client.cli.text import counted, note, safe
from relman_client.v1.audit_pb2 import VerifyAuditLogsResponse

Holds = Callable[[str, str], bool]


def check(file: Path, public_keys: Sequence[Path], known_hash: str, *, as_json: bool) -> int:
    """Say what an export is worth; return the exit status.

    Args:
        file: The export, as JSON lines.
        public_keys: PEM files, of one of which the newest block must be signed.
        known_hash: Of a block that must be there; empty for none.
        as_json: Whether a program reads the answer.
    """
    checker = Checker(_holds(public_keys) if public_keys else None, awaited=known_hash)
    reason, invalid, status = "", 0, exits.SUCCEEDED
    try:
        with file.open("rb") as export:
            check_export(export, checker)
        _check_end(checker, with_keys=bool(public_keys))
    except ChainError as error:
        reason, invalid, status = f"Block {error.block} {error.reason}.", error.block, exits.TAMPERED
    except ExportError as error:
        reason, status = str(error), exits.NO_EXPORT
    if as_json:
        print_json(_facts(checker, reason, invalid))
    else:
        _say(checker, file)
    if reason:
        note(f"not verified: {safe(reason)}")
    return status


def _check_end(checker: Checker, *, with_keys: bool) -> None:
    """Raise ExportError or ChainError for what only the end of the file shows."""
    if checker.head is None:
        raise ExportError("there is no block in it: it was exported with filters, or before anything was sealed")
    if not checker.has_come:
        raise ChainError(checker.head.number, "is the last, and no block has the hash that was asked for")
    if with_keys and not checker.head_is_signed:
        raise ChainError(checker.head.number, "is the newest, and not signed with the key")


def _holds(public_keys: Sequence[Path]) -> Holds:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm  # noqa: PLC0415 - rarely wanted
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    keys = []
    for file in public_keys:
        try:
            key = load_pem_public_key(file.read_bytes())
        except (ValueError, UnsupportedAlgorithm):
            raise CommandError(f"{file} is no public key in PEM") from None
        if not isinstance(key, Ed25519PublicKey):
            raise CommandError(f"{file} is no Ed25519 key")
        keys.append(key)

    def holds(block_hash: str, signature: str) -> bool:
        for key in keys:
            try:
                key.verify(base64.b64decode(signature, validate=True), signed(block_hash))
            except (InvalidSignature, binascii.Error, ValueError):
                continue
            return True
        return False

    return holds


def _facts(checker: Checker, reason: str, invalid: int) -> dict[str, Any]:  # JSON
    """Return what the server would answer, and with which block the file begins."""
    head = checker.head
    found = VerifyAuditLogsResponse(
        valid=not reason,
        first_invalid_block=invalid,
        reason=reason,
        blocks_checked=checker.blocks,
        rows_checked=checker.rows,
        head_block=head.number if head else 0,
        head_hash=head.hash if head else "",
        unsealed_rows=checker.waiting,
        signed_blocks=checker.signed,
        pruned_blocks=checker.pruned,
    )
    return as_json(found) | {"first_block": str(checker.first)}


def _say(checker: Checker, file: Path) -> None:
    head = checker.head
    if head is None:
        return
    blocks, rows = counted(checker.blocks, "block matches", "blocks match"), counted(checker.rows, "row")
    lines = [
        f"{safe(str(file))}: {blocks}, with {rows}",
        f"the last is block {head.number}, sealed at {safe(head.sealed_at)}, with hash {head.hash}",
    ]
    if checker.first > 1:
        lines.append(f"it begins with block {checker.first}: nothing in it vouches for what was before")
    if checker.pruned:
        pruned = counted(checker.pruned, "block")
        lines.append(f"of the oldest {pruned} the rows are gone by retention; the hashes were checked")
    if checker.signed:
        lines.append(f"{counted(checker.signed, 'block is', 'blocks are')} signed with the key")
    if checker.waiting:
        unsealed = counted(checker.waiting, "row at the end is", "rows at the end are")
        lines.append(f"{unsealed} not sealed yet: nothing vouches for that")
    sys.stdout.write("\n".join(lines) + "\n")

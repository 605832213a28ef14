r"""The chain of blocks that seals the audit log: one form of it for the server that seals and for whoever checks.

A row's canonical form is its line in an export as JSON lines, without the line's end: a JSON object in UTF-8 with
exactly the keys of `row_line`, keys in the order of their code points at every level, no white space, strings that
escape only what JSON must (`"`, `\` and characters below U+0020, these as `\b \t \n \f \r` where there is such a
form, else as `\u001f`), and numbers as they were recorded.

    rows hash   SHA-256 over the SHA-256 digests (32 bytes each) of the lines of the block's rows, in their order
    hash        SHA-256 over the canonical form of {block, newest, previous, rows, rows_hash, sealed_at}
    signature   Ed25519 over `signed(hash)`, in base64

Hashes are lower-case hexadecimal digits; `previous` is the hash of the block before, and `GENESIS` in block 1.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from json.encoder import encode_basestring as _text
from typing import Any, BinaryIO

GENESIS = "0" * 64
MAX_LINE = 64 * 1024 * 1024
"""Bytes. The longest line that is read of an export; a call's message, and so what it records, is far below."""

_ROW = b'{"action":'
_BLOCK = b'{"block":'
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


class ChainError(Exception):
    """A block is not what was sealed.

    Attributes:
        block: Its number.
        reason: What is wrong with it: the end of a sentence that begins with it.
    """

    def __init__(self, block: int, reason: str) -> None:
        super().__init__(f"block {block} {reason}")
        self.block = block
        self.reason = reason


class ExportError(Exception):
    """A file is no complete export; the message says where and why."""


def canonical(value: Any) -> str:  # whatever JSON can hold
    """Return the canonical form of a value. Raises ValueError for what JSON has no number for."""
    return _encode(value)


def row_line(  # noqa: PLR0913, PLR0917 - the columns of a row, in the order of their names
    action: str,
    created_at: str,
    details: str,
    id_: str,
    ip_address: str,
    outcome: str,
    request_id: str,
    resource_id: str,
    resource_type: str,
    user_agent: str,
    user_id: str,
    username: str,
) -> bytes:
    """Return the canonical form of a row.

    Args:
        action: As the contract has it; so are the others that nothing is said of.
        created_at: RFC 3339 in UTC with six digits of a second: `2026-11-25T21:00:00.000000Z`.
        details: A JSON object, in canonical form.
        id_: UUID in its canonical form.
        ip_address: Empty when the server acted.
        outcome: SUCCESS, DENIED or FAILED.
        request_id: Of the call.
        resource_id: Of what it is about.
        resource_type: Likewise.
        user_agent: Of the client.
        user_id: UUID, or empty.
        username: At that time.
    """
    return (
        f'{{"action":{_text(action)},"created_at":"{created_at}","details":{details},"id":"{id_}"'
        f',"ip_address":{_text(ip_address)},"outcome":{_text(outcome)},"request_id":{_text(request_id)}'
        f',"resource_id":{_text(resource_id)},"resource_type":{_text(resource_type)}'
        f',"user_agent":{_text(user_agent)},"user_id":"{user_id}","username":{_text(username)}}}'
    ).encode()


@dataclass(frozen=True)
class Block:
    """Some rows, sealed.

    Attributes:
        number: From 1, without gaps.
        previous: Hash of the block before.
        rows: How many rows it seals.
        rows_hash: Digest of them.
        newest: `created_at` of the newest of them, and of the block before when there is none.
        sealed_at: When it was sealed, written as `created_at` is.
        hash: Digest of all that.
        signature: Of the hash; empty when no key was configured.
        pruned: Retention has removed its rows. Not part of what is hashed.
    """

    number: int
    previous: str
    rows: int
    rows_hash: str
    newest: str
    sealed_at: str
    hash: str = ""
    signature: str = ""
    pruned: bool = False

    def computed_hash(self) -> str:
        """Return what its hash must be."""
        return sha256(canonical(self._sealed()).encode()).hexdigest()

    def line(self) -> bytes:
        """Return its line in an export."""
        said = self._sealed() | {"hash": self.hash, "signature": self.signature}
        return canonical(said | ({"pruned": True} if self.pruned else {})).encode()

    def _sealed(self) -> dict[str, Any]:  # JSON
        return {
            "block": self.number,
            "newest": self.newest,
            "previous": self.previous,
            "rows": self.rows,
            "rows_hash": self.rows_hash,
            "sealed_at": self.sealed_at,
        }


def parse_block(line: bytes) -> Block:
    """Return the block that a line of an export is; raises ValueError for anything else."""
    try:
        said = json.loads(line)
        block = Block(
            number=said["block"],
            previous=said["previous"],
            rows=said["rows"],
            rows_hash=said["rows_hash"],
            newest=said["newest"],
            sealed_at=said["sealed_at"],
            hash=said["hash"],
            signature=said["signature"],
            pruned=said.get("pruned", False),
        )
        texts = (block.previous, block.rows_hash, block.newest, block.sealed_at, block.hash, block.signature)
        kinds = {type(number) for number in (block.number, block.rows)}, {type(text) for text in texts}
        known = block.line() == line and kinds == ({int}, {str})
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("it is no block") from error
    if not known:
        raise ValueError("it is no block")
    return block


def digest(line: bytes) -> bytes:
    """Return the digest of a row's line, of which the block's is made."""
    return sha256(line).digest()


def rows_hash(digests: Iterable[bytes]) -> str:
    """Return the hash of rows by their digests."""
    return sha256(b"".join(digests)).hexdigest()


def signed(block_hash: str) -> bytes:
    """Return what the signature of a block is of."""
    return f"relman audit block {block_hash}".encode()


class Checker:
    """Recomputes a chain, block after block, in memory for one block's digests.

    Attributes:
        first: Number of the first block; 0 before there was one. When it is not 1, nothing vouches for what its
            `previous` says.
        head: The last block, or the one before the first.
        blocks: How many blocks match.
        rows: How many rows are in them.
        signed: How many of the blocks have a signature that holds.
        has_come: Whether a block had the hash that was awaited; it does when none was.
        pruned: How many of the blocks had no rows any more, so that only their place in the chain was checked.
    """

    def __init__(
        self, holds: Callable[[str, str], bool] | None = None, after: Block | None = None, awaited: str = ""
    ) -> None:
        """Begin.

        Args:
            holds: Whether a block's hash has this signature, by the keys that are known; without any, signatures are
                not looked at.
            after: The block before the first, when that is known.
            awaited: A hash that was kept elsewhere, of a block that must come.
        """
        self._holds = holds
        self._awaited = awaited
        self.has_come = not awaited
        self._digests: list[bytes] = []
        self.first = 0
        self.head = after
        self.head_is_signed = False
        self.blocks = self.rows = self.signed = self.pruned = 0

    @property
    def waiting(self) -> int:
        """How many rows came that no block has sealed yet."""
        return len(self._digests)

    def row(self, line: bytes) -> None:
        """Take the next row."""
        self._digests.append(digest(line))

    def block(self, block: Block) -> None:
        """Check the next block, of the rows that came; raises ChainError when it does not match."""
        self._check_place(block)
        if block.pruned:
            self.pruned += 1
        else:
            self._check_rows(block)
            self.rows += block.rows
        if block.hash != block.computed_hash():
            raise ChainError(block.number, "does not have the hash of what it says")
        self.head_is_signed = bool(self._holds and block.signature and self._holds(block.hash, block.signature))
        self.signed += self.head_is_signed
        self.has_come = self.has_come or block.hash == self._awaited
        self.first = self.first or block.number
        self.head = block
        self.blocks += 1

    def _check_place(self, block: Block) -> None:
        before = self.head
        if before is not None and block.number != before.number + 1:
            raise ChainError(before.number + 1, f"is missing: block {block.number} follows block {before.number}")
        previous = before.hash if before else GENESIS if block.number == 1 else block.previous
        if block.previous != previous:
            raise ChainError(block.number, "does not follow the block before it")

    def _check_rows(self, block: Block) -> None:
        if not 0 <= block.rows <= len(self._digests):
            raise ChainError(block.number, f"sealed {block.rows} rows, of which {len(self._digests)} are there")
        found, self._digests = self._digests[: block.rows], self._digests[block.rows :]
        if rows_hash(found) != block.rows_hash:
            raise ChainError(block.number, "has rows that are not those that were sealed")


def check_export(file: BinaryIO, checker: Checker) -> None:
    """Check an export as JSON lines, however large, in constant memory.

    Raises:
        ChainError: A block does not match.
        ExportError: It is no export, or not a whole one.
    """
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        if not line.endswith(b"\n"):
            raise ExportError(f"line {number} is not complete: the export was cut off")
        line = line[:-1]
        if line.startswith(_ROW):
            checker.row(line)
        elif line.startswith(_BLOCK):
            _check_block(line, number, checker)
        else:
            raise ExportError(f"line {number} is neither a row of the audit log nor a block: this is no export of it")


def _check_block(line: bytes, number: int, checker: Checker) -> None:
    try:
        block = parse_block(line)
    except ValueError as error:
        raise ExportError(f"line {number} looks like a block, but {error}") from error
    if block.pruned and (checker.rows or checker.waiting):
        raise ChainError(block.number, "has no rows, though blocks before it have: retention begins with the oldest")
    checker.block(block)

"""A lease as people and scripts pass it on: `ID:TOKEN`, its id and its fencing token."""

import re
from typing import Annotated
from uuid import UUID

import typer

from relman_client.v1.lease_pb2 import Lease

MAX_TOKEN = 2**63 - 1

LeaseOption = Annotated[
    str | None,
    typer.Option(
        "--lease", metavar="ID:TOKEN", envvar="RELMAN_LEASE", help="The lease to work under, as the start gave it."
    ),
]


def lease_text(lease: Lease) -> str:
    """A lease in one word."""
    return f"{lease.id}:{lease.fencing_token}"


def lease_of(text: str | None) -> Lease | None:
    """The lease that such a word names; none when there is no word."""
    if not text:
        return None
    name, _, token = text.strip().partition(":")
    try:
        identity = UUID(name)
    except ValueError:
        identity = None
    if identity is None or not re.fullmatch("[0-9]{1,19}", token) or not 0 < int(token) <= MAX_TOKEN:
        raise typer.BadParameter(
            f"{text!r} is no lease; `relman deployment start --lease SPAN` prints one as ID:TOKEN",
            param_hint="--lease",
        )
    return Lease(id=str(identity), fencing_token=int(token))

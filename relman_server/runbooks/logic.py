"""Rules of runbooks: who may change one, and what becomes of the version before."""

import hashlib
from typing import Any

from relman_server.catalog import logic as catalog
from relman_server.environments import store as environments
from relman_server.kernel.db.transaction import Record, Transaction
from relman_server.kernel.identity import require_admin
from relman_server.runbooks import search_store, store
from relman_server.runbooks.inputs import NewRunbook, RunbookChange
from relman_server.runbooks.model import Runbook


def create_runbook(tx: Transaction, new: NewRunbook) -> Record:
    """Write a runbook.

    Raises NotFound for an unknown service or environment, and PermissionDenied for who does not work on the service;
    what is about all services only an admin may write.
    """
    runbook = Runbook(
        title=new.title,
        content=new.content,
        tags=new.tags,
        is_active=new.is_active,
        version=1,
        created_by=tx.caller.user_id,
        updated_by=tx.caller.user_id,
        **_about(tx, {"service": new.service, "environment": new.environment}),
    )
    tx.add(runbook)
    store.set_tags(tx, runbook, new.tags)
    search_store.put(tx, runbook)
    tx.audit("runbook.create", runbook, content_sha256=[None, _digest(new.content)])
    return store.get_runbook_by_id(tx, runbook.id)


def update_runbook(tx: Transaction, change: RunbookChange) -> Record:
    """Make a new version of a runbook.

    Raises NotFound for an unknown runbook, service or environment, PermissionDenied for who does not work on the
    service it is about, or will be, and Aborted for a stale etag.
    """
    found, runbook = _lock(tx, change.runbook, change.etag)
    before = _digest(runbook.content)
    wanted = change.wanted()
    columns = _about(tx, {name: wanted.pop(name) for name in ("service", "environment") if name in wanted})
    store.keep_version(tx, found)
    for name, value in (wanted | columns).items():
        setattr(runbook, name, value)
    runbook.version += 1
    runbook.updated_by = tx.caller.user_id
    tx.flush()
    store.set_tags(tx, runbook, runbook.tags)
    search_store.put(tx, runbook)
    after = _digest(runbook.content)
    tx.audit("runbook.update", runbook, content_sha256=[before, after] if before != after else None)
    return store.get_runbook_by_id(tx, runbook.id)


def delete_runbook(tx: Transaction, reference: str, etag: str) -> None:
    """Delete a runbook with all its versions.

    Raises NotFound, PermissionDenied for who does not work on the service it is about, and Aborted for a stale etag.
    """
    _, runbook = _lock(tx, reference, etag)
    search_store.remove(tx, runbook.id)
    tx.delete(runbook)
    tx.audit("runbook.delete", runbook, content_sha256=[_digest(runbook.content), None])


def _lock(tx: Transaction, reference: str, etag: str) -> tuple[Record, Runbook]:
    found = store.lock_runbook(tx, reference)
    runbook: Runbook = found.Runbook
    if runbook.service_id is None:
        require_admin(tx.caller, "change a runbook that is about all services")
    else:
        catalog.require_team(tx.caller, found)
    tx.match_etag(runbook, etag)
    return found, runbook


def _about(tx: Transaction, named: dict[str, str | None]) -> dict[str, Any]:  # columns and their values
    """Return the ids of what a runbook shall be about, as far as it is said."""
    columns: dict[str, Any] = {}  # as above
    if "service" in named:
        columns["service_id"] = _service_id(tx, named["service"])
    if "environment" in named:
        there = named["environment"]
        columns["environment_id"] = environments.environment_id(tx, there) if there else None
    return columns


def _service_id(tx: Transaction, reference: str | None) -> Any:  # an id, or None
    if not reference:
        require_admin(tx.caller, "write a runbook that is about all services")
        return None
    service = catalog.require_service(tx, reference)
    catalog.require_team(tx.caller, service)
    return service.id


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()

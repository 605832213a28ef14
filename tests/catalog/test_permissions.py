from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import UUID

import pytest

from relman_server.catalog.logic import require_maintainer, require_team
from relman_server.kernel.errors import PermissionDenied
from relman_server.kernel.identity import Identity

ANN, BOB = UUID(int=1), UUID(int=2)


def _identity(*, is_admin: bool = False) -> Identity:
    return Identity(ANN, "ann", 1, datetime(2030, 1, 1, tzinfo=UTC), is_admin=is_admin)


def _allowed(check: Callable[[Identity, object], None], *, owner: UUID, role: str | None, is_admin: bool) -> bool:
    try:
        check(_identity(is_admin=is_admin), SimpleNamespace(owner_id=owner, caller_role=role, name="checkout"))
    except PermissionDenied:
        return False
    return True


@pytest.mark.parametrize(
    ("owner", "role", "is_admin", "works_on_it", "keeps_it"),
    [
        (BOB, None, False, False, False),
        (BOB, "MEMBER", False, True, False),
        (BOB, "MAINTAINER", False, True, True),
        (ANN, None, False, True, True),
        (ANN, "MEMBER", False, True, True),
        (BOB, None, True, True, True),
    ],
)
def test_who_works_on_a_service_and_who_keeps_it(
    owner: UUID, role: str | None, is_admin: bool, works_on_it: bool, keeps_it: bool
) -> None:
    assert _allowed(require_team, owner=owner, role=role, is_admin=is_admin) == works_on_it
    assert _allowed(require_maintainer, owner=owner, role=role, is_admin=is_admin) == keeps_it


def test_the_refusal_names_the_service_of_a_row_of_another_resource() -> None:
    row = SimpleNamespace(owner_id=BOB, caller_role=None, name="production", service_name="checkout")
    with pytest.raises(PermissionDenied, match="checkout"):
        require_team(_identity(), row)

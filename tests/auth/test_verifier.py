"""What the server knows of tokens without asking the database."""

from uuid import UUID

import pytest

from relman_server.auth.verifier import TokenVerifier
from relman_server.kernel.db.transaction import Reading
from relman_server.kernel.errors import Unauthenticated
from relman_server.users import store
from tests.factories import RunningServer


async def test_a_token_that_ends_while_versions_are_read_stays_ended(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when what was read replaces what is known: for two seconds the token would be good again."""
    app, token = server.app, server.admin.token
    verifier, read = TokenVerifier(app.signer, app.clock), store.token_versions
    user_id = verifier.verify(token).user_id

    def overtaken(tx: Reading) -> dict[UUID, int | None]:
        versions = read(tx)
        verifier.ended(user_id, 2)
        return versions

    monkeypatch.setattr(store, "token_versions", overtaken)
    await verifier.load(app.db)
    with pytest.raises(Unauthenticated):
        verifier.verify(token)

"""Requests that name themselves: the same request_id has one effect, and the first answer is given again."""

import hmac
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Index, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, mapped_column

from relman_server.kernel.db.model import UNAUDITED, Base
from relman_server.kernel.db.transaction import Reading, Transaction
from relman_server.kernel.errors import InvalidInput, Violation

REMEMBERED = timedelta(hours=24)
NOBODY = UUID(int=0)


class Answer(Base):
    """The answer to a request that was carried out."""

    __tablename__ = "request_answer"
    __table_args__ = (Index(None, "created_at"), {"info": UNAUDITED})

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    request_id: Mapped[UUID] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes]
    answer: Mapped[bytes | None]  # the serialized response; None while the transaction runs
    created_at: Mapped[datetime]


def recall(tx: Transaction) -> bytes | None:
    """Return the answer to the call's request if it was carried out before; else claim its request_id.

    Of concurrent repetitions one claims it; the others wait here for its commit and then find the answer.

    Raises InvalidInput REQUEST_ID_REUSED when the id came with another request.
    """
    repeat = tx.call.repeat
    if repeat is None:
        return None
    user_id = tx.call.identity.user_id if tx.call.identity else NOBODY
    insert = sqlite.insert if tx.engine == "sqlite" else postgresql.insert
    values = {
        "user_id": user_id,
        "request_id": repeat.request_id,
        "fingerprint": repeat.fingerprint,
        "answer": None,
        "created_at": tx.now,
    }
    claim = insert(Answer).values(values)
    claimed = tx.scalar(
        claim.on_conflict_do_update(
            index_elements=[Answer.user_id, Answer.request_id],
            set_={"fingerprint": repeat.fingerprint, "answer": None, "created_at": tx.now},
            where=Answer.created_at < tx.now - REMEMBERED,
        ).returning(Answer.request_id)  # of an INSERT, SQLAlchemy does not keep the row count on PostgreSQL
    )
    if claimed is not None:
        return None
    found = tx.row(
        select(Answer.fingerprint, Answer.answer).where(
            Answer.user_id == user_id, Answer.request_id == repeat.request_id
        )
    )
    assert found is not None
    if not hmac.compare_digest(found.fingerprint, repeat.fingerprint):
        raise InvalidInput(
            Violation("request_id", "was used for another request within the last 24 hours; choose a new UUID"),
            reason="REQUEST_ID_REUSED",
        )
    assert found.answer is not None
    answer: bytes = found.answer
    return answer


def is_answered(tx: Reading) -> bool:
    """Whether the call's request was carried out before: what comes before its transaction need not be done again."""
    repeat = tx.call.repeat
    if repeat is None:
        return False
    user_id = tx.call.identity.user_id if tx.call.identity else NOBODY
    known = select(Answer.request_id).where(
        Answer.user_id == user_id,
        Answer.request_id == repeat.request_id,
        Answer.answer.is_not(None),
        Answer.created_at >= tx.now - REMEMBERED,
    )
    return tx.scalar(known) is not None


def remember(tx: Transaction, answer: bytes) -> None:
    """Keep the answer beside its effect."""
    repeat = tx.call.repeat
    assert repeat is not None
    user_id = tx.call.identity.user_id if tx.call.identity else NOBODY
    tx.execute(
        update(Answer).where(Answer.user_id == user_id, Answer.request_id == repeat.request_id).values(answer=answer)
    )


def forget(tx: Transaction) -> None:
    """Remove answers that are no longer promised."""
    tx.execute(delete(Answer).where(Answer.created_at < tx.now - REMEMBERED))

"""Lists: one page of many rows, at the same cost wherever the page is.

A page token holds the place of the last row (its order key and id), so the next page is found by index, not by
counting. It is bound to the filters and the order by a fingerprint.
"""

import base64
import binascii
import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, Integer, Select, bindparam, func, literal, select, tuple_
from sqlalchemy.sql.elements import KeyedColumnElement

from relman_server.kernel.db.prepared import Prepared
from relman_server.kernel.db.transaction import Reading, Record
from relman_server.kernel.errors import InvalidInput, Violation
from relman_server.kernel.inputs import Continued, Input, Page, Paged, parse_order

DEFAULT_SIZE = 50
MAX_SIZE = 500
COUNTED = 10_000
SHAPES = 64
"""Statements that a list keeps; of the many that are possible a day's work has a few."""
MAX_NUMBER = 2**30
"""Of the numbers in a token: far above any there are, and what is made of them fits into the contract's fields."""

Column = KeyedColumnElement[Any] | ColumnElement[Any]


@dataclass(frozen=True)
class Listed:
    """One page.

    Attributes:
        rows: The rows.
        next_page_token: Token of the next page; empty on the last.
        total_size: Matches in all, or a lower bound.
        total_is_exact: Which of the two.
        page: Number of this page, from 1.
        page_size: Size in force.
        token_after: Returns the token of a page that would begin after a row, for an answer that grew too large.
    """

    rows: Sequence[Any]
    next_page_token: str
    total_size: int
    total_is_exact: bool
    page: int
    page_size: int
    token_after: Callable[[Any], str]

    @property
    def total_pages(self) -> int:
        """Pages in all, from total_size."""
        return -(-self.total_size // self.page_size)


@dataclass(frozen=True)
class Rest:
    """What callers expect in one answer, from where a token says to the end.

    Attributes:
        rows: The rows.
        token_after: Returns the token of what comes after a row, for an answer that grew too large.
        next_page_token: Empty: nothing comes after the rows.
    """

    rows: Sequence[Any]
    token_after: Callable[[Any], str]
    next_page_token: str = ""


@dataclass(frozen=True)
class Ordering:
    """What a list can be ordered by.

    Attributes:
        columns: Fields of the contract, and the column of each; never NULL.
        default: Order when the caller does not say.
        tie: Column that makes the order total; unique.
    """

    columns: dict[str, Any]
    default: str
    tie: Any

    def parse(self, text: str) -> tuple[str, bool]:
        """Return the field and whether it descends; raise InvalidInput for anything else."""
        try:
            return parse_order(text.strip() or self.default, self.columns)
        except ValueError as error:
            raise InvalidInput(Violation("order_by", str(error))) from error


class Listing:
    """A list that is asked for all the time: each set of filters in each order is built and compiled once.

    Args:
        build: Makes the select of all rows. Its bind parameters, if it has any, get their values with the filters'.
        ordering: What it can be ordered by.
        filters: Conditions by name, each with the bind parameter of that name.
    """

    def __init__(
        self,
        build: Callable[[], Select[Any]],
        ordering: Ordering,
        filters: Mapping[str, Callable[[BindParameter[Any]], ColumnElement[bool]]],
    ) -> None:
        self._build = build
        self._ordering = ordering
        self._filters = filters
        self._prepared = lru_cache(SHAPES)(self._prepare)

    def page(self, tx: Reading, page: Page, values: Mapping[str, Any], *others: ColumnElement[bool]) -> Listed:
        """Return one page, in at most two statements.

        Args:
            tx: Where to read.
            page: Which page; tokens are bound to everything else in it.
            values: Of the filters, None for those that do not apply, and of the select's own parameters.
            others: Conditions that are not worth preparing.
        """
        given = {name: value for name, value in values.items() if value is not None}
        names = frozenset(self._filters.keys() & given.keys())

        def read(shape: "_Shape", parameters: dict[str, Any]) -> Sequence[Record]:
            statement: Prepared | Select[Any] = self._prepared(names, shape)
            if others:
                statement = shape.select(self._filtered(names).where(*others), self._ordering)
            return tx.rows(statement, given | parameters)

        return _paginate(read, self._ordering, page, page)

    def _prepare(self, names: frozenset[str], shape: "_Shape") -> Prepared:
        return Prepared(lambda: shape.select(self._filtered(names), self._ordering))

    def _filtered(self, names: frozenset[str]) -> Select[Any]:
        return self._build().where(*(self._filters[name](bindparam(name)) for name in sorted(names)))


def paginate(
    tx: Reading, statement: Select[Any], ordering: Ordering, page: Page, filters: Input | None = None
) -> Listed:
    """Return one page of a select, in at most two statements.

    Args:
        tx: Where to read.
        statement: The rows, filtered, neither ordered nor limited.
        ordering: What it can be ordered by.
        page: Which page.
        filters: The whole input; tokens are bound to everything in it but the page itself. By default `page`.
    """

    def read(shape: "_Shape", parameters: dict[str, Any]) -> Sequence[Record]:
        return tx.rows(shape.select(statement, ordering), parameters)

    return _paginate(read, ordering, page, filters or page)


@dataclass(frozen=True)
class _Rows:
    """The rows of a page: `page_limit` of them, after the first `page_skip`.

    Attributes:
        field: What they are ordered by.
        descending: In which direction.
        goes_on: Whether they begin after the row that is at `page_key` and `page_tie`.
    """

    field: str
    descending: bool
    goes_on: bool

    def select(self, statement: Select[Any], ordering: Ordering) -> Select[Any]:
        key, tie = ordering.columns[self.field], ordering.tie
        if self.goes_on:
            place = tuple_(key, tie)
            at = tuple_(bindparam("page_key", type_=key.type), bindparam("page_tie", type_=tie.type))
            statement = statement.where(place < at if self.descending else place > at)
        return (
            statement.add_columns(key.label("page_key"), tie.label("page_tie"))
            .order_by(*((column.desc() if self.descending else column.asc()) for column in (key, tie)))
            .limit(bindparam("page_limit", type_=Integer))
            .offset(bindparam("page_skip", type_=Integer))
        )


@dataclass(frozen=True)
class _Total:
    """How many rows there are: `page_total`.

    Attributes:
        most: Where counting ends; None: nowhere.
    """

    most: int | None

    def select(self, statement: Select[Any], ordering: Ordering) -> Select[Any]:  # noqa: ARG002 - of the protocol
        matches = statement.with_only_columns(literal(1), maintain_column_froms=True).order_by(None)
        if self.most is not None:
            matches = matches.limit(self.most)
        return select(func.count().label("page_total")).select_from(matches.subquery())


_Shape = _Rows | _Total
"""What makes one statement of a list differ from another, besides the values of its parameters."""
Read = Callable[[_Shape, dict[str, Any]], Sequence[Record]]  # a statement of a list, its parameters, its rows


def _paginate(read: Read, ordering: Ordering, page: Page, filters: Input) -> Listed:
    assert page.ordered_by == tuple(ordering.columns), f"{type(page).__name__} and its list differ in their orders"
    name, descending = ordering.parse(page.order_by)
    size = min(page.page_size or DEFAULT_SIZE, MAX_SIZE)
    fingerprint = _fingerprint(filters, name, descending=descending)
    token = _decode(page.page_token, fingerprint) if page.page_token else None
    parameters: dict[str, Any] = {"page_limit": size + 1, "page_skip": page.skip}
    if token is not None:
        for value, column in zip(token.key, (ordering.columns[name], ordering.tie), strict=True):
            if not isinstance(value, column.type.python_type):
                raise _bad_token("is damaged: pass on the next_page_token as it came")
        parameters |= {"page_key": token.key[0], "page_tie": token.key[1]}
    found = read(_Rows(name, descending, goes_on=token is not None), parameters)
    rows = found[:size]

    if token is not None:
        total, exact, number = token.total, token.exact, token.page + 1 + page.skip // size
    else:
        number = page.skip // size + 1
        if len(found) <= size and (found or not page.skip):
            total, exact = page.skip + len(found), True
        else:
            total, exact = _count(read, everything=page.exact_total)

    def token_after(row: Record) -> str:
        return _encode(_Token(fingerprint, [row.page_key, row.page_tie], total, exact, number))

    following = token_after(rows[-1]) if len(found) > size else ""
    return Listed(rows, following, total, exact, number, size, token_after)


def _count(read: Read, *, everything: bool) -> tuple[int, bool]:
    (counted,) = read(_Total(None if everything else COUNTED + 1), {})
    total: int = counted.page_total
    return (total, True) if everything or total <= COUNTED else (COUNTED, False)


def rest(rows: Iterable[Any], name: str, asked: Continued) -> Rest:
    """Return rows by a unique text of theirs, without those that answers before have had.

    Args:
        rows: All of them, in any order.
        name: Which of their attributes it is.
        asked: The whole input; tokens are bound to everything in it but the token.
    """
    fingerprint = _fingerprint(asked, name, descending=False)
    key = attrgetter(name)
    ordered = sorted(rows, key=key)
    if asked.page_token:
        (place,) = _decode(asked.page_token, fingerprint, parts=1).key
        if not isinstance(place, str):
            raise _bad_token("is damaged: pass on the next_page_token as it came")
        ordered = ordered[bisect_right(ordered, place, key=key) :]
    return Rest(ordered, lambda row: _encode(_Token(fingerprint, [key(row)], total=0, exact=False, page=0)))


def cut_page(found: Sequence[Any], page: Paged, total: int, *, exact: bool) -> Listed:
    """Return one page of what was found, all of it in order, anew for each page.

    Args:
        found: All that can be paged through.
        page: Which page; tokens are bound to everything else in it. They say a place in the order, so what changes it
            between two pages may be on both, or on none.
        total: Matches in all, or at least; may be more than can be paged through.
        exact: Which of the two.

    Rows that take the place of these, for `token_after`, have a `number`: their place among all found, from 1.
    """
    size = min(page.page_size or DEFAULT_SIZE, MAX_SIZE)
    fingerprint = _fingerprint(page, "", descending=False)
    before, number = 0, page.skip // size + 1
    if page.page_token:
        token = _decode(page.page_token, fingerprint, parts=1)
        (before,) = token.key
        if not isinstance(before, int) or before < 0:
            raise _bad_token("is damaged: pass on the next_page_token as it came")
        number += token.page
    start = before + page.skip

    def token_at(place: int) -> str:
        return _encode(_Token(fingerprint, [place], total, exact, number))

    end = start + size
    following = token_at(end) if end < len(found) else ""
    return Listed(found[start:end], following, total, exact, number, size, lambda row: token_at(row.number))


def _fingerprint(filters: Input, name: str, *, descending: bool) -> str:
    said = filters.model_dump(mode="json", exclude={"page_size", "page_token", "skip", "order_by", "exact_total"})
    text = json.dumps([type(filters).__name__, said, name, descending], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Token:
    fingerprint: str
    key: list[Any]  # the order key and the id of a list, of whatever type the columns are
    total: int
    exact: bool
    page: int


def _encode(token: _Token) -> str:
    fields = [token.fingerprint, [_plain(value) for value in token.key], token.total, int(token.exact), token.page]
    return base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode().rstrip("=")


def _decode(text: str, fingerprint: str, parts: int = 2) -> _Token:
    try:
        fields = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        found, key, total, exact, page = fields
        if not all(isinstance(number, int) and 0 <= number < MAX_NUMBER for number in (total, exact, page)):
            raise ValueError
        token = _Token(found, [_rich(value) for value in key], total, bool(exact), page)
        if len(token.key) != parts:
            raise ValueError
    except (ValueError, TypeError, OverflowError, binascii.Error, RecursionError) as error:
        raise _bad_token("is damaged: pass on the next_page_token as it came") from error
    if token.fingerprint != fingerprint:
        raise _bad_token("belongs to other filters or another order: keep them the same from page to page")
    return token


def _bad_token(description: str) -> InvalidInput:
    return InvalidInput(Violation("page_token", description), reason="INVALID_PAGE_TOKEN")


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return {"t": value.astimezone(UTC).isoformat()}
    return {"u": value.hex} if isinstance(value, UUID) else value


def _rich(value: object) -> object:
    if isinstance(value, dict):
        if set(value) == {"t"}:
            moment = datetime.fromisoformat(value["t"])
            if moment.tzinfo is None:
                raise ValueError
            return moment.astimezone(UTC)
        if set(value) == {"u"}:
            return UUID(hex=value["u"])
        raise ValueError
    if isinstance(value, str):
        value.encode()  # JSON can say what UTF-8 cannot
        if "\0" not in value:
            return value
    elif isinstance(value, int) and abs(value) < MAX_NUMBER:
        return value
    raise ValueError

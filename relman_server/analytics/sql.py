"""Pieces of SQL that PostgreSQL and SQLite write in different ways, and answer alike.

Times are in microseconds on both, so spans are whole numbers and nothing of them is lost on the way.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    Double,
    Integer,
    Select,
    Subquery,
    TableValuedAlias,
    Text,
    bindparam,
    case,
    cast,
    column,
    func,
    literal,
    select,
    true,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from relman_server.analytics.calendar import Range
from relman_server.kernel.db.model import UtcDateTime

Expression = Any  # a column, a mapped attribute or a function of them: they have no type in common

More = Callable[[Any], Mapping[str, Any]]
"""From the columns of a subquery to aggregates over them, by name."""

_FIRST = 1000

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


class microseconds_between(FunctionElement[int]):  # noqa: N801 - named as functions of SQL are
    """The span from a first time to a second."""

    type = BigInteger()
    inherit_cache = True


@compiles(microseconds_between, "postgresql")
def _span_on_postgresql(element: microseconds_between, compiler: SQLCompiler, **more: Any) -> str:
    start, end = (compiler.process(each, **more) for each in element.clauses)
    # extract() would make numbers of any size, which take most of the time; these are exact up to 70 years.
    return f"CAST(date_part('epoch', {end} - {start}) * 1000000 AS bigint)"


@compiles(microseconds_between, "sqlite")
def _span_on_sqlite(element: microseconds_between, compiler: SQLCompiler, **more: Any) -> str:
    start, end = (_microseconds_on_sqlite(compiler.process(each, **more)) for each in element.clauses)
    return f"({end} - {start})"


def _microseconds_on_sqlite(moment: str) -> str:
    """SQLite's own functions know milliseconds at best; the text that is stored has all six digits."""
    seconds = f"CAST(strftime('%s', substr({moment}, 1, 19)) AS INTEGER)"
    return f"({seconds} * 1000000 + CAST(substr({moment}, 21, 6) AS INTEGER))"


class local_day(FunctionElement[int]):  # noqa: N801 - as above
    """The number of a time's day, counted from another day: of (time, seconds from UTC, that day as ISO text)."""

    type = Integer()
    inherit_cache = True


class day_among(FunctionElement[int]):  # noqa: N801 - as above
    """The number of a time's day: of (time, beginnings of days in order, their numbers).

    To look it up takes PostgreSQL a tenth of the time that it takes to compute it.
    """

    type = Integer()
    inherit_cache = True


@compiles(day_among, "postgresql")
def _day_on_postgresql(element: day_among, compiler: SQLCompiler, **more: Any) -> str:
    moment, beginnings, numbers = (compiler.process(each, **more) for each in element.clauses)
    return f"({numbers})[width_bucket({moment}, {beginnings})]"


@compiles(local_day, "sqlite")
def _day_on_sqlite(element: local_day, compiler: SQLCompiler, **more: Any) -> str:
    moment, offset, first = (compiler.process(each, **more) for each in element.clauses)
    # To the second first, since SQLite rounds what is less up to the next one, which may be of the next day.
    local = f"date(substr({moment}, 1, 19), ({offset}) || ' seconds')"
    return f"CAST(julianday({local}) - julianday({first}) AS INTEGER)"


def day_of(moment: Expression, engine: str, changes: int) -> FunctionElement[int]:
    """Return the number of a time's day, from 0, the first of the range; also where the clocks change.

    Args:
        moment: The time.
        engine: "sqlite" or "postgresql".
        changes: How often the clocks change within the range; `day_parameters` says when.
    """
    if engine == "postgresql":
        beginnings = bindparam("day_beginnings", type_=ARRAY(UtcDateTime()))
        return day_among(moment, beginnings, bindparam("day_numbers", type_=ARRAY(Integer())))
    offset: Any = bindparam("offset_0", type_=Integer())
    if changes:
        # The last change first: the first condition that holds decides.
        since = [
            (
                moment >= bindparam(f"change_{number}", type_=UtcDateTime()),
                bindparam(f"offset_{number}", type_=Integer()),
            )
            for number in range(changes, 0, -1)
        ]
        offset = case(*since, else_=offset)
    return local_day(moment, offset, bindparam("first_day", type_=Text()))


def days() -> TableValuedAlias:
    """Return the days of the range as a table: `beginning`, `until` and `number`; on PostgreSQL.

    A day comes more than once when the clocks change within it.
    """
    columns = (
        column("beginning", UtcDateTime()),
        column("until", UtcDateTime()),
        column("number", Integer()),
    )
    arrays = (
        bindparam("day_beginnings", type_=ARRAY(UtcDateTime())),
        bindparam("day_ends", type_=ARRAY(UtcDateTime())),
        bindparam("day_numbers", type_=ARRAY(Integer())),
    )
    return func.unnest(*arrays).table_valued(*columns, name="days").render_derived()


def days_in_parts() -> tuple[Subquery, TableValuedAlias]:
    """Return the days of the range, each once as `day`, and of each the parts: `beginning` and `until`.

    The parts are of the day that stands beside them.
    """
    part = days()
    parts = (func.array_agg(part.c[name]).label(name) for name in ("beginning", "until"))
    day = select(part.c.number.label("day"), *parts).group_by(part.c.number).subquery("day")
    columns = (column("beginning", UtcDateTime()), column("until", UtcDateTime()))
    return day, func.unnest(day.c.beginning, day.c.until).table_valued(*columns, name="part").render_derived()


def day_parameters(within: Range, engine: str) -> dict[str, Any]:  # values of parameters
    """Return the values of the parameters of `day_of` and `days`, and the number of the `last_day`."""
    values: dict[str, Any] = {"last_day": within.days - 1}
    if engine == "postgresql":
        beginnings, numbers = zip(*within.beginnings(), strict=True)
        ends = [*beginnings[1:], within.end]
        return values | {"day_beginnings": list(beginnings), "day_ends": ends, "day_numbers": list(numbers)}
    values["first_day"] = within.first_day.isoformat()
    for number, (change, offset) in enumerate(within.offsets):
        values[f"change_{number}"], values[f"offset_{number}"] = change, int(offset.total_seconds())
    return values


def distribution(
    values: Subquery | CTE, engine: str, by: Sequence[str], quantiles: Sequence[str], more: More = lambda _: {}
) -> Select[Any]:
    """Select how `value` is distributed: by group `size`, and exact quantiles.

    A quantile that falls between two values is between them in proportion, as PostgreSQL's percentile_cont has it.
    Values that are NULL are `excluded`, and counted as such.

    Args:
        values: Has the columns `value` and those of `by`.
        engine: "postgresql" or "sqlite", which has no quantiles.
        by: Columns of the groups.
        quantiles: Which ones, of QUANTILES.
        more: Returns other aggregates over the columns of `values`, by name.
    """
    if engine == "postgresql":
        value: Any = cast(values.c.value, Double())
        found = {name: func.percentile_cont(QUANTILES[name]).within_group(value) for name in quantiles}
    else:
        values = _ranked(values, by)
        found = {name: _between(values, QUANTILES[name]) for name in quantiles}
    groups = [values.c[name] for name in by]
    columns = {
        "size": func.count(values.c.value),
        "excluded": func.count() - func.count(values.c.value),
        **found,
        **more(values.c),
    }
    return select(*groups, *(column.label(name) for name, column in columns.items())).group_by(*groups)


def for_each(groups: Subquery, of_group: Select[Any]) -> Select[Any]:
    """Select the columns of each group with what is selected about it, which refers to them; on PostgreSQL.

    Other than GROUP BY that needs no sort by group, where an index leads to each.
    """
    found = of_group.lateral("of_group")
    return select(*groups.c, *found.c).join(found, true())


def which(engine: str, *conditions: Any) -> Any:  # an aggregate
    """Return which of some conditions hold for any row, as a sum: 1 for the first, 2 for the second, 4 for the third.

    Of each row the first that holds counts.
    """
    powers = [2**number for number in range(len(conditions))]
    if engine == "postgresql":
        return func.coalesce(func.bit_or(case(*zip(conditions, powers, strict=True), else_=0)), 0)
    held = (func.coalesce(func.max(case((each, power))), 0) for each, power in zip(conditions, powers, strict=True))
    return sum(held, start=literal(0))


def _ranked(values: Subquery | CTE, by: Sequence[str]) -> Subquery:
    """Number the values of each group from 0, and say the `last` number; NULL comes after it."""
    groups = [values.c[name] for name in by]
    order = (values.c.value.is_(None), values.c.value)
    number = func.row_number().over(partition_by=groups, order_by=order) - 1
    last = func.count(values.c.value).over(partition_by=groups) - 1
    return select(values, number.label("number"), last.label("last")).subquery()


def _between(ranked: Subquery, quantile: float) -> Any:  # an aggregate
    place: Any = literal(quantile, Double()) * ranked.c.last
    below = cast(place, Integer)  # towards zero, which is down: no place is below it
    low = func.max(case((ranked.c.number == below, ranked.c.value)))
    high = func.max(case((ranked.c.number == below + 1, ranked.c.value)))
    fraction = func.max(place - below)
    return low + func.coalesce((high - low) * fraction, 0.0)


def once(rows: Select[Any], name: str) -> Subquery:
    """Return a subquery whose columns are computed once for each row, however often they are referred to.

    PostgreSQL otherwise puts an expression in the place of every reference to it; OFFSET keeps it from that.
    """
    return rows.offset(0).subquery(name)


def newest(rows: Select[Any], limit: int, *, of_each: bool) -> Subquery:
    """Select `grouped` and the `ids` of the newest rows, the first `limit` by `at`, in one text: see `ids_in_order`.

    Args:
        rows: Has the columns `grouped`, `id` and `at`.
        limit: How many.
        of_each: So many of each group, and not of all together: then all are sorted.
    """
    found = rows.subquery()
    order = (found.c.at.desc(), found.c.id.desc())
    if not of_each:
        found = select(found).order_by(*order).limit(limit).subquery()
        order = (found.c.at.desc(), found.c.id.desc())
    number = func.row_number().over(partition_by=[found.c.grouped] if of_each else [], order_by=order)
    ranked = select(found.c.grouped, found.c.id, number.label("number")).subquery()
    # All numbers have four digits, so they are in order as text.
    texts = cast(ranked.c.number + _FIRST, Text) + cast(ranked.c.id, Text)
    ids = func.aggregate_strings(texts, ",").label("ids")
    return select(ranked.c.grouped, ids).where(ranked.c.number <= limit).group_by(ranked.c.grouped).subquery()


def ids_in_order(text: str) -> list[str]:
    """Return the ids that `newest` found, the newest first.

    As rows, and as UUIDs, those of a hundred services took longer to read than to find.
    """
    ids = [each[4:] for each in sorted(text.split(","))]
    return ids if "-" in text else [str(UUID(each)) for each in ids]  # SQLite has them without

"""Selects that run at every turn: built once, compiled once, and run on the driver's own cursor.

Of the time that SQLAlchemy takes for a row by its key, three quarters go into building the statement, finding it among
the compiled ones, and describing its columns anew (docs/performance.md). What it knows of types is used here, too.
"""

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Dialect, Select, bindparam
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

from relman_server.kernel.ids import parse_id

K = TypeVar("K")
Process = Callable[[Any], Any]  # between Python's types and the driver's


class Prepared:
    """A select whose values are bind parameters.

    Args:
        build: Makes the select, at its first use. Its columns have names of their own that do not begin with `_`.
    """

    def __init__(self, build: Callable[[], Select[Any]]) -> None:
        self._build = build
        self._compiled: dict[str, _Compiled] = {}

    @cached_property
    def statement(self) -> Select[Any]:
        """The select itself, for where it runs as others do."""
        return self._build()

    def rows(self, connection: Connection, parameters: Mapping[str, Any]) -> list[Any]:
        """Run it and return its rows: columns are attributes. Raises DBAPIError."""
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _Compiled(self.statement, dialect)
        values = compiled.values(parameters)
        cursor = None
        try:
            cursor = connection.connection.cursor()
            for listener in connection.dispatch.before_cursor_execute:
                listener(connection, cursor, compiled.text, values, None, False)  # noqa: FBT003 - SQLAlchemy's signature
            cursor.execute(compiled.text, values)
            return compiled.records(cursor.fetchall())
        except dialect.loaded_dbapi.Error as error:
            if dialect.is_disconnect(error, connection.connection.driver_connection, cursor):
                # SQLAlchemy meets the same dead connection, and lays aside all that were opened before it died.
                return list(connection.execute(self.statement, parameters))
            raise DBAPIError.instance(
                compiled.text, None, error, dialect.loaded_dbapi.Error, hide_parameters=True, dialect=dialect
            ) from error
        finally:
            if cursor is not None:
                cursor.close()


class ByReference:
    """A select of the one row that a reference, an id or a name, means.

    Args:
        build: Makes the select with the condition that a row is the one.
        model: A Resource that has a unique `name`.
    """

    def __init__(self, build: Callable[[ColumnElement[bool]], Select[Any]], model: Any) -> None:
        self.by_id = Prepared(lambda: build(model.id == bindparam("reference")))
        self.by_name = Prepared(lambda: build(model.name == bindparam("reference")))

    def __call__(self, reference: str, **parameters: Any) -> tuple[Prepared, dict[str, Any]]:
        """Return what to run for a reference, and its parameters together with those of the select itself."""
        row_id = parse_id(reference)
        if row_id is not None:
            return self.by_id, {"reference": row_id, **parameters}
        return self.by_name, {"reference": reference, **parameters}


class _Compiled:
    """What a dialect makes of a select."""

    def __init__(self, statement: Select[Any], dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        assert isinstance(compiled, SQLCompiler)
        self.text = str(compiled)
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}
        self._order = compiled.positiontup
        self._to_driver = _processes(
            (name, parameter.type.dialect_impl(dialect).bind_processor(dialect))
            for parameter, name in compiled.bind_names.items()
        )
        columns = statement.selected_columns
        # Its names are known only now.
        record: Any = namedtuple("Record", columns.keys())  # type: ignore[misc]  # noqa: PYI024
        self._record = record._make
        self._from_driver = _processes(
            (place, column.type.dialect_impl(dialect).result_processor(dialect, None))
            for place, column in enumerate(columns)
        )

    def values(self, parameters: Mapping[str, Any]) -> Any:
        """Return the values of the bind parameters as the driver takes them: by name, or in order."""
        values = {**self._fixed, **parameters}
        for name, process in self._to_driver:
            values[name] = process(values[name])
        return values if self._order is None else tuple(values[name] for name in self._order)

    def records(self, found: Sequence[Any]) -> list[Any]:
        """Return rows of the driver with values in Python's types."""
        if not self._from_driver:
            return [self._record(row) for row in found]
        records = []
        for row in found:
            values = list(row)
            for place, process in self._from_driver:
                values[place] = process(values[place])
            records.append(self._record(values))
        return records


def _processes(found: Iterable[tuple[K, Process | None]]) -> list[tuple[K, Process]]:
    return [(key, process) for key, process in found if process is not None]

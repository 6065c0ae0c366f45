"""Rows as they stood at a past instant: today's, with what changed since laid back over them.

`catalog.Change` keeps the material columns as they were before every change. A statement of the ORM is put behind
common table expressions that bear the names of its tables, and so reads the past without knowing it.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection, transaction
from django.db.models import Min, QuerySet

from registry.catalog.models import Agent, Change, Issuer, SecretSource, Server, System, Tool
from registry.trust.models import Connection, Grant

TRACKED: dict[str, Any] = {
    "agent": Agent, "server": Server, "system": System, "issuer": Issuer, "tool": Tool,
    "secret_source": SecretSource, "grant": Grant, "connection": Connection,
}  # fmt: skip
_SIGHT = {"confidential", "admitted", "owner_id", "team_id", "created_by_id", "deputy_id", "operator_id"}
AS_TODAY = {
    "agent": _SIGHT,
    "server": _SIGHT,
    "system": _SIGHT,
    "grant": {"lineage", "agent_id", "server_id"},
    "connection": {"lineage", "server_id", "system_id"},
}
"""Columns read as they are now. Who may see a thing is a matter of the present, also when the past is asked for: what
is confidential now is named to nobody else. The ends of a relationship never change, and keep their indexes so."""
CHUNK = 2000


def records_begin() -> datetime | None:
    """The instant of the oldest record; None while there is none."""
    oldest: datetime | None = Change.objects.aggregate(oldest=Min("at"))["oldest"]
    return oldest


def _then(kind: str) -> str:
    """The table of `kind` at an instant (the one parameter, twice), as a common table expression."""
    model = TRACKED[kind]
    table = model._meta.db_table
    fixed = {"id", "created_at"} | AS_TODAY.get(kind, set())
    columns = ", ".join(
        f't."{name}"'
        if name in fixed
        else f'CASE WHEN c.before IS NULL THEN t."{name}" ELSE r."{name}" END AS "{name}"'
        for name in (field.column for field in model._meta.concrete_fields)
    )
    return f"""
        "{table}" AS NOT MATERIALIZED (
            SELECT {columns}
            FROM "{table}" t
            LEFT JOIN (
                SELECT DISTINCT ON (thing_id) thing_id, before FROM catalog_change
                WHERE kind = '{kind}' AND operation = 'changed' AND at > %s
                ORDER BY thing_id, number
            ) c ON c.thing_id = t.id
            LEFT JOIN LATERAL jsonb_populate_record(t, c.before) r ON c.before IS NOT NULL
            WHERE t.created_at <= %s
        )"""  # noqa: S608 - our own names


def statement(rows: QuerySet[Any, Any], as_of: datetime | None) -> tuple[str, list[Any]] | None:
    """The SQL of `rows` at a past instant (None: as things stand); None when it cannot find anything."""
    try:
        sql, params = rows.query.sql_with_params()
    except EmptyResultSet:
        return None
    return laid_back(sql, params, as_of) if as_of else (sql, list(params))


def laid_back(sql: str, params: Iterable[Any], as_of: datetime) -> tuple[str, list[Any]]:
    """A statement that reads the tables it names as they stood at a past instant."""
    kinds = [kind for kind, model in TRACKED.items() if re.search(rf"\b{model._meta.db_table}\b", sql)]
    if not kinds:
        return sql, list(params)
    return f"WITH {', '.join(map(_then, kinds))} {sql}", [as_of] * (2 * len(kinds)) + list(params)


def fetch(rows: QuerySet[Any], as_of: datetime | None = None) -> list[dict[str, Any]]:
    """The rows of a queryset of dictionaries (`values(…)`), as they stood at `as_of`."""
    if as_of is None:
        return list(rows)
    names, found = _executed(rows, as_of)
    return [dict(zip(names, row, strict=True)) for row in found]


def fetch_columns(rows: QuerySet[Any, Any], as_of: datetime | None = None) -> list[Any]:
    """Like `fetch`, for a queryset of tuples (`values_list(…)`)."""
    return list(rows) if as_of is None else _executed(rows, as_of)[1]


def _executed(rows: QuerySet[Any, Any], as_of: datetime) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The names of the columns, and the rows."""
    composed = statement(rows, as_of)
    if composed is None:
        return [], []
    with connection.cursor() as cursor:
        cursor.execute(*composed)
        return [column.name for column in cursor.description], cursor.fetchall()


def stream(rows: QuerySet[Any], as_of: datetime | None = None) -> Iterator[dict[str, Any]]:
    """Like `fetch`, a chunk at a time through a cursor of the database. Needs a transaction around it."""
    composed = statement(rows, as_of)
    if composed is None:
        return
    with connection.chunked_cursor() as cursor:
        cursor.execute(*composed)
        names: list[str] = []
        while chunk := cursor.fetchmany(CHUNK):
            names = names or [column.name for column in cursor.description]
            for row in chunk:
                yield dict(zip(names, row, strict=True))


@contextmanager
def one_snapshot() -> Iterator[None]:
    """Several statements that see the same state, for as long as the reader keeps reading.

    Inside a transaction that runs already (a test's) its isolation stays as it is.
    """
    nested = connection.in_atomic_block
    with transaction.atomic():
        if not nested:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                # Who stops reading must not hold old rows for ever.
                cursor.execute("SET LOCAL idle_in_transaction_session_timeout = '60s'")
        yield

"""Many rows from one statement: `INSERT … SELECT` for a model, complete as `save()` would be.

A column that a statement forgets would be a defect that waits for the next field somebody adds. Here every field
that is not given gets its default.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, models
from django.db.models.expressions import RawSQL


class Sql(NamedTuple):
    """A piece of SQL with its parameters, made of our own names; what others wrote goes into `params`."""

    text: str
    params: tuple[Any, ...] = ()


NOTHING = Sql("")


def table_of(model: type[models.Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)


def among(ids: "Iterable[UUID] | Sql") -> RawSQL:
    """For `field__in`: ids as one array, or as whatever column a statement yields."""
    if isinstance(ids, Sql):
        return RawSQL(ids.text, ids.params)  # noqa: S611 - our own SQL
    return RawSQL(f"SELECT unnest({uuid_array(ids)})", ())  # noqa: S611 - ids


def uuid_array(values: Iterable[UUID]) -> str:
    """A literal: thousands of ids are one token for the parser instead of one parameter each."""
    return f"'{{{','.join(map(str, values))}}}'::uuid[]"


def parts_of(ids: Iterable[UUID], size: int) -> Iterator[list[UUID]]:
    """Parts small enough to be changed in one transaction; the ids are read before the first is."""
    every = list(ids)
    for start in range(0, len(every), size):
        yield every[start : start + size]


def set_each(
    model: type[models.Model], name: str, values: Mapping[UUID, Any], *, edited_at: datetime | None = None
) -> None:
    """Give the field `name` of many rows a value each, by id, in one statement: `bulk_update` writes a CASE per row.

    With `edited_at` each gets a new version, as `Record.save()` would give it.
    """
    field: Any = model._meta.get_field(name)
    given = [field.get_db_prep_save(value, connection) for value in values.values()]
    edited = "" if edited_at is None else ", version = thing.version + 1, updated_at = %s"
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table_of(model)} AS thing SET {connection.ops.quote_name(field.column)} = given.value{edited} "  # noqa: S608
            f"FROM unnest(%s::uuid[], %s::{field.db_type(connection)}[]) AS given(id, value) WHERE thing.id = given.id",
            [*([] if edited_at is None else [edited_at]), list(values), given],
        )


def insert_select(
    model: type[models.Model], values: Mapping[str, Any], source: Sql, *, first: Sql = NOTHING
) -> list[tuple[Any, ...]]:
    """Insert rows that `SELECT … FROM source` yields; returns what a RETURNING at the end of `source` says.

    `values` maps attribute names (`campaign_id`) to `Sql` over the source, or to one value for all rows. `first` is a
    WITH clause before the SELECT.
    """
    left = dict(values)
    columns: list[str] = []
    expressions: list[str] = []
    params: list[Any] = []
    for field in model._meta.concrete_fields:
        if field.attname not in left and isinstance(field, models.AutoField | models.BigAutoField):
            continue
        value = left.pop(field.attname, None) if field.attname in left else field.get_default()
        columns.append(connection.ops.quote_name(str(field.column)))
        if isinstance(value, Sql):
            expressions.append(value.text)
            params += value.params
        else:
            expressions.append("%s")
            params.append(field.get_db_prep_save(value, connection))
    if left:
        raise TypeError(f"{model.__name__} has no {', '.join(left)}")
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table_of(model)} ({', '.join(columns)}) "  # noqa: S608 - our own names
            f"{first.text} SELECT {', '.join(expressions)} FROM {source.text}",
            [*first.params, *params, *source.params],
        )
        return cursor.fetchall() if cursor.description else []

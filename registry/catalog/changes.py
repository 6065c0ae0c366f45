"""Triggers that write down what changes in the trust graph, whoever writes it: a service, bulk SQL, a person in psql.

Each tracked model lists its material columns. After every statement, the rows that differ in one of them become rows
of `catalog.Change`, with their material columns as they were before. One `INSERT … SELECT` over the transition table,
so that a hundred thousand rows cost one statement and not a hundred thousand trigger calls.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

import pgtrigger
from django.db import InternalError, connection

from registry.core import clock

CHANGES = "catalog_change"
TOLD = "steward.told_at"
"""The session's variable that holds the told time, empty for the present."""


@contextmanager
def told_at(instant: datetime) -> Iterator[None]:
    """Inside, it is `instant` for services and triggers alike: for data that tells a story of the past."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(%s, true), set_config(%s, %s, false)", [TOLD, TOLD, instant.isoformat()])
        before = cursor.fetchone()[0] or ""
        try:
            with clock.at(instant):
                yield
        finally:
            # A transaction that failed takes the setting back with everything else.
            with suppress(InternalError):
                cursor.execute("SELECT set_config(%s, %s, false)", [TOLD, before])


def tracked(kind: str, columns: str, **derived: str) -> list[pgtrigger.Trigger]:
    """The triggers for a model whose material columns are `columns` of its table, parted by blanks.

    `derived` names further columns of which only a part counts: SQL over `{row}`. `at` is the row's own time where it
    has one, else the told time, so that history told with an earlier clock stands where it belongs.
    """
    material = {column: f"{{row}}.{column}" for column in columns.split()} | derived
    image = ", ".join(
        f"'{column}', {sql.format(row='o')}"
        for column, sql in {"id": "{row}.id", "created_at": "{row}.created_at", **material}.items()
    )
    before, after = (", ".join(sql.format(row=row) for sql in material.values()) for row in "on")
    created = f"""
        INSERT INTO {CHANGES} (at, kind, thing_id, operation)
        SELECT n.created_at, '{kind}', n.id, 'created' FROM new_rows n;
        RETURN NULL;
    """  # noqa: S608 - our own names
    changed = f"""
        INSERT INTO {CHANGES} (at, kind, thing_id, operation, before)
        SELECT CASE WHEN (n.updated_at, n.version) <> (o.updated_at, o.version) THEN n.updated_at
                    -- A conclusion is no new version: the row does not say when it was drawn.
                    ELSE coalesce(nullif(current_setting('{TOLD}', true), '')::timestamptz, now()) END,
               '{kind}', o.id, 'changed', jsonb_build_object({image})
        FROM old_rows o JOIN new_rows n ON n.id = o.id
        WHERE ROW({before}) IS DISTINCT FROM ROW({after});
        RETURN NULL;
    """  # noqa: S608 - our own names
    return [
        pgtrigger.Trigger(
            name="creation_tracked",
            level=pgtrigger.Statement,
            when=pgtrigger.After,
            operation=pgtrigger.Insert,
            referencing=pgtrigger.Referencing(new="new_rows"),
            func=created,
        ),
        pgtrigger.Trigger(
            name="change_tracked",
            level=pgtrigger.Statement,
            when=pgtrigger.After,
            operation=pgtrigger.Update,
            referencing=pgtrigger.Referencing(old="old_rows", new="new_rows"),
            func=changed,
        ),
    ]

"""What was seen in use of the relationships on a page."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

# Of a grant everything between its two ends counts, of a connection what named its system.
_USE = """
    SELECT {near}, {far}, min(first_used), max(last_used), sum(calls)::bigint, sum(errors)::bigint
    FROM trust_observation
    WHERE ({near}, {far}) IN (SELECT * FROM unnest(%s::uuid[], %s::uuid[])) AND first_used <= %s
    GROUP BY 1, 2
"""
FIGURES = ("first_used", "last_used", "calls", "errors")


def use_of(rows: Iterable[Mapping[str, Any]], *, until: datetime) -> dict[UUID, dict[str, Any]]:
    """For rows of `relationship_rows` by id: first and last use, calls and errors. What was never seen is left out."""
    listed = list(rows)
    found: dict[UUID, dict[str, Any]] = {}
    with connection.cursor() as cursor:
        for kind, near, far in (("grant", "agent_id", "server_id"), ("connection", "server_id", "system_id")):
            of_kind = [row for row in listed if row["kind"] == kind]
            if not of_kind:
                continue
            ends = [row[near] for row in of_kind], [row[far] for row in of_kind]
            cursor.execute(_USE.format(near=near, far=far), [*ends, until])
            use = {(source, target): dict(zip(FIGURES, rest, strict=True)) for source, target, *rest in cursor}
            found |= {row["id"]: use[row[near], row[far]] for row in of_kind if (row[near], row[far]) in use}
    return found

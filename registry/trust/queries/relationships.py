"""Grants and connections as one list, and the versions of one of them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import connection
from django.db.models import BooleanField, Case, CharField, F, Model, Q, QuerySet, UUIDField, Value, When
from django.db.models.functions import Cast

from registry.catalog.states import Lifecycle, Standing
from registry.trust.models import Connection, Grant
from registry.trust.queries.past import fetch

COLUMNS = (
    "id", "kind", "lineage", "status", "agent_id", "agent_name", "server_id", "server_name", "server_title",
    "system_id", "system_name", "tools", "all_tools", "access", "scopes", "environment", "tier", "team_id",
    "team_name", "valid_until", "certified_until", "certified", "agent_certified", "server_certified",
)  # fmt: skip


def relationship_rows(rows: QuerySet[Any], *, now: datetime) -> QuerySet[Any]:
    """Grants or connections with the common columns, as dictionaries."""
    # Cast, for a bare NULL of one side takes the type of text before the other side is looked at.
    nothing: Any = Cast(Value(None), UUIDField(null=True))
    nowhere: Any = Cast(Value(None), CharField(null=True))
    none_listed: Any = Cast(Value([]), ArrayField(CharField(max_length=200)))
    if rows.model is Grant:
        ends = {
            "agent_name": F("agent__name"),
            "agent_certified": _yes(Q(agent__standing=Standing.ACTIVE, agent__certified_until__gt=now)),
            "system_id": nothing,
            "system_name": nowhere,
            "access": Value(""),
            "scopes": none_listed,
        }
    else:
        ends = {
            "agent_id": nothing,
            "agent_name": nowhere,
            "agent_certified": Cast(Value(None), BooleanField(null=True)),
            "system_name": F("system__name"),
            "tools": none_listed,
            "all_tools": Value(False),
        }
    annotated: QuerySet[Any] = rows.annotate(
        kind=Value(rows.model.kind),
        server_name=F("server__name"),
        server_title=F("server__title"),
        environment=F("server__environment"),
        tier=F("server__tier"),
        team_id=F("server__team_id"),
        team_name=F("server__team__name"),
        server_certified=_yes(Q(server__lifecycle=Lifecycle.ACTIVE, server__certified_until__gt=now)),
        certified=_yes(rows.model.certified_rows(now)),
        **ends,
    ).values(*COLUMNS)
    return annotated


def _yes(condition: Q) -> Case:
    return Case(When(condition, then=True), default=False, output_field=BooleanField())


@dataclass(frozen=True)
class RelationshipPage:
    """Newest first. The cursors are ids: older than `next`, newer than `previous`; None where nothing follows."""

    rows: list[dict[str, Any]]
    next: UUID | None
    previous: UUID | None


def relationship_page(
    *,
    grants: QuerySet[Any] | None,
    connections: QuerySet[Any] | None,
    now: datetime,
    before: UUID | None = None,
    after: UUID | None = None,
    limit: int = 50,
    as_of: datetime | None = None,
) -> RelationshipPage:
    """A page of the union of two already visible and filtered querysets: its ids first, then its rows by id.

    Each side brings at most a page along its own index before the two are merged, so deep pages cost the same.
    With `as_of` the rows are those of that instant; `now` is then the same.
    """
    backwards = after is not None
    order = "id" if backwards else "-id"
    parts = []
    for rows in (grants, connections):
        if rows is None or rows.query.is_empty():
            continue
        if before is not None:
            rows = rows.filter(pk__lt=before)
        if after is not None:
            rows = rows.filter(pk__gt=after)
        parts.append(rows.order_by(order).values(of=Value(rows.model.kind), key=F("pk"))[: limit + 1])
    found: list[dict[str, Any]] = []
    if parts:
        key = order.replace("id", "key")
        merged = parts[0].union(*parts[1:], all=True).order_by(key) if len(parts) > 1 else parts[0]
        found = fetch(merged[: limit + 1], as_of)
    more, found = len(found) > limit, found[:limit]
    if backwards:
        found.reverse()
    page = _told(found, now, as_of)
    older, newer = (bool(page), more) if backwards else (more, before is not None)
    return RelationshipPage(
        rows=page,
        next=page[-1]["id"] if page and older else None,
        previous=page[0]["id"] if page and newer else None,
    )


def _told(found: list[dict[str, Any]], now: datetime, as_of: datetime | None) -> list[dict[str, Any]]:
    """The rows of a page, in its order."""
    rows: dict[UUID, dict[str, Any]] = {}
    for model in (Grant, Connection):
        ids = [each["key"] for each in found if each["of"] == model.kind]
        if ids and as_of is not None:
            told = fetch(relationship_rows(model.objects.filter(pk__in=ids), now=now), as_of)
        else:
            told = _by_id(model, ids, now) if ids else []
        rows |= {row["id"]: row for row in told}
    return [rows[each["key"]] for each in found]


_SOME_INSTANT, _SOME_ID = datetime.max.replace(tzinfo=UTC), UUID(int=0)


@cache
def _statement(model: type[Grant] | type[Connection]) -> tuple[str, tuple[Any, ...]]:
    """`relationship_rows` of given ids as the ORM writes it, with stand-ins; composing it anew takes most of a page."""
    sql, params = relationship_rows(
        model.objects.filter(pk=_SOME_ID).order_by(), now=_SOME_INSTANT
    ).query.sql_with_params()
    table = model._meta.db_table
    return sql.replace(f'"{table}"."id" = %s', f'"{table}"."id" = ANY(%s)'), tuple(params)


def _by_id(model: type[Grant] | type[Connection], ids: list[UUID], now: datetime) -> list[dict[str, Any]]:
    sql, params = _statement(model)
    values: dict[Any, Any] = {_SOME_INSTANT: now, _SOME_ID: ids}
    with connection.cursor() as cursor:
        cursor.execute(
            sql, [values.get(param, param) if isinstance(param, datetime | UUID) else param for param in params]
        )
        return [dict(zip(COLUMNS, row, strict=True)) for row in cursor.fetchall()]


def versions(relationship: Model) -> QuerySet[Any]:
    """Every version between the same two ends, newest first."""
    lineage = relationship.lineage  # type: ignore[attr-defined]
    rows = type(relationship)._default_manager.filter(lineage=lineage)
    return rows.select_related("requested_by", "decided_by").order_by("-id")

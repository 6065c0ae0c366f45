"""The whole trust graph, or the part that filters leave, row by row: for exports of any size in little memory.

Everything is read in one transaction from one state of the data, which the head names: a reader who follows the feed
of changes from the cursor given there has a copy that stays exact.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from django.db.models import BooleanField, Case, Count, F, Q, QuerySet, Value, When

from registry.catalog.models import Agent, Server, System
from registry.catalog.states import Lifecycle, Standing
from registry.core import clock
from registry.core.actors import Actor
from registry.core.permissions import require
from registry.trust.models import Connection, Grant, seen_by
from registry.trust.queries.feed import beginning
from registry.trust.queries.past import fetch_columns, one_snapshot, stream
from registry.trust.queries.relationships import relationship_rows
from registry.trust.queries.use import FIGURES, use_of
from registry.trust.states import Status

NODE_COLUMNS: dict[str, tuple[str, ...]] = {
    "agent": ("spiffe_id", "client_id", "issuer_id", "standing"),
    "server": ("title", "lifecycle", "tier"),
    "system": ("data_class", "standing"),
}
"""Beside what all of them have: id, name, word (which kind of agent or system), environment, owner and team.
Of an agent also `is_server`, the server it is, where that may be named."""
TOGETHER = 2_000
"""So many relationships ask for their use at once."""
NEVER_SEEN = dict.fromkeys(FIGURES)


@dataclass(frozen=True)
class Head:
    """`hidden` relationships are left out because the reader may not see one of their ends; None where filters apply:
    what is hidden is not searched for anybody.
    """

    as_of: datetime
    changes: str
    """Cursor of the feed of changes; empty for a past instant."""
    hidden: int | None


def exported(
    actor: Actor,
    *,
    grants: QuerySet[Any] | None,
    connections: QuerySet[Any] | None,
    whole: bool,
    as_of: datetime | None = None,
) -> Iterator[Head | tuple[str, dict[str, Any]]]:
    """First the head, then nodes (`agent`, `server`, `system`), then edges (`grant`, `connection`), each with its kind.

    `grants` and `connections` are visible and filtered already. `whole`: also things without any relationship.
    Whoever stops early closes the iterator, and with it the transaction.
    """
    require(actor, "trust.view")
    with one_snapshot(), clock.at(as_of) if as_of else nullcontext():
        now = clock.now()
        sides = [rows.order_by() for rows in (grants, connections) if rows is not None]
        yield Head(now, "" if as_of else beginning(actor), _hidden(actor, as_of) if whole else None)
        for kind, rows in _nodes(actor, grants, connections, whole):
            for node in stream(rows, as_of):
                yield kind, node
        for side in sides:
            edges = stream(_edges(side, now), as_of)
            while listed := list(islice(edges, TOGETHER)):
                use = use_of(listed, until=now)
                for edge in listed:
                    yield edge["kind"], edge | use.get(edge["id"], NEVER_SEEN)


def _hidden(actor: Actor, as_of: datetime | None) -> int:
    return sum(
        _count(model.objects.all(), as_of) - _count(model.objects.visible_to(actor), as_of)
        for model in (Grant, Connection)
    )


def _count(rows: QuerySet[Any], as_of: datetime | None) -> int:
    if as_of is None:
        return rows.count()
    counted = rows.order_by().annotate(every=Value(1)).values("every").annotate(n=Count("pk")).values_list("n")
    return next((n for (n,) in fetch_columns(counted, as_of)), 0)


def _nodes(
    actor: Actor, grants: QuerySet[Any] | None, connections: QuerySet[Any] | None, whole: bool
) -> Iterator[tuple[str, QuerySet[Any]]]:
    for model in (Agent, Server, System):
        kind = model._meta.model_name or ""
        rows = seen_by(actor, model)
        if not whole:
            ends = Q(pk__in=[])
            for side, of in ((grants, ("agent", "server")), (connections, ("server", "system"))):
                if side is not None and kind in of:
                    ends |= Q(pk__in=side.order_by().values(f"{kind}_id"))
            rows = rows.filter(ends)
        more: dict[str, Any] = {} if kind == "server" else {"word": F("kind")}
        if kind == "agent":
            may_be_named = Q(server__confidential=False) | Q(server__in=seen_by(actor, Server).order_by().values("pk"))
            more["is_server"] = Case(When(may_be_named, then=F("server_id")))
        columns = ("id", "name", "environment", "owner_id", "team_id", "confidential", *NODE_COLUMNS[kind])
        yield kind, rows.order_by("id").annotate(**more).values(*columns, *more)


def _edges(rows: QuerySet[Any], now: datetime) -> QuerySet[Any]:
    other = {"agent__standing": Standing.ACTIVE} if rows.model is Grant else {"system__standing": Standing.ACTIVE}
    holds = Q(
        status=Status.ACTIVE, activated_at__lte=now, valid_until__gt=now, server__lifecycle=Lifecycle.ACTIVE, **other
    )
    in_force = Case(When(holds, then=True), default=False, output_field=BooleanField())
    return relationship_rows(rows, now=now).annotate(in_force=in_force).order_by("id")

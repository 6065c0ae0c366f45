"""Frozen facts against present ones, compared in the database: only what moved is loaded.

`Item.fingerprint` and `Certificate.fingerprint` say what the facts were, `facts.fingerprint_select` what they are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from registry.catalog.states import Lifecycle
from registry.reviews.facts import FOR_MANY, fingerprint_select
from registry.reviews.facts.canonical_sql import any_of
from registry.reviews.models import Campaign, Certificate, Item
from registry.reviews.states import OPEN_ITEM, ItemState
from registry.trust.models import Connection, Grant

REVIEWED = (ItemState.IN_REVIEW, ItemState.DECIDED)
"""In these states somebody looks at the facts, or has answered on them."""


@dataclass(frozen=True)
class Drift:
    """A row whose frozen facts no longer are the present ones; `gone`: there is nothing left to certify."""

    id: UUID
    gone: bool
    fingerprint: str


@dataclass(frozen=True)
class Touched:
    """What a change may have reached: everything that rests on these servers, these agents and all they hold."""

    servers: Sequence[UUID] = ()
    agents: Sequence[UUID] = ()

    def __bool__(self) -> bool:
        return bool(self.servers or self.agents)

    @property
    def items(self) -> Q:
        return Q(rests_on__in=self.servers) | Q(agent__in=self.agents) | Q(grant__agent__in=self.agents)

    @property
    def certificates(self) -> Q:
        resting = Q(server__in=self.servers) | Q(grant__server__in=self.servers)
        resting |= Q(connection__server__in=self.servers)
        return resting | Q(agent__in=self.agents) | Q(grant__agent__in=self.agents)


def touched_by(kind: str, pk: UUID) -> Touched:
    """What the facts of one server, agent, system, grant or connection are part of."""
    match kind:
        case "server":
            return Touched(servers=[pk])
        case "agent":
            return Touched(agents=[pk])
        case "system":
            return Touched(servers=_values(Connection.objects.filter(system=pk), "server"))
        case "connection":
            return Touched(servers=_values(Connection.objects.filter(pk=pk), "server"))
        case "grant":
            return Touched(agents=_values(Grant.objects.filter(pk=pk), "agent"))
    raise ValueError(f"{kind} has no facts")


def _values(queryset: QuerySet[Any], field: str) -> list[UUID]:
    return list(queryset.order_by().values_list(field, flat=True).distinct())


def touched_since(instant: datetime) -> Touched:
    """What any row that facts are read from has touched since `instant`.

    People are not among them: facts name them by id, and whether they still work here is context.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TOUCHED_SERVERS, {"since": instant})
        servers = [pk for (pk,) in cursor.fetchall()]
        cursor.execute(_TOUCHED_AGENTS, {"since": instant})
        return Touched(servers, [pk for (pk,) in cursor.fetchall()])


def drifted_items(scope: Q | None = None) -> list[Drift]:
    """Open items (of `scope`) whose subject is gone, or whose facts differ from those its reviewers see."""
    rows = Item.objects.filter(scope or Q(), state__in=OPEN_ITEM)
    return _drifted(rows, _MOVED_ITEMS, many=scope is None)


def drifted_certificates(scope: Q | None = None) -> list[Drift]:
    """Valid certificates (of `scope`) of what is gone, or about other facts than the present ones."""
    rows = Certificate.objects.filter(scope or Q(), ended_at=None)
    return _drifted(rows, _MOVED_CERTIFICATES, many=scope is None)


def in_place(kind: str, ids: Iterable[UUID]) -> set[UUID]:
    """Those of these subjects of which there is still something to certify."""
    with connection.cursor() as cursor:
        present = fingerprint_select(kind, "SELECT unnest(%s::uuid[])")
        cursor.execute(f"SELECT subject_id FROM ({present}) AS present WHERE in_place", [list(ids)])  # noqa: S608
        return {pk for (pk,) in cursor.fetchall()}


def _drifted(rows: QuerySet[Any], statement: str, *, many: bool) -> list[Drift]:
    found: list[Drift] = []
    for kind in rows.order_by().values_list("kind", flat=True).distinct():
        subjects, params = rows.filter(kind=kind).order_by().values_list(f"{kind}_id").query.sql_with_params()
        with transaction.atomic(), connection.cursor() as cursor:
            if many:
                cursor.execute(FOR_MANY)
            cursor.execute(statement.format(present=fingerprint_select(kind, subjects), kind=kind), params)
            found += [Drift(*row) for row in cursor.fetchall()]
    return sorted(found, key=lambda drift: drift.id)


_MOVED_ITEMS = f"""
WITH present AS MATERIALIZED ({{present}})
SELECT item.id, NOT present.in_place OR withdrawn.id IS NOT NULL, present.fingerprint
FROM present
JOIN reviews_item AS item ON item.{{kind}}_id = present.subject_id AND item.state IN {any_of(OPEN_ITEM)}
LEFT JOIN (
  SELECT DISTINCT ON (item_id) item_id, fingerprint FROM reviews_itemrefresh ORDER BY item_id, at DESC, id DESC
) AS seen ON seen.item_id = item.id
-- An intake is over when its server no longer waits for one.
LEFT JOIN (
  SELECT item.id FROM reviews_item AS item JOIN reviews_campaign AS campaign ON campaign.id = item.campaign_id
  JOIN catalog_server AS server ON server.id = item.server_id
  WHERE campaign.kind = '{Campaign.Kind.INTAKE}' AND server.lifecycle <> '{Lifecycle.SUBMITTED}'
    AND item.state IN {any_of(OPEN_ITEM)}
) AS withdrawn ON withdrawn.id = item.id
WHERE NOT present.in_place OR withdrawn.id IS NOT NULL OR (
  item.state IN {any_of(REVIEWED)} AND present.fingerprint <> coalesce(seen.fingerprint, item.fingerprint)
)
"""  # noqa: S608 - composed of constants
_MOVED_CERTIFICATES = """
WITH present AS MATERIALIZED ({present})
SELECT certificate.id, NOT present.in_place, present.fingerprint
FROM present
JOIN reviews_certificate AS certificate
  ON certificate.{kind}_id = present.subject_id AND certificate.ended_at IS NULL
WHERE NOT present.in_place OR present.fingerprint <> certificate.fingerprint
"""
_TOUCHED_SERVERS = """
SELECT id FROM catalog_server WHERE updated_at >= %(since)s
UNION SELECT server_id FROM catalog_endpoint WHERE updated_at >= %(since)s
UNION SELECT server_id FROM catalog_tool WHERE updated_at >= %(since)s
UNION SELECT server_id FROM catalog_secretsource WHERE updated_at >= %(since)s
UNION SELECT server_id FROM catalog_revocationstep WHERE updated_at >= %(since)s
UNION SELECT server_id FROM catalog_purpose WHERE created_at >= %(since)s
UNION SELECT server_id FROM trust_connection WHERE updated_at >= %(since)s
UNION SELECT server_id FROM trust_connection
  WHERE system_id IN (SELECT id FROM catalog_system WHERE updated_at >= %(since)s)
"""
_TOUCHED_AGENTS = """
SELECT id FROM catalog_agent WHERE updated_at >= %(since)s
UNION SELECT id FROM catalog_agent WHERE issuer_id IN (SELECT id FROM catalog_issuer WHERE updated_at >= %(since)s)
UNION SELECT agent_id FROM trust_grant WHERE updated_at >= %(since)s
"""

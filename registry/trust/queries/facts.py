"""The facts that the tier method judges a server by."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Case, Count, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce

from registry.catalog.models import Endpoint, Purpose, SecretSource, Server, Tool, Transport
from registry.catalog.states import Lifecycle, Standing
from registry.trust.models import Connection, Grant
from registry.trust.states import HELD, Status
from registry.trust.tier import Exposure, Facts


def tier_facts(*, server_ids: Sequence[UUID]) -> list[tuple[Server, Facts]]:
    """The facts of the tier method for these servers, in one statement. Retired servers keep their tier.

    Before a server is active, what it asks for counts as what it will have; afterwards only what was approved.
    """
    counted = Q(status__in=HELD) | Q(
        status=Status.REQUESTED, server__lifecycle__in=[Lifecycle.DRAFT, Lifecycle.SUBMITTED]
    )
    connections = Connection.objects.filter(counted, server=OuterRef("pk"), system__standing=Standing.ACTIVE).order_by()
    grants = Grant.objects.filter(counted, server=OuterRef("pk"), agent__standing=Standing.ACTIVE).order_by()
    tools = Tool.objects.filter(server=OuterRef("pk"), retired_at=None).order_by()
    sources = SecretSource.objects.filter(server=OuterRef("pk"), retired_at=None).order_by()
    endpoints = Endpoint.objects.filter(server=OuterRef("pk"), retired_at=None).order_by()
    effective = Case(
        When(~Q(confirmed_class=""), then="confirmed_class"),
        When(~Q(claimed_class=""), then="claimed_class"),
        default=Value("destructive"),
    )
    held = Case(When(kind=SecretSource.Kind.NONE, then=Value("none")), default="credential_type")
    rows = (
        Server.objects.filter(pk__in=server_ids)
        .exclude(lifecycle=Lifecycle.RETIRED)
        .order_by("pk")
        .annotate(
            fact_declared=Subquery(
                Purpose.objects.filter(server=OuterRef("pk")).order_by("-number").values("data_classes")[:1]
            ),
            fact_reached=ArraySubquery(connections.values("system__data_class").distinct()),
            fact_access=ArraySubquery(connections.values("access").distinct()),
            fact_systems=_count(connections, "server", "system"),
            fact_agents=_count(grants, "server", "agent"),
            fact_tools=ArraySubquery(tools.annotate(effective=effective).values("effective").distinct()),
            fact_credentials=ArraySubquery(sources.annotate(held=held).values("held").distinct()),
            fact_transports=ArraySubquery(endpoints.values("transport").distinct()),
        )
    )
    return [(row, _facts(row)) for row in rows]


def _count(rows: QuerySet[Any], group: str, what: str) -> Coalesce:
    return Coalesce(Subquery(rows.values(group).annotate(n=Count(what, distinct=True)).values("n")), 0)


def _facts(row: Any) -> Facts:
    exposure: Exposure = "unknown"
    if row.fact_transports:
        exposure = "local" if set(row.fact_transports) == {Transport.STDIO} else "remote"
    return Facts(
        environment=row.environment,
        exposure=exposure,
        data_classes=frozenset([*(row.fact_declared or ()), *row.fact_reached]),
        tool_classes=frozenset(row.fact_tools),
        access_levels=frozenset(row.fact_access),
        credential_types=frozenset(row.fact_credentials),
        agents=row.fact_agents,
        systems=row.fact_systems,
    )

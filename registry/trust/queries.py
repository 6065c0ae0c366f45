"""Who may reach what: reads over relationships, catalog and visibility.

Reach is answered by SQL over sets, with a number of statements that does not depend on the data. A path counts
when its grant and its connection are active and inside their validity, its server is active, and its agent and
system have not retired. What the reader may not see is counted and never named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID

import orjson
from django.contrib.postgres.expressions import ArraySubquery
from django.contrib.postgres.fields import ArrayField
from django.db import connection as database
from django.db.models import (
    BooleanField,
    Case,
    CharField,
    Count,
    F,
    Model,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    UUIDField,
    Value,
    When,
)
from django.db.models.functions import Cast, Coalesce
from django.utils import timezone

from registry.catalog.models import Agent, Endpoint, Purpose, SecretSource, Server, System, Tool, Transport
from registry.catalog.states import Lifecycle, Standing
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Invalid, NotFound
from registry.core.permissions import require
from registry.trust.models import Connection, Grant, may_see_all, seen_by
from registry.trust.states import HELD, Status
from registry.trust.tier import Exposure, Facts

MAX_VALIDITY = timedelta(days=365)


# --- Validity --------------------------------------------------------------------------------------------


class Limit(NamedTuple):
    """Until when at most (the midnight after the last day), and why."""

    instant: datetime
    because: str

    @property
    def last_day(self) -> date:
        return timezone.localdate(self.instant - timedelta(seconds=1))


def _end_of(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day + timedelta(days=1), time.min))


def latest_valid_until(*, server: Server, now: datetime) -> Limit:
    """How long a relationship of `server` may be asked for: a year, and never past the server's purpose."""
    last = timezone.localdate(now) + MAX_VALIDITY
    year = Limit(_end_of(last), f"a relationship lasts at most {MAX_VALIDITY.days} days")
    purpose = server.purpose
    if purpose is None:
        return year
    return min(year, Limit(_end_of(purpose.ends_on), "the server's purpose ends then"))


# --- Facts for the tier ----------------------------------------------------------------------------------


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


# --- One list of grants and connections ------------------------------------------------------------------

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
    in_force = Q(status=Status.ACTIVE, valid_until__gt=now, certified_until__gt=now)
    annotated: QuerySet[Any] = rows.annotate(
        kind=Value(rows.model.kind),
        server_name=F("server__name"),
        server_title=F("server__title"),
        environment=F("server__environment"),
        tier=F("server__tier"),
        team_id=F("server__team_id"),
        team_name=F("server__team__name"),
        server_certified=_yes(Q(server__lifecycle=Lifecycle.ACTIVE, server__certified_until__gt=now)),
        certified=_yes(in_force),
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
) -> RelationshipPage:
    """A page of the union of two already visible and filtered querysets, in one statement.

    Each side brings at most a page along its own index before the two are merged, so deep pages cost the same.
    """
    backwards = after is not None
    order = "id" if backwards else "-id"
    parts = []
    for rows in (grants, connections):
        if rows is None:
            continue
        if before is not None:
            rows = rows.filter(pk__lt=before)
        if after is not None:
            rows = rows.filter(pk__gt=after)
        parts.append(relationship_rows(rows, now=now).order_by(order)[: limit + 1])
    found: list[dict[str, Any]] = []
    if parts:
        merged = parts[0].union(*parts[1:], all=True).order_by(order) if len(parts) > 1 else parts[0]
        found = list(merged[: limit + 1])
    more, page = len(found) > limit, found[:limit]
    if backwards:
        page.reverse()
    older, newer = (bool(page), more) if backwards else (more, before is not None)
    return RelationshipPage(
        rows=page,
        next=page[-1]["id"] if page and older else None,
        previous=page[0]["id"] if page and newer else None,
    )


# --- Naming the subject of a question --------------------------------------------------------------------


def find(actor: Actor, model: type[Agent] | type[Server] | type[System], text: str, *, field: str) -> Any:
    """The agent, server or system that `text` names: an id, else its name (an agent also by SPIFFE id).

    Raises `NotFound` for what does not exist or may not be seen, `Invalid` when several share the name.
    """
    try:
        wanted = Q(pk=UUID(text))
    except ValueError:
        wanted = Q(name=text)
        if model is Agent:
            wanted |= Q(spiffe_id=text)
    found = list(seen_by(actor, model).filter(wanted).order_by("pk")[:2])
    if not found:
        raise NotFound(fields={field: [f"There is no {model._meta.verbose_name} {text} that you may see."]})
    if len(found) > 1:
        raise Invalid(fields={field: [f"Several are called {text}; name it by id."]})
    return found[0]


# --- Reach as SQL ----------------------------------------------------------------------------------------

# `certified` here is about one relationship; a path is certified when its grant, connection and server are.
_LIVE = """
live_grant AS NOT MATERIALIZED (
    SELECT g.id, g.agent_id, g.server_id, g.tools, g.all_tools, g.on_behalf_of, g.behalf_detail, g.valid_until,
           coalesce(g.certified_until > %(now)s, false) AS certified
    FROM trust_grant g
    JOIN catalog_agent ga ON ga.id = g.agent_id AND ga.standing = 'active'
    JOIN catalog_server gs ON gs.id = g.server_id AND gs.lifecycle = 'active'
    WHERE g.status = 'active' AND g.activated_at <= %(now)s AND g.valid_until > %(now)s
),
live_connection AS NOT MATERIALIZED (
    SELECT c.id, c.server_id, c.system_id, c.access, c.scopes, c.valid_until,
           coalesce(c.certified_until > %(now)s, false) AS certified
    FROM trust_connection c
    JOIN catalog_system cy ON cy.id = c.system_id AND cy.standing = 'active'
    JOIN catalog_server cs ON cs.id = c.server_id AND cs.lifecycle = 'active'
    WHERE c.status = 'active' AND c.activated_at <= %(now)s AND c.valid_until > %(now)s
)
"""
_ACCESS = "ARRAY['read', 'write', 'admin']"
_DATA = "ARRAY['public', 'internal', 'confidential', 'restricted']"
# A wildcard reaches whatever the server lists now.
_TOOLS = """to_jsonb(CASE WHEN g.all_tools
    THEN ARRAY(SELECT t.name FROM catalog_tool t
               WHERE t.server_id = g.server_id AND t.retired_at IS NULL ORDER BY t.name)
    ELSE g.tools END)"""


class _Seen:
    """The actor's visibility as SQL conditions, from the one definition in `visible_to`."""

    def __init__(self, actor: Actor) -> None:
        self.all = may_see_all(actor)
        self.params: dict[str, Any] = {}
        self._visible = {} if self.all else {model: self._ids(actor, model) for model in (Agent, Server, System)}

    def _ids(self, actor: Actor, model: Any) -> str:
        rows = model.objects.filter(confidential=True).visible_to(actor).order_by().values("pk")
        if rows.query.is_empty():
            return "SELECT NULL::uuid WHERE false"
        sql, values = rows.query.sql_with_params()
        names = [f"{model._meta.model_name}_{index}" for index in range(len(values))]
        self.params.update(zip(names, values, strict=True))
        return str(sql % tuple(f"%({name})s" for name in names))

    def hidden(self, model: Any, alias: str) -> str:
        """True in SQL when the row `alias` of `model` must not be named."""
        return "false" if self.all else f"({alias}.confidential AND {alias}.id NOT IN ({self._visible[model]}))"


_JSONB = 3802  # Django hands jsonb over as text, for its own field to decode


def _fetch(sql: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    with database.cursor() as cursor:
        cursor.execute(sql, params)
        names = [column.name for column in cursor.description]
        decoded = [column.name for column in cursor.description if column.type_code == _JSONB]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    for row in rows:
        for name in decoded:
            row[name] = row[name] if row[name] is None else orjson.loads(row[name])
    return rows


def data_version() -> str:
    """The database snapshot this answer is at least as new as: `oldest running:next:still running` transactions.

    It costs nothing to read and takes no lock. Two equal versions saw exactly the same committed data, and the
    middle number never goes down; it also moves when something unrelated is written, in any database of the server.
    """
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_current_snapshot()::text")
        return str(cursor.fetchone()[0])


def _answer(now: datetime) -> dict[str, Any]:
    return {"as_of": now, "data_version": data_version()}


def _split(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Rows that may be named, and how many things the unnamed row stands for."""
    hidden = sum(row.pop("members") for row in rows if row["id"] is None)
    return [row for row in rows if row["id"] is not None], hidden


def reach(actor: Actor, agent: Agent, *, now: datetime | None = None) -> dict[str, Any]:
    """What `agent` may reach: `systems` (each with the servers and tools it goes through) and `servers` it may call.

    `hidden` counts what the actor may not see; a path through such a server has `server: null`.
    """
    require(actor, "trust.view")
    now = now or clock.now()
    seen = _Seen(actor)
    params = {"now": now, "agent": agent.pk, **seen.params}
    answer = _answer(now)
    systems = _fetch(
        f"""
        WITH {_LIVE}, path AS (
            SELECT y.id AS system_id, y.name, y.kind, y.environment, y.data_class,
                   {seen.hidden(System, "y")} AS system_hidden, c.access,
                   g.certified AND c.certified AND coalesce(s.certified_until > %(now)s, false) AS certified,
                   s.name AS server_name,
                   CASE WHEN {seen.hidden(Server, "s")}
                   THEN jsonb_build_object('server', NULL, 'access', c.access,
                                           'words', 'through a server you may not see')
                   ELSE jsonb_build_object(
                       'server', jsonb_build_object('id', s.id, 'name', s.name, 'title', s.title, 'tier', s.tier),
                       'grant', g.id, 'connection', c.id, 'tools', {_TOOLS}, 'all_tools', g.all_tools,
                       'access', c.access, 'scopes', to_jsonb(c.scopes), 'on_behalf_of', g.on_behalf_of,
                       'behalf_detail', g.behalf_detail, 'valid_until', least(g.valid_until, c.valid_until),
                       'certified', g.certified AND c.certified AND coalesce(s.certified_until > %(now)s, false))
                   END AS step
            FROM live_grant g
            JOIN live_connection c ON c.server_id = g.server_id
            JOIN catalog_server s ON s.id = g.server_id
            JOIN catalog_system y ON y.id = c.system_id
            WHERE g.agent_id = %(agent)s
        )
        SELECT CASE WHEN system_hidden THEN NULL ELSE system_id END AS id,
               min(name) AS name, min(kind) AS kind, min(environment) AS environment, min(data_class) AS data_class,
               ({_ACCESS})[max(array_position({_ACCESS}, access::text))] AS access,
               bool_or(certified) AS certified,
               jsonb_agg(step ORDER BY server_name) AS through,
               count(DISTINCT system_id) AS members
        FROM path GROUP BY 1 ORDER BY name, id
        """,  # noqa: S608 - fragments are ours, values are parameters
        params,
    )
    servers = _fetch(
        f"""
        WITH {_LIVE}, callable AS (
            SELECT s.*, {seen.hidden(Server, "s")} AS hidden, g.id AS grant_id, {_TOOLS} AS tools, g.all_tools,
                   g.on_behalf_of, g.behalf_detail, g.valid_until, g.certified
            FROM live_grant g JOIN catalog_server s ON s.id = g.server_id
            WHERE g.agent_id = %(agent)s
        )
        SELECT id, name, title, tier, environment, grant_id AS grant, tools, all_tools, on_behalf_of, behalf_detail,
               valid_until, certified, 1 AS members
        FROM callable WHERE NOT hidden
        UNION ALL
        SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, count(*)
        FROM callable WHERE hidden
        ORDER BY name
        """,  # noqa: S608
        params,
    )
    named_systems, hidden_systems = _split(systems)
    named_servers, hidden_servers = _split(servers)
    return answer | {
        "agent": _agent_reference(agent),
        "systems": _without_members(named_systems),
        "servers": _without_members(named_servers),
        "hidden": {"systems": hidden_systems, "servers": hidden_servers},
    }


def access(actor: Actor, system: System, *, now: datetime | None = None) -> dict[str, Any]:
    """Which agents reach `system`: per agent through which server and tools, with which access, on whose behalf."""
    require(actor, "trust.view")
    now = now or clock.now()
    seen = _Seen(actor)
    answer = _answer(now)
    agents = _fetch(
        f"""
        WITH {_LIVE}, path AS (
            SELECT a.id AS agent_id, a.name, a.kind, a.spiffe_id, a.client_id, a.environment, o.name AS owner,
                   {seen.hidden(Agent, "a")} AS agent_hidden, c.access,
                   g.certified AND c.certified AND coalesce(s.certified_until > %(now)s, false) AS certified,
                   s.name AS server_name,
                   CASE WHEN {seen.hidden(Server, "s")}
                   THEN jsonb_build_object('server', NULL, 'access', c.access,
                                           'words', 'through a server you may not see')
                   ELSE jsonb_build_object(
                       'server', jsonb_build_object('id', s.id, 'name', s.name, 'title', s.title, 'tier', s.tier),
                       'grant', g.id, 'connection', c.id, 'tools', {_TOOLS}, 'all_tools', g.all_tools,
                       'access', c.access, 'scopes', to_jsonb(c.scopes), 'on_behalf_of', g.on_behalf_of,
                       'behalf_detail', g.behalf_detail, 'valid_until', least(g.valid_until, c.valid_until),
                       'certified', g.certified AND c.certified AND coalesce(s.certified_until > %(now)s, false))
                   END AS step
            FROM live_connection c
            JOIN live_grant g ON g.server_id = c.server_id
            JOIN catalog_server s ON s.id = c.server_id
            JOIN catalog_agent a ON a.id = g.agent_id
            LEFT JOIN accounts_user o ON o.id = a.owner_id
            WHERE c.system_id = %(system)s
        )
        SELECT CASE WHEN agent_hidden THEN NULL ELSE agent_id END AS id,
               min(name) AS name, min(kind) AS kind, min(spiffe_id) AS spiffe_id, min(client_id) AS client_id,
               min(environment) AS environment, min(owner) AS owner,
               ({_ACCESS})[max(array_position({_ACCESS}, access::text))] AS access,
               bool_or(certified) AS certified,
               jsonb_agg(step ORDER BY server_name) AS through,
               count(DISTINCT agent_id) AS members
        FROM path GROUP BY 1 ORDER BY name, id
        """,  # noqa: S608
        {"now": now, "system": system.pk, **seen.params},
    )
    servers = _fetch(
        f"""
        WITH {_LIVE}, connected AS (
            SELECT s.*, {seen.hidden(Server, "s")} AS hidden, c.id AS connection_id, c.access, c.scopes,
                   c.valid_until, c.certified
            FROM live_connection c JOIN catalog_server s ON s.id = c.server_id
            WHERE c.system_id = %(system)s
        )
        SELECT id, name, title, tier, environment, connection_id AS connection, access, to_jsonb(scopes) AS scopes,
               valid_until, certified, 1 AS members
        FROM connected WHERE NOT hidden
        UNION ALL
        SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, count(*) FROM connected WHERE hidden
        ORDER BY name
        """,  # noqa: S608
        {"now": now, "system": system.pk, **seen.params},
    )
    named_agents, hidden_agents = _split(agents)
    named_servers, hidden_servers = _split(servers)
    return answer | {
        "system": _system_reference(system),
        "agents": _without_members(named_agents),
        "servers": _without_members(named_servers),
        "hidden": {"agents": hidden_agents, "servers": hidden_servers},
    }


Cut = Literal["server", "grant", "connection"]
_CUTS: Mapping[Cut, str] = {"server": "{0}.server_id", "grant": "{0}.grant_id", "connection": "{0}.connection_id"}


def losses(actor: Actor, *, cut: Cut, id: UUID, now: datetime) -> tuple[list[dict[str, Any]], int]:
    """What each agent loses when a server, a grant or a connection is cut, and how many agents stay unnamed.

    Per agent: `tools` (of the server, unless only a connection is cut), `loses` (systems it then no longer
    reaches), `keeps` (systems it still reaches another way) and `hidden_losses`.
    """
    seen = _Seen(actor)
    column = _CUTS[cut]
    # Cutting a connection concerns only who has a path through it; an agent without systems still loses its tools.
    join = "JOIN" if cut == "connection" else "LEFT JOIN"
    rows = _fetch(
        f"""
        WITH {_LIVE}, path AS NOT MATERIALIZED (
            SELECT g.id AS grant_id, g.agent_id, g.server_id, g.tools, g.all_tools, g.on_behalf_of, g.behalf_detail,
                   c.id AS connection_id, c.system_id
            FROM live_grant g {join} live_connection c ON c.server_id = g.server_id
        ), cut AS MATERIALIZED (
            SELECT g.*, g.system_id IS NOT NULL AND NOT EXISTS (
                       SELECT 1 FROM path other
                       WHERE other.agent_id = g.agent_id AND other.system_id = g.system_id
                         AND {column.format("other")} <> %(cut)s
                   ) AS lost
            FROM path g WHERE {column.format("g")} = %(cut)s
        ), named AS (
            SELECT g.*, {_TOOLS} AS tool_names, a.name, o.name AS owner,
                   {seen.hidden(Agent, "a")} AS agent_hidden, y.name AS system_name, y.data_class,
                   coalesce({seen.hidden(System, "y")}, false) AS system_hidden
            FROM cut g
            JOIN catalog_agent a ON a.id = g.agent_id
            LEFT JOIN accounts_user o ON o.id = a.owner_id
            LEFT JOIN catalog_system y ON y.id = g.system_id
        )
        SELECT CASE WHEN agent_hidden THEN NULL ELSE agent_id END AS id,
               min(name) AS name, min(owner) AS owner, min(on_behalf_of) AS on_behalf_of,
               min(behalf_detail) AS behalf_detail, bool_or(all_tools) AS all_tools,
               (array_agg(tool_names))[1] AS tools,
               coalesce(jsonb_agg(jsonb_build_object('id', system_id, 'name', system_name, 'data_class', data_class)
                   ORDER BY system_name) FILTER (WHERE lost AND NOT system_hidden), '[]') AS loses,
               coalesce(jsonb_agg(jsonb_build_object('id', system_id, 'name', system_name, 'data_class', data_class)
                   ORDER BY system_name) FILTER (WHERE system_id IS NOT NULL AND NOT lost AND NOT system_hidden),
                   '[]') AS keeps,
               count(*) FILTER (WHERE lost AND system_hidden) AS hidden_losses,
               count(DISTINCT agent_id) AS members
        FROM named GROUP BY 1 ORDER BY name, id
        """,  # noqa: S608
        {"now": now, "cut": id, **seen.params},
    )
    named, hidden = _split(rows)
    return _without_members(named), hidden


def blast_radius(actor: Actor, server: Server, *, now: datetime | None = None) -> dict[str, Any]:
    """What is touched when `server` misbehaves or is cut: agents and what each loses, systems, people, data."""
    require(actor, "trust.view")
    now = now or clock.now()
    seen = _Seen(actor)
    params = {"now": now, "server": server.pk, **seen.params}
    answer = _answer(now)
    agents, hidden_agents = losses(actor, cut="server", id=server.pk, now=now)
    systems = _fetch(
        f"""
        WITH {_LIVE}, reached AS (
            SELECT y.*, {seen.hidden(System, "y")} AS hidden, c.id AS connection_id, c.access, c.scopes, c.certified,
                   NOT EXISTS (SELECT 1 FROM live_connection other
                               WHERE other.system_id = c.system_id AND other.server_id <> c.server_id) AS sole_path
            FROM live_connection c JOIN catalog_system y ON y.id = c.system_id
            WHERE c.server_id = %(server)s
        )
        SELECT id, name, kind, environment, data_class, connection_id AS connection, access,
               to_jsonb(scopes) AS scopes, certified, sole_path, 1 AS members
        FROM reached WHERE NOT hidden
        UNION ALL
        SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, count(*) FROM reached WHERE hidden
        ORDER BY name
        """,  # noqa: S608
        params,
    )
    people = _people(
        f"""
        SELECT s.owner_id AS person_id, 'owns the server' AS because FROM catalog_server s WHERE s.id = %(server)s
        UNION SELECT s.deputy_id, 'deputises for its owner' FROM catalog_server s WHERE s.id = %(server)s
        UNION SELECT a.owner_id, 'owns the agent ' || a.name
            FROM live_grant g JOIN catalog_agent a ON a.id = g.agent_id
            WHERE g.server_id = %(server)s AND NOT {seen.hidden(Agent, "a")}
        UNION SELECT y.owner_id, 'owns the system ' || y.name
            FROM live_connection c JOIN catalog_system y ON y.id = c.system_id
            WHERE c.server_id = %(server)s AND NOT {seen.hidden(System, "y")}
        """,  # noqa: S608
        params,
    )
    data = _data_classes("c.server_id = %(server)s", params)
    named_systems, hidden_systems = _split(systems)
    return answer | {
        "server": _server_reference(server),
        "agents": agents,
        "systems": _without_members(named_systems),
        "people": people,
        "data_classes": data,
        "hidden": {"agents": hidden_agents, "systems": hidden_systems},
        "counts": {
            "agents": len(agents) + hidden_agents,
            "systems": len(named_systems) + hidden_systems,
            "people": len(people),
        },
    }


def agent_blast_radius(actor: Actor, agent: Agent, *, now: datetime | None = None) -> dict[str, Any]:
    """What is touched when `agent` misbehaves: everything it may reach, whose that is, and which data."""
    now = now or clock.now()
    answer = reach(actor, agent, now=now)
    seen = _Seen(actor)
    params = {"now": now, "agent": agent.pk, **seen.params}
    people = _people(
        f"""
        SELECT a.owner_id AS person_id, 'owns the agent' AS because FROM catalog_agent a WHERE a.id = %(agent)s
        UNION SELECT s.owner_id, 'owns the server ' || s.name
            FROM live_grant g JOIN catalog_server s ON s.id = g.server_id
            WHERE g.agent_id = %(agent)s AND NOT {seen.hidden(Server, "s")}
        UNION SELECT y.owner_id, 'owns the system ' || y.name
            FROM live_grant g JOIN live_connection c ON c.server_id = g.server_id
            JOIN catalog_system y ON y.id = c.system_id
            WHERE g.agent_id = %(agent)s AND NOT {seen.hidden(System, "y")}
        """,  # noqa: S608
        params,
    )
    data = _data_classes("c.server_id IN (SELECT server_id FROM live_grant WHERE agent_id = %(agent)s)", params)
    return answer | {
        "people": people,
        "data_classes": data,
        "counts": {
            "servers": len(answer["servers"]) + answer["hidden"]["servers"],
            "systems": len(answer["systems"]) + answer["hidden"]["systems"],
            "people": len(people),
        },
    }


def _people(sql: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    return _fetch(
        f"""
        WITH {_LIVE}, concerned AS ({sql})
        SELECT u.id, u.name, u.email, array_agg(DISTINCT because ORDER BY because) AS because
        FROM concerned JOIN accounts_user u ON u.id = concerned.person_id
        GROUP BY u.id, u.name, u.email ORDER BY u.name, u.id
        """,  # noqa: S608
        params,
    )


def _data_classes(condition: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How many systems of each data class are reached, worst first. Counts also what stays unnamed."""
    return _fetch(
        f"""
        WITH {_LIVE}
        SELECT y.data_class, count(DISTINCT y.id) AS systems
        FROM live_connection c JOIN catalog_system y ON y.id = c.system_id WHERE {condition}
        GROUP BY 1 ORDER BY array_position({_DATA}, y.data_class::text) DESC
        """,  # noqa: S608
        params,
    )


def _without_members(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row in rows:
        row.pop("members", None)
    return rows


def _agent_reference(agent: Agent) -> dict[str, Any]:
    return {"id": agent.pk, "name": agent.name, "spiffe_id": agent.spiffe_id, "client_id": agent.client_id}


def _server_reference(server: Server) -> dict[str, Any]:
    return {"id": server.pk, "name": server.name, "title": server.title, "tier": server.tier}


def _system_reference(system: System) -> dict[str, Any]:
    return {"id": system.pk, "name": system.name, "data_class": system.data_class}


# --- One relationship ------------------------------------------------------------------------------------


def versions(relationship: Model) -> QuerySet[Any]:
    """Every version between the same two ends, newest first."""
    lineage = relationship.lineage  # type: ignore[attr-defined]
    rows = type(relationship)._default_manager.filter(lineage=lineage)
    return rows.select_related("requested_by", "decided_by").order_by("-id")

"""What a reviewer decides on: the material facts of a subject, and what surrounds them.

`facts` are material: their SHA-256 is the fingerprint, and a change of it ends certification. They name things by
id, so that renaming a person or a system is not a change. `context` is what a reviewer also wants to see (names,
descriptions, last rotation, who depends on it) and may change without consequence. Both are frozen in an item.

Nothing here depends on the clock: the same rows always give the same bytes.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db.models import Count

from registry.catalog.models import Endpoint, Purpose, RevocationStep, SecretSource, Server, Tool
from registry.catalog.states import Lifecycle
from registry.core.canonical import digest
from registry.trust.models import Connection, Grant
from registry.trust.states import HELD, Status

ACCESS_LADDER = (Connection.Access.READ, Connection.Access.WRITE, Connection.Access.ADMIN)
Json = dict[str, Any]


@dataclass(frozen=True)
class Evidence:
    """`in_place` is False when there is nothing left to certify: revoked, expired, retired, withdrawn."""

    subject: Any
    label: str
    tier: str
    in_place: bool
    facts: Json
    context: Json

    @property
    def snapshot(self) -> Json:
        return {"facts": self.facts, "context": self.context}

    @cached_property
    def fingerprint(self) -> str:
        return digest(self.facts)

    @cached_property
    def evidence_hash(self) -> str:
        return digest(self.snapshot)


def collect(kind: str, ids: Iterable[UUID]) -> dict[UUID, Evidence]:
    """Evidence of many subjects of one kind; the number of queries does not grow with theirs."""
    wanted = list(ids)
    match kind:
        case "server":
            servers = _servers(wanted)
            return {pk: servers.evidence(pk) for pk in wanted}
        case "grant":
            grants = Grant.objects.select_related("agent__owner", "agent__issuer", "purpose", "requested_by").in_bulk(
                wanted
            )
            servers = _servers({grant.server_id for grant in grants.values()})
            return {pk: _of_grant(grants[pk], servers) for pk in wanted}
        case "connection":
            connections = Connection.objects.select_related("system__owner", "secret_source", "requested_by").in_bulk(
                wanted
            )
            servers = _servers({connection.server_id for connection in connections.values()})
            return {pk: _of_connection(connections[pk], servers) for pk in wanted}
    raise ValueError(f"{kind} is not reviewed")


def evidence_of(subject: Any) -> Evidence:
    """The present evidence of one server, grant or connection."""
    kind = "server" if isinstance(subject, Server) else subject.kind
    return collect(kind, [subject.pk])[subject.pk]


def reducible(snapshot: Json) -> list[str]:
    """What a reduction may keep, as the atoms `Decision.kept` is made of: tools, or `access:read` and scopes."""
    facts = snapshot["facts"]
    if facts["kind"] == "grant":
        return [tool["name"] for tool in facts["tools"]]
    if facts["kind"] == "connection":
        ladder = [str(level) for level in ACCESS_LADDER]
        held = ladder[: ladder.index(facts["access"]) + 1]
        return [*(f"access:{level}" for level in held), *facts["scopes"]]
    return []


# --- The parts of servers, read for many at once ---------------------------------------------------------


class _Servers:
    """Servers with their parts, loaded in a fixed number of queries."""

    def __init__(self, ids: Iterable[UUID]) -> None:
        self.rows: dict[UUID, Server] = Server.objects.select_related("owner", "deputy", "team").in_bulk(list(ids))
        self.endpoints = self._parts(Endpoint.objects.filter(retired_at=None).order_by("canonical_uri"))
        self.tools = self._parts(Tool.objects.filter(retired_at=None).order_by("name"))
        self.sources = self._parts(SecretSource.objects.filter(retired_at=None).order_by("kind", "reference", "name"))
        self.steps = self._parts(RevocationStep.objects.filter(retired_at=None).order_by("position"))
        self.purposes = self._parts(Purpose.objects.order_by("server_id", "-number").distinct("server_id"))
        self.connections = self._parts(
            Connection.objects.filter(status__in=[*HELD, Status.REQUESTED])
            .select_related("system__owner", "secret_source")
            .order_by("system_id", "id")
        )
        self.agents = self._agents()
        self.shared = self._sharing()

    def _parts(self, queryset: Any) -> dict[UUID, list[Any]]:
        parts: dict[UUID, list[Any]] = defaultdict(list)
        for part in queryset.filter(server__in=self.rows):
            parts[part.server_id].append(part)
        return parts

    def _agents(self) -> dict[UUID, int]:
        counted = Grant.objects.filter(server__in=self.rows, status__in=HELD).values("server").annotate(n=Count("pk"))
        return {row["server"]: row["n"] for row in counted}

    def _sharing(self) -> dict[tuple[str, str], int]:
        """How many servers name the same credential, by kind and reference."""
        references = {source.reference for parts in self.sources.values() for source in parts if source.reference}
        counted = (
            SecretSource.objects.filter(reference__in=references, retired_at=None)
            .values("kind", "reference")
            .annotate(n=Count("server", distinct=True))
        )
        return {(row["kind"], row["reference"]): row["n"] for row in counted}

    def downstream(self, pk: UUID) -> list[Connection]:
        """What the server reaches: of a registration also what it asks for, because activating approves that."""
        asking = self.rows[pk].lifecycle in (Lifecycle.DRAFT, Lifecycle.SUBMITTED)
        held = [each for each in self.connections[pk] if each.status in HELD]
        return held + [each for each in self.connections[pk] if asking and each.status == Status.REQUESTED]

    def reach(self, pk: UUID) -> list[Json]:
        return sorted(
            (
                {
                    "system": str(connection.system_id),
                    "data_class": connection.system.data_class,
                    "environment": connection.system.environment,
                    "access": connection.access,
                    "scopes": sorted(connection.scopes),
                    "secret_source": _source_id(connection.secret_source),
                }
                for connection in self.downstream(pk)
            ),
            key=lambda row: str(row["system"]),
        )

    def names(self, pk: UUID) -> dict[str, str]:
        """Names at this moment of everything the facts mention by id."""
        server = self.rows[pk]
        people = [server.owner, server.deputy, server.team]
        systems = [connection.system for connection in self.downstream(pk)]
        return {str(thing.pk): str(thing) for thing in [*people, *systems] if thing is not None}

    def tool_notes(self, pk: UUID, names: Iterable[str] | None = None) -> list[Json]:
        wanted = None if names is None else set(names)
        return [
            {
                "name": tool.name,
                "title": tool.title,
                "description": tool.description[:300],
                "claimed_class": tool.claimed_class,
                "confirmed_class": tool.confirmed_class,
                "approved": tool.approved,
            }
            for tool in self.tools[pk]
            if wanted is None or tool.name in wanted
        ]

    def surroundings(self, pk: UUID) -> Json:
        """What a reviewer sees of the server behind any subject."""
        server = self.rows[pk]
        purpose = next(iter(self.purposes[pk]), None)
        return {
            "server": {
                "id": str(pk),
                "name": server.name,
                "label": server.label,
                "short": server.name.rpartition("/")[2],
                "title": server.title,
                "description": server.description,
                "release": server.release,
                "environment": server.environment,
                "tier": server.tier,
                "tier_factors": server.tier_factors,
                "owner": server.owner.name if server.owner else "",
                "owner_active": bool(server.owner and server.owner.is_active),
                "deputy": server.deputy.name if server.deputy else "",
                "team": server.team.name if server.team else "",
                "agents": self.agents.get(pk, 0),
                "tool_count": len(self.tools[pk]),
            },
            "secrets": [
                {
                    "kind": source.kind,
                    "shown": str(source.get_kind_display()),
                    "reference": source.reference,
                    "reason": source.reason,
                    "credential_type": source.credential_type,
                    "rotation_interval_days": source.rotation_interval_days,
                    "last_rotated_on": source.last_rotated_on.isoformat() if source.last_rotated_on else None,
                    "revocable_by": source.revocable_by,
                    "servers_sharing": self.shared.get((source.kind, source.reference), 1) - 1,
                }
                for source in self.sources[pk]
            ],
            "revocation": {
                "steps": len(self.steps[pk]),
                "minutes": sum(step.expected_minutes for step in self.steps[pk]),
                "path": [
                    {
                        "instruction": step.instruction,
                        "executor": step.executor,
                        "responsible": step.responsible,
                        "minutes": step.expected_minutes,
                    }
                    for step in self.steps[pk]
                ],
            },
            "purpose": _purpose(purpose),
            "connections": [
                {
                    "id": str(connection.pk),
                    "system": str(connection.system_id),
                    "name": connection.system.name,
                    "kind": connection.system.kind,
                    "data_class": connection.system.data_class,
                    "environment": connection.system.environment,
                    "access": connection.access,
                    "scopes": sorted(connection.scopes),
                    "status": connection.status,
                    "owner": connection.system.owner.name if connection.system.owner else "",
                    "reason": connection.reason,
                    "valid_until": connection.valid_until.isoformat(),
                }
                for connection in self.downstream(pk)
            ],
        }

    def evidence(self, pk: UUID) -> Evidence:
        server = self.rows[pk]
        facts: Json = {
            "kind": "server",
            "name": server.name,
            "environment": server.environment,
            "owner": _id(server.owner_id),
            "deputy": _id(server.deputy_id),
            "team": _id(server.team_id),
            "endpoints": [
                {"uri": endpoint.canonical_uri, "transport": endpoint.transport, "sha256": endpoint.package_sha256}
                for endpoint in self.endpoints[pk]
            ],
            "tools": [_tool(tool) for tool in self.tools[pk]],
            "purpose": _purpose(next(iter(self.purposes[pk]), None)),
            "secret_sources": [_source(source) for source in self.sources[pk]],
            "revocation": [
                {"instruction": step.instruction, "executor": step.executor, "responsible": step.responsible}
                for step in self.steps[pk]
            ],
            "downstream": self.reach(pk),
        }
        context = {**self.surroundings(pk), "names": self.names(pk), "tools": self.tool_notes(pk)}
        in_place = server.lifecycle in (Lifecycle.SUBMITTED, Lifecycle.ACTIVE, Lifecycle.SUSPENDED)
        return Evidence(server, server.name, server.tier, in_place, facts, context)


def _servers(ids: Iterable[UUID]) -> _Servers:
    return _Servers(set(ids))


def _of_grant(grant: Grant, servers: _Servers) -> Evidence:
    server = servers.rows[grant.server_id]
    listed = {tool.name: tool for tool in servers.tools[grant.server_id]}
    names = sorted(listed) if grant.all_tools else sorted(grant.tools)
    facts: Json = {
        "kind": "grant",
        "agent": str(grant.agent_id),
        "agent_identity": grant.agent.identity,
        "agent_owner": _id(grant.agent.owner_id),
        "agent_environment": grant.agent.environment,
        "server": str(grant.server_id),
        "all_tools": grant.all_tools,
        # A granted tool the server no longer lists stays in the facts: the grant still says it.
        "tools": [
            _tool(listed[name]) if name in listed else {"name": name, "digest": "", "class": ""} for name in names
        ],
        "purpose": _id(grant.purpose_id),
        "on_behalf_of": grant.on_behalf_of,
        "behalf_detail": grant.behalf_detail,
        "max_token_lifetime_seconds": grant.max_token_lifetime_seconds,
        "valid_until": grant.valid_until.isoformat(),
        "downstream": servers.reach(grant.server_id),
    }
    agent = grant.agent
    context = {
        **servers.surroundings(grant.server_id),
        "names": {
            **servers.names(grant.server_id),
            str(agent.pk): agent.name,
            str(server.pk): server.name,
            **({str(agent.owner_id): str(agent.owner)} if agent.owner else {}),
        },
        "tools": servers.tool_notes(grant.server_id, names),
        "agent": {
            "id": str(agent.pk),
            "name": agent.name,
            "kind": agent.kind,
            "identity": agent.identity,
            "owner": agent.owner.name if agent.owner else "",
            "owner_active": bool(agent.owner and agent.owner.is_active),
        },
        "reason": grant.reason,
        "requested_by": grant.requested_by.name if grant.requested_by else "",
        "status": grant.status,
    }
    return Evidence(grant, f"{agent.name} → {server.label}", server.tier, grant.status in HELD, facts, context)


def _of_connection(connection: Connection, servers: _Servers) -> Evidence:
    server, system = servers.rows[connection.server_id], connection.system
    facts: Json = {
        "kind": "connection",
        "server": str(server.pk),
        "system": str(system.pk),
        "system_owner": _id(system.owner_id),
        "data_class": system.data_class,
        "environment": system.environment,
        "access": connection.access,
        "scopes": sorted(connection.scopes),
        "secret_source": _source(connection.secret_source) if connection.secret_source else None,
        "valid_until": connection.valid_until.isoformat(),
    }
    context = {
        **servers.surroundings(server.pk),
        "names": {
            **servers.names(server.pk),
            str(system.pk): system.name,
            str(server.pk): server.name,
            **({str(system.owner_id): str(system.owner)} if system.owner else {}),
        },
        "tools": servers.tool_notes(server.pk),
        "system": {
            "id": str(system.pk),
            "name": system.name,
            "kind": system.kind,
            "owner": system.owner.name if system.owner else "",
        },
        "reason": connection.reason,
        "requested_by": connection.requested_by.name if connection.requested_by else "",
        "status": connection.status,
    }
    label = f"{server.label} → {system.name}"
    return Evidence(connection, label, server.tier, connection.status in HELD, facts, context)


# --- Shapes of single facts ------------------------------------------------------------------------------


def _id(value: UUID | None) -> str | None:
    return str(value) if value else None


def _tool(tool: Tool) -> Json:
    return {"name": tool.name, "digest": tool.digest, "class": tool.effective_class}


def _source_id(source: SecretSource | None) -> Json | None:
    return {"kind": source.kind, "reference": source.reference} if source else None


def _source(source: SecretSource) -> Json:
    return {
        "kind": source.kind,
        "reference": source.reference,
        "name": source.name,
        "credential_type": source.credential_type,
        "max_lifetime_seconds": source.max_lifetime_seconds,
        "rotation_interval_days": source.rotation_interval_days,
    }


def _purpose(purpose: Purpose | None) -> Json | None:
    if purpose is None:
        return None
    return {
        "statement": purpose.statement,
        "in_scope": purpose.in_scope,
        "out_of_scope": purpose.out_of_scope,
        "data_classes": purpose.data_classes,
        "ends_on": purpose.ends_on.isoformat(),
    }

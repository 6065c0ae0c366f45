"""From relationships to the trust path that `picture` draws: what stands in each box, and which edge is red."""

from collections.abc import Iterable
from typing import Any

from django.urls import reverse
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.catalog.models import DataClass, SecretSource, Server
from registry.core import clock
from registry.core.actors import Actor
from registry.core.icons import Icon
from registry.trust.models import Connection, Grant
from registry.trust.picture import AgentEdge, Node, SystemEdge, TrustPath
from registry.trust.states import Status

SENSITIVE = (DataClass.CONFIDENTIAL, DataClass.RESTRICTED)
SYSTEM_ICONS = {
    "database": Icon.DATABASE,
    "ticketing": Icon.TICKET,
    "repository": Icon.FOLDER_GIT,
    "cloud": Icon.CLOUD,
    "storage": Icon.HARD_DRIVE,
    "messaging": Icon.MESSAGES_SQUARE,
    "saas": Icon.PLUG,
    "internal": Icon.BRACES,
    "host": Icon.TERMINAL,
    "web": Icon.GLOBE,
}


def of_server(actor: Actor, server: Server) -> TrustPath:
    """Everything open around `server` that `actor` may see; the rest is counted."""
    grants = Grant.objects.current().filter(server=server)
    connections = Connection.objects.current().filter(server=server)
    seen_grants = list(grants.visible_to(actor).select_related("agent").order_by("agent__name", "-status"))
    seen_connections = list(
        connections.visible_to(actor).select_related("system", "secret_source").order_by("system__name", "-status")
    )
    return TrustPath(
        server=_server_node(server),
        agents=_agent_edges(seen_grants),
        systems=_system_edges(seen_connections),
        secrets=[_secret_node(source) for source in server.secret_sources.filter(retired_at=None)],
        hidden_agents=grants.values("agent").distinct().count() - len({grant.agent_id for grant in seen_grants}),
        hidden_systems=connections.values("system").distinct().count()
        - len({connection.system_id for connection in seen_connections}),
        id=f"path-{server.pk.hex[-8:]}",
    )


def of_relationship(actor: Actor, thing: Any) -> TrustPath:
    """A relationship in its place: for a grant what the agent gains, for a connection who gains it."""
    around = of_server(actor, thing.server)
    if isinstance(thing, Grant):
        edge = _agent_edges([thing])
        return TrustPath(around.server, edge, around.systems, around.secrets, 0, around.hidden_systems, around.id)
    return TrustPath(
        around.server,
        around.agents,
        _system_edges([thing]),
        [_secret_node(thing.secret_source)] if thing.secret_source else [],
        around.hidden_agents,
        0,
        around.id,
    )


def _server_node(server: Server) -> Node:
    tools = server.tools.filter(retired_at=None).count()
    words = ngettext("%(n)d tool", "%(n)d tools", tools) % {"n": tools} if tools else _("no tools listed")
    return Node(server.label, words, Icon.SERVER, reverse("catalog:server", args=[server.pk]), "me", mono=True)


def _pending(thing: Any) -> bool:
    return bool(thing.status != Status.ACTIVE)


def _latest(things: Iterable[Any], end: str) -> list[Any]:
    """One edge per end: what is held, rather than a request to replace it."""
    held: dict[Any, Any] = {}
    for thing in things:
        other = held.get(getattr(thing, end))
        if other is None or (other.status == Status.REQUESTED and thing.status != Status.REQUESTED):
            held[getattr(thing, end)] = thing
    return list(held.values())


def _agent_edges(grants: Iterable[Grant]) -> list[AgentEdge]:
    edges = []
    for grant in _latest(grants, "agent_id"):
        tools = (
            _("every tool")
            if grant.all_tools
            else ngettext("%(n)d tool", "%(n)d tools", len(grant.tools)) % {"n": len(grant.tools)}
        )
        whose = grant.behalf_detail or grant.get_on_behalf_of_display().lower()
        words = f"{grant.get_status_display()}, {tools}" if _pending(grant) else f"{tools}, {whose}"
        node = Node(
            grant.agent.name, words, Icon.BOT, reverse("trust:grant", args=[grant.pk]), "amb" if grant.all_tools else ""
        )
        edges.append(AgentEdge(node, _pending(grant)))
    return edges


def _system_edges(connections: Iterable[Connection]) -> list[SystemEdge]:
    edges = []
    for connection in _latest(connections, "system_id"):
        system = connection.system
        hot = connection.access != Connection.Access.READ and system.data_class in SENSITIVE
        label = {
            Connection.Access.READ: _("read"),
            Connection.Access.WRITE: _("read, write"),
            Connection.Access.ADMIN: _("administer"),
        }[Connection.Access(connection.access)]
        node = Node(
            system.name,
            f"{system.get_kind_display()}, {system.get_data_class_display()}",
            SYSTEM_ICONS[system.kind],
            reverse("trust:connection", args=[connection.pk]),
            ("amb" if _pending(connection) else "hot") if hot else "",
        )
        edges.append(SystemEdge(node, label, hot, _pending(connection)))
    return edges


def _secret_node(source: SecretSource) -> Node:
    if source.kind == SecretSource.Kind.NONE:
        return Node(_("No credential"), "", Icon.KEY_ROUND)
    words = source.get_credential_type_display()
    if source.last_rotated_on:
        words = _("rotated %(ago)s ago") % {"ago": timesince(source.last_rotated_on, clock.today(), depth=1)}
    return Node(f"{source.kind}:{source.reference}", words, Icon.KEY_ROUND, mono=True)

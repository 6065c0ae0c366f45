"""Reads that span rooms: what waits for a person, search over everything, and how far a registration is."""

from typing import Any

from django.db.models import QuerySet

from registry.catalog.models import Server
from registry.catalog.queries import completeness
from registry.core.actors import Actor
from registry.trust.models import Connection


def open_connections(actor: Actor, server: Server) -> QuerySet[Connection]:
    """What the server may act on, or asked to."""
    return (
        Connection.objects.visible_to(actor)
        .current()
        .filter(server=server)
        .select_related("system", "secret_source", "server")
        .order_by("system__name", "created_at")
    )


def steps_done(server: Server) -> set[str]:
    """The steps of the registration that lack nothing a submission or a reviewer would ask for."""
    report = completeness(server)
    tools = list(server.tools.filter(retired_at=None).values_list("confirmed_class", flat=True))
    done = {
        "identity": report["reach"].answered,
        "people": server.owner_id is not None and server.deputy_id is not None and server.team_id is not None,
        "purpose": report["purpose"].answered,
        "tools": bool(tools) and all(tools),
        "systems": Connection.objects.current().filter(server=server).exists(),
        "secrets": report["credentials"].answered,
        "revocation": report["revocation"].answered,
        "check": report.complete,
    }
    return {step for step, answered in done.items() if answered}


def secret_hints(server: Server) -> list[dict[str, Any]]:
    """Rows to start from: the inputs the publisher declared as secret, by name. There is never a value."""
    names = {
        str(declared.get("name", ""))
        for inputs in server.endpoints.filter(retired_at=None).values_list("inputs", flat=True)
        for declared in inputs
        if declared.get("secret")
    }
    return [{"name": name} for name in sorted(names) if name]

"""Acts that span rooms: each composes services of the rooms below in one transaction and adds no rule of its own."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from typing import Any

from django.db import transaction
from django.utils import timezone

from registry.catalog.models import Server, System
from registry.catalog.services import (
    EndpointFacts,
    SecretSourceFacts,
    canonical_uri,
    register_server,
    register_system,
    set_endpoints,
    set_secret_sources,
    set_tools,
    update_identity,
)
from registry.core.actors import Actor
from registry.core.errors import Invalid
from registry.core.permissions import require
from registry.discovery.entries import Entry
from registry.trust.models import Connection
from registry.trust.services import connect_secret_source, request_connection


def end_of_day(day: date) -> datetime:
    """The last moment of a day in the registry's time zone: "until 30 June" includes the 30th."""
    return timezone.make_aware(datetime.combine(day, time(23, 59, 59)))


@transaction.atomic
def register_from_entry(*, actor: Actor, entry: Entry) -> Server:
    """Start a draft from a published entry: identity, endpoints, declared inputs and tools.

    Raises `Invalid` for a taken or malformed name, `SecretRefused` when the entry carries a secret value.
    """
    require(actor, "catalog.register_server")
    server = register_server(
        actor=actor,
        name=entry.name,
        title=entry.title,
        description=entry.description,
        release=entry.release,
        website_url=entry.website_url,
        repository_url=entry.repository_url,
        endpoints=entry.endpoints,
    )
    if entry.tools:
        server = set_tools(actor=actor, server=server, tools=entry.tools)
    return server


@transaction.atomic
def save_identity(
    *,
    actor: Actor,
    server: Server | None,
    facts: Mapping[str, Any],
    endpoints: Sequence[EndpointFacts],
    expected_version: str | None = None,
) -> Server:
    """Register a draft, or change the identity and the endpoints of a known server together."""
    if server is None:
        require(actor, "catalog.register_server")
        return register_server(actor=actor, endpoints=endpoints, **facts)
    require(actor, "catalog.edit_server", server)
    server = update_identity(actor=actor, server=server, expected_version=expected_version, **facts)
    return set_endpoints(actor=actor, server=server, endpoints=_with_known_inputs(server, endpoints))


def _with_known_inputs(server: Server, endpoints: Sequence[EndpointFacts]) -> list[EndpointFacts]:
    """A form does not show the inputs a publisher declared; an endpoint that stays keeps them."""
    known = {each.canonical_uri: each.inputs for each in server.endpoints.filter(retired_at=None)}
    return [{**each, "inputs": known.get(canonical_uri(each), [])} for each in endpoints]


@transaction.atomic
def connect_system(
    *,
    actor: Actor,
    server: Server,
    system: System | None,
    new_system: Mapping[str, Any] | None,
    access: str,
    scopes: Sequence[str],
    valid_until: date,
    reason: str,
) -> Connection:
    """Request that `server` may act on a system; a system nobody registered yet is registered on the way.

    `new_system`: name, kind, data_class; it gets the server's environment, and no owner until somebody names one.
    """
    require(actor, "catalog.edit_server", server)
    if system is None:
        try:
            system = register_system(actor=actor, environment=server.environment, **(new_system or {}))
        except Invalid as error:
            raise type(error)(
                error.message, fields={f"new_{name}": said for name, said in error.fields.items()}
            ) from error
    return request_connection(
        actor=actor,
        server=server,
        system=system,
        access=access,
        scopes=scopes,
        reason=reason,
        valid_until=end_of_day(valid_until),
    )


@transaction.atomic
def save_secret_sources(
    *,
    actor: Actor,
    server: Server,
    sources: Sequence[SecretSourceFacts],
    used_for: Sequence[Sequence[str]],
    expected_version: str | None = None,
) -> Server:
    """Document the secret sources, and which connections use which.

    `used_for`: per source, the ids of its connections. A connection left to nobody gets the only source there is.
    """
    require(actor, "catalog.edit_server", server)
    server = set_secret_sources(actor=actor, server=server, sources=sources, expected_version=expected_version)
    stored = {
        (source.kind, source.reference, source.name): source for source in server.secret_sources.filter(retired_at=None)
    }
    chosen = {
        connection_id: stored[facts["kind"], facts.get("reference", ""), facts.get("name", "")]
        for facts, connection_ids in zip(sources, used_for, strict=True)
        for connection_id in connection_ids
    }
    only = next(iter(stored.values())) if len(stored) == 1 else None
    for connection in Connection.objects.visible_to(actor).current().filter(server=server):
        source = chosen.get(str(connection.pk)) or only
        if source is not None and source.pk != connection.secret_source_id:
            connect_secret_source(actor=actor, connection=connection, secret_source=source)
    return server

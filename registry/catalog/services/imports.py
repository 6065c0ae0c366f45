"""A published entry becomes a draft."""

from collections.abc import Sequence
from typing import Literal

from django.db import transaction

from registry.audit.services import record
from registry.catalog.events import (
    ServerChanged,
)
from registry.catalog.models import (
    Server,
)
from registry.catalog.services.facts import EndpointFacts, ImportOutcome, ToolFacts
from registry.catalog.services.parts import write_endpoints, write_tools
from registry.catalog.services.shared import validated
from registry.catalog.services.visibility import settle_visibility
from registry.catalog.states import Lifecycle
from registry.core.actors import Actor
from registry.core.events import publish
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets


@transaction.atomic
def import_server(
    *,
    actor: Actor,
    name: str,
    title: str = "",
    description: str = "",
    release: str = "",
    website_url: str = "",
    repository_url: str = "",
    endpoints: Sequence[EndpointFacts] = (),
    tools: Sequence[ToolFacts] = (),
    source: str,
    digest: str,
) -> ImportOutcome:
    """Create a draft from a published entry, or bring an untouched draft up to date.

    `digest` identifies the entry: the same one again changes nothing. A server beyond draft is skipped, for
    a file never changes what people approved. Raises `Invalid` or `SecretRefused` like the acts it stands for.
    """
    require(actor, "catalog.register_server")
    facts = {
        "title": title[:100],
        "description": description,
        "release": release,
        "website_url": website_url,
        "repository_url": repository_url,
    }
    refuse_secrets({"name": name, **facts})
    server = Server.objects.select_for_update(of=("self",)).filter(name=name).first()
    if server is not None:
        if server.import_digest == digest:
            return ImportOutcome("skipped", server, ["unchanged"])
        if server.lifecycle != Lifecycle.DRAFT:
            return ImportOutcome("skipped", server, [f"is {server.lifecycle}; change it in the registry"])
        if not server.import_digest:
            return ImportOutcome("skipped", server, ["was registered by hand; its draft is left alone"])
        if server.owner_id is not None:
            return ImportOutcome("skipped", server, ["somebody works on this draft already"])
    outcome: Literal["imported", "updated"] = "imported" if server is None else "updated"
    server = server or Server(name=name, created_by=actor.user)
    for key, value in facts.items():
        setattr(server, key, value)
    server.import_source, server.import_digest = source[:300], digest
    settle_visibility(server)
    validated(server).save()
    write_endpoints(server, endpoints)
    write_tools(server, tools)
    record(actor=actor, act=f"server.{outcome}", subject=server, data={"source": source, "release": release})
    publish(ServerChanged(server_id=server.pk))
    return ImportOutcome(outcome, server, [])

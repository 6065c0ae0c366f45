"""Registering a server, and who answers for what it is for."""

from collections.abc import Sequence
from datetime import date
from types import EllipsisType
from typing import Any

from django.db import transaction

from registry.accounts.models import Team, User
from registry.audit.services import record
from registry.catalog.events import (
    ServerChanged,
)
from registry.catalog.models import (
    DataClass,
    Purpose,
    Server,
)
from registry.catalog.services.facts import EndpointFacts
from registry.catalog.services.parts import write_endpoints
from registry.catalog.services.shared import editable, locked_server, note_change, only_reads, validated
from registry.catalog.services.succession import settle_owner
from registry.catalog.services.visibility import settle_visibility
from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.events import publish
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets

MAX_PURPOSE_DAYS = 730


@transaction.atomic
def register_server(
    *,
    actor: Actor,
    name: str,
    title: str = "",
    description: str = "",
    environment: str = "production",
    release: str = "",
    website_url: str = "",
    repository_url: str = "",
    confidential: bool = False,
    endpoints: Sequence[EndpointFacts] = (),
) -> Server:
    """Start a draft. Raises `Invalid` for a name that is taken or malformed, `SecretRefused` for secret values."""
    require(actor, "catalog.register_server")
    facts = {
        "name": name.strip(),
        "title": title.strip(),
        "description": description.strip(),
        "environment": environment,
        "release": release.strip(),
        "website_url": website_url.strip(),
        "repository_url": repository_url.strip(),
    }
    refuse_secrets(facts)
    server = Server(**facts, created_by=actor.user)
    settle_visibility(server, marked=confidential)
    validated(server).save(force_insert=True)
    write_endpoints(server, endpoints)
    record(actor=actor, act="server.registered", subject=server, data=facts)
    publish(ServerChanged(server_id=server.pk))
    return server


@transaction.atomic
def update_identity(*, actor: Actor, server: Server, expected_version: str | None = None, **facts: Any) -> Server:
    """Change name (drafts only), title, description, environment, release, URLs or the confidential mark."""
    server = editable(actor, server, expected_version)
    allowed = {
        "name", "title", "description", "environment", "release", "website_url", "repository_url", "confidential",
    }  # fmt: skip
    if unknown := set(facts) - allowed:
        raise Invalid(fields={name: ["This cannot be changed here."] for name in unknown})
    if facts.get("name", server.name) != server.name and server.lifecycle != Lifecycle.DRAFT:
        raise Conflict("The name of a server that was activated is final.", fields={"name": ["Final."]})
    refuse_secrets({name: value for name, value in facts.items() if isinstance(value, str)})
    marked = facts.pop("confidential", None)
    before = {name: getattr(server, name) for name in facts}
    for name, value in facts.items():
        setattr(server, name, value.strip() if isinstance(value, str) else value)
    seen = settle_visibility(server, marked=marked)
    validated(server)
    before, after = before | seen.before, {name: getattr(server, name) for name in facts} | seen.after
    if before != after:
        note_change(actor, server, "server.identity_changed", {"before": before, "after": after})
    return server


@transaction.atomic
def assign_people(
    *,
    actor: Actor,
    server: Server,
    owner: User | None,
    deputy: User | None,
    team: Team | None,
    operator: User | EllipsisType | None = ...,
    expected_version: str | None = None,
) -> Server:
    """Name who answers for a server. A new owner has to accept; naming oneself accepts at once.

    `operator` is who runs it day to day, if neither of them does; left as it is when not given.
    """
    server = editable(actor, server, expected_version)
    errors: dict[str, list[str]] = {}
    if owner is not None and owner == deputy:
        errors["deputy"] = ["The deputy must be somebody other than the owner."]
    named = [("owner", owner), ("deputy", deputy)]
    if isinstance(operator, EllipsisType):
        # Who becomes the owner or deputy no longer needs to be named for running it.
        operator = server.operator if server.operator not in (owner, deputy) else None
    elif operator is not None and operator in (owner, deputy):
        errors["operator"] = ["Name somebody only when neither the owner nor the deputy runs it."]
    else:
        named.append(("operator", operator))
    for name, person in named:
        if person is not None and not person.is_active:
            errors[name] = [f"{person} is no longer active."]
        elif person is not None and person.only_reads:
            errors[name] = [only_reads(person)]
    in_use = server.lifecycle != Lifecycle.DRAFT
    if in_use:
        for name, value in (("owner", owner), ("deputy", deputy), ("team", team)):
            if value is None:
                errors[name] = [f"A server in use needs its {name}."]
        if owner is not None and owner.pk != server.owner_id and not actor.is_person(owner.pk):
            errors["owner"] = ["A server in use changes hands by the new owner: they take it over themselves."]
    if errors:
        raise Invalid(fields=errors)
    before = _people_of(server)
    if owner is None or owner.pk != server.owner_id:
        server.owner_accepted_at = None
    server.owner, server.deputy, server.team, server.operator = owner, deputy, team, operator
    seen = settle_visibility(server)
    if owner is not None and server.owner_accepted_at is None and actor.is_person(owner.pk):
        server.owner_accepted_at = clock.now()
    before, after = before | seen.before, _people_of(server) | seen.after
    if before != after or (in_use and server.owner_accepted_at is None):
        note_change(actor, server, "server.people_assigned", {"before": before, "after": after})
        settle_owner(actor, server)
    else:
        server.save()
    return server


def _people_of(server: Server) -> dict[str, Any]:
    return {
        "owner": server.owner_id,
        "deputy": server.deputy_id,
        "team": server.team_id,
        "operator": server.operator_id,
    }


@transaction.atomic
def accept_ownership(*, actor: Actor, server: Server) -> Server:
    server = locked_server(server)
    require(actor, "catalog.accept_ownership", server)
    if server.owner_accepted_at is not None:
        raise Conflict("You accepted ownership already.")
    server.owner_accepted_at = clock.now()
    note_change(actor, server, "server.ownership_accepted")
    settle_owner(actor, server)
    return server


@transaction.atomic
def set_purpose(
    *,
    actor: Actor,
    server: Server,
    statement: str,
    in_scope: Sequence[str],
    out_of_scope: Sequence[str],
    data_classes: Sequence[str],
    ends_on: date | None,
    expected_version: str | None = None,
) -> Purpose:
    """Bound what a server is for. A purpose is immutable: a different one gets the next number."""
    server = editable(actor, server, expected_version)
    facts = {
        "statement": statement.strip(),
        "in_scope": [line.strip() for line in in_scope if line.strip()],
        "out_of_scope": [line.strip() for line in out_of_scope if line.strip()],
        "data_classes": sorted(set(data_classes), key=lambda name: name),
        "ends_on": ends_on,
    }
    refuse_secrets({name: facts[name] for name in ("statement", "in_scope", "out_of_scope")})
    errors: dict[str, list[str]] = {}
    if not facts["statement"]:
        errors["statement"] = ["Say in one or two sentences what this server is for."]
    if not facts["data_classes"]:
        errors["data_classes"] = ["Choose every class of data that may pass through."]
    elif unknown := [name for name in data_classes if name not in DataClass.values]:
        errors["data_classes"] = [f"Not a data class: {', '.join(unknown)}."]
    if ends_on is None:
        errors["ends_on"] = ["Every purpose ends; choose the date on which it must be thought over."]
    elif ends_on <= clock.today():
        errors["ends_on"] = ["Choose a date in the future."]
    elif (ends_on - clock.today()).days > MAX_PURPOSE_DAYS:
        errors["ends_on"] = [f"At most {MAX_PURPOSE_DAYS} days from today."]
    if errors:
        raise Invalid(fields=errors)
    current = server.purpose
    if current is not None and all(getattr(current, name) == value for name, value in facts.items()):
        return current
    purpose = Purpose(server=server, number=current.number + 1 if current else 1, created_by=actor.user, **facts)
    validated(purpose, exclude=["server"]).save(force_insert=True)
    note_change(actor, server, "server.purpose_set", {"number": purpose.number, **facts})
    return purpose

"""Moves of a server through its lifecycle."""

from django.db import transaction
from django.utils.translation import gettext as _

from registry.catalog.events import (
    ServerRetired,
    ServerSubmitted,
    ServerWithdrawn,
)
from registry.catalog.models import (
    Server,
)
from registry.catalog.queries import completeness
from registry.catalog.services.parts import approve_tools
from registry.catalog.services.shared import given_reason, locked_server, note_change
from registry.catalog.states import SERVER, Lifecycle
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, IllegalTransition, Invalid
from registry.core.events import publish
from registry.core.independence import require_decider, require_independent
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.core.step_up import require_recent


def _move(actor: Actor, server: Server, after: Lifecycle, act: str, reason: str = "") -> None:
    before = server.lifecycle
    SERVER.move(server, after, field="lifecycle")
    server.lifecycle_reason = reason
    note_change(actor, server, act, {"before": before, "after": after, "reason": reason})


@transaction.atomic
def submit_server(*, actor: Actor, server: Server, expected_version: str | None = None) -> Server:
    """Hand a draft to an independent reviewer. Raises `Invalid` naming what invariant 1 still lacks."""
    server = locked_server(server, expected_version)
    require(actor, "catalog.edit_server", server)
    SERVER.check(server.lifecycle, Lifecycle.SUBMITTED)
    if missing := completeness(server).missing:
        raise Invalid("The registration is not complete yet.", fields=missing)
    server.submitted_by, server.submitted_at = actor.user, clock.now()
    _move(actor, server, Lifecycle.SUBMITTED, "server.submitted")
    publish(ServerSubmitted(server_id=server.pk))
    return server


@transaction.atomic
def withdraw_server(*, actor: Actor, server: Server, expected_version: str | None = None) -> Server:
    """Take a submitted registration back to draft, to change something."""
    server = locked_server(server, expected_version)
    require(actor, "catalog.edit_server", server)
    _require_submitted(server)
    _move(actor, server, Lifecycle.DRAFT, "server.withdrawn", "Withdrawn by its people.")
    publish(ServerWithdrawn(server_id=server.pk))
    return server


def _require_submitted(server: Server) -> None:
    if server.lifecycle != Lifecycle.SUBMITTED:
        raise IllegalTransition(f"This server is {server.lifecycle}; it does not wait for a reviewer.")


@transaction.atomic
def return_server(*, actor: Actor, server: Server, reason: str) -> Server:
    """Give a submitted registration back with reasons. An independent reviewer's act, called by the intake review."""
    server = locked_server(server)
    require_decider(actor, "catalog.decide_intake", server)
    _require_submitted(server)
    if not reason.strip():
        raise Invalid(fields={"reason": ["Say what has to change."]})
    refuse_secrets({"reason": reason})
    _move(actor, server, Lifecycle.DRAFT, "server.returned", reason.strip())
    return server


@transaction.atomic
def activate_server(*, actor: Actor, server: Server) -> Server:
    """Put a submitted server into service and pin its tools. An independent reviewer's act."""
    server = locked_server(server)
    require_decider(actor, "catalog.decide_intake", server)
    _require_submitted(server)
    if missing := completeness(server).missing:
        raise Conflict("The registration is no longer complete.", fields=missing)
    server.activated_at = clock.now()
    _move(actor, server, Lifecycle.ACTIVE, "server.activated")
    approve_tools(actor=actor, server=server)
    return server


@transaction.atomic
def suspend_server(*, actor: Actor, server: Server, reason: str, expected_version: str | None = None) -> Server:
    """Take a server out of service, reversibly."""
    server = locked_server(server, expected_version)
    require(actor, "catalog.suspend_server", server)
    require_recent(actor, _("Suspend a server"))
    _move(actor, server, Lifecycle.SUSPENDED, "server.suspended", given_reason(reason))
    return server


@transaction.atomic
def resume_server(
    *, actor: Actor, server: Server, reason: str, expected_version: str | None = None, by_review: bool = False
) -> Server:
    """Put a suspended server back into service: approving, hence by somebody independent.

    `by_review`: a review suspended it because nobody answered, and whom reviews let undo that (it has asked) gives it
    back. Independent they must be all the same.
    """
    server = locked_server(server, expected_version)
    if by_review:
        require_independent(actor, server)
    else:
        require_decider(actor, "catalog.resume_server", server)
    if server.lifecycle != Lifecycle.SUSPENDED:
        raise IllegalTransition(f"This server is {server.lifecycle}, not suspended.")
    if missing := completeness(server).missing:
        raise Conflict("The server no longer meets what an active server needs.", fields=missing)
    _move(actor, server, Lifecycle.ACTIVE, "server.resumed", given_reason(reason))
    return server


@transaction.atomic
def retire_server(*, actor: Actor, server: Server, reason: str, expected_version: str | None = None) -> Server:
    """End a server for good. Its history stays."""
    server = locked_server(server, expected_version)
    require(actor, "catalog.retire_server", server)
    require_recent(actor, _("Retire a server"))
    was_submitted = server.lifecycle == Lifecycle.SUBMITTED
    server.retired_at, server.certified_until = clock.now(), None
    _move(actor, server, Lifecycle.RETIRED, "server.retired", given_reason(reason))
    if was_submitted:
        publish(ServerWithdrawn(server_id=server.pk))
    publish(ServerRetired(server_id=server.pk))
    return server

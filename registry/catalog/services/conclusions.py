"""What upper rooms conclude about a server, written down as state on the thing."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.db import models, transaction

from registry.accounts.models import User
from registry.audit.services import build_event, record, record_all
from registry.catalog.events import CertificationsChanged, TierChanged
from registry.catalog.models import (
    Agent,
    Governed,
    SecretSource,
    Server,
    Tier,
)
from registry.catalog.services.shared import given_reason, locked_server, note_change
from registry.core.actors import Actor
from registry.core.bulk import set_each
from registry.core.errors import Invalid
from registry.core.events import publish
from registry.core.independence import require_decider
from registry.core.permissions import require


def _write_conclusion(thing: Governed, *names: str) -> None:
    """Save without a new version: a conclusion is nobody's edit, and must not make an open form stale."""
    models.Model.save(thing, update_fields=names)


@transaction.atomic
def set_tier(*, actor: Actor, server: Server, tier: str, factors: Sequence[Mapping[str, Any]]) -> Server:
    """Store the computed tier and why. A human's override wins in `tier`, the factors stay visible."""
    require(actor, "catalog.set_conclusions", server)
    server = locked_server(server)
    effective = server.tier_override or tier
    if (server.tier, server.tier_factors) == (effective, list(factors)):
        return server
    before, server.tier, server.tier_factors = server.tier, effective, list(factors)
    _write_conclusion(server, "tier", "tier_factors")
    if before != effective:
        record(
            actor=actor,
            act="server.tier_computed",
            subject=server,
            data={"before": before, "after": effective},
        )
        publish(TierChanged(server_id=server.pk, before=before, after=effective))
    return server


@transaction.atomic
def override_tier(*, actor: Actor, server: Server, tier: str, reason: str) -> Server:
    """Raise or lower a tier by hand; an empty `tier` returns to the computed one at the next assessment."""
    server = locked_server(server)
    require_decider(actor, "catalog.override_tier", server)
    if tier and tier not in Tier.values:
        raise Invalid(fields={"tier": ["Choose critical, high, medium or low."]})
    before, server.tier_override = server.tier, tier
    server.tier_override_reason = given_reason(reason)
    if tier:
        server.tier = tier
    note_change(actor, server, "server.tier_overridden", {"before": before, "after": tier, "reason": reason})
    if server.tier != before:
        publish(TierChanged(server_id=server.pk, before=before, after=server.tier))
    return server


@transaction.atomic
def set_certified_until(*, actor: Actor, thing: Server | Agent, until: datetime | None) -> None:
    """Mirror the certificate of a server or agent (or its end, with None). Called by reviews only."""
    require(actor, "catalog.set_conclusions", thing)
    locked: Server | Agent = type(thing)._default_manager.select_for_update(of=("self",)).get(pk=thing.pk)
    if locked.certified_until != until:
        before, locked.certified_until = locked.certified_until, until
        _write_conclusion(locked, "certified_until")
        record(
            actor=actor,
            act=f"{locked.subject_type}.certified_until_set",
            subject=locked,
            data={"before": before, "after": until},
        )
        publish(CertificationsChanged())


@transaction.atomic
def set_certified_until_of(
    *, actor: Actor, model: type[Server] | type[Agent], until: Mapping[UUID, datetime | None]
) -> int:
    """`set_certified_until` for many servers or agents at once. Returns how many differed."""
    require(actor, "catalog.set_conclusions")
    rows = model._default_manager.select_for_update(of=("self",)).filter(pk__in=until).order_by("pk")
    changed, events = [], []
    for thing in rows:
        before, after = thing.certified_until, until[thing.pk]
        if before != after:
            thing.certified_until = after
            changed.append(thing)
            data = {"before": before, "after": after}
            act = f"{thing.subject_type}.certified_until_set"
            events.append(build_event(actor=actor, act=act, subject=thing, data=data))
    set_each(model, "certified_until", {thing.pk: thing.certified_until for thing in changed})
    record_all(events)
    if changed:
        publish(CertificationsChanged())
    return len(changed)


@transaction.atomic
def admit_viewers(*, actor: Actor, thing: Governed, users: Iterable[User]) -> None:
    """Let people see a confidential thing because they review it."""
    require(actor, "catalog.set_conclusions", thing)
    model = type(thing)
    locked = model._default_manager.select_for_update(of=("self",)).get(pk=thing.pk)
    fresh = [user.pk for user in users if user.pk not in locked.admitted]
    if locked.confidential and fresh:
        locked.admitted = [*locked.admitted, *fresh]
        _write_conclusion(locked, "admitted")
        record(
            actor=actor,
            act=f"{locked.subject_type}.viewers_admitted",
            subject=locked,
            data={"users": [str(pk) for pk in fresh]},
        )


@transaction.atomic
def set_verification(
    *, actor: Actor, source: SecretSource, verification: str, at: datetime, last_rotated_on: date | None = None
) -> SecretSource:
    """Store what its store says of a secret, and when the credential was last rotated where that is known better.

    None of it is material: it moves no fingerprint, and being looked up again is neither an edit nor an event.
    """
    require(actor, "catalog.set_conclusions", source)
    source = SecretSource.objects.select_for_update(of=("self",)).get(pk=source.pk)
    before = {"verification": source.verification, "last_rotated_on": source.last_rotated_on}
    source.verification = verification
    if verification == SecretSource.Verification.VERIFIED:
        source.verified_at = at
    source.last_rotated_on = last_rotated_on or source.last_rotated_on
    after = {"verification": source.verification, "last_rotated_on": source.last_rotated_on}
    SecretSource.objects.filter(pk=source.pk).update(**after, verified_at=source.verified_at)
    if before != after:
        record(
            actor=actor,
            act="server.secret_source_verified",
            subject=Server.objects.get(pk=source.server_id),
            data={"source": str(source.pk), "before": before, "after": after},
        )
    return source

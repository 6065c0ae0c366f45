"""Acts about what clients have configured: each entry becomes a sighting of a server, or of a shadow of one.

Nothing here creates or changes a server: observation never mints authority.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import IntegrityError, transaction
from django.db.models import F, Value
from django.db.models.functions import Greatest
from django.utils.translation import gettext as _

from registry.audit.services import record
from registry.catalog.models import Server
from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Invalid
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.discovery.entries import TELLING, Configured, sighting_digest
from registry.discovery.matching import servers_behind
from registry.discovery.models import ImportJob, Shadow, Sighting
from registry.discovery.states import SHADOW, ShadowState

MAX_REPORTED = 500


class Sighted(NamedTuple):
    """`sighting` is None when the same was told before: then only the shadow's `last_seen` moved."""

    sighting: Sighting | None
    server: Server | None
    shadow: Shadow | None


@transaction.atomic
def record_sighting(
    *, actor: Actor, seen: Mapping[str, Any], job: ImportJob | None = None, at: datetime | None = None
) -> Sighted:
    """Keep that something was seen, as a `Configured.sighting()` says it, matched to a server or behind a shadow.

    Telling the same again (same person, client, place, name and content) adds nothing. The time of a sighting is
    never in the future.
    """
    require(actor, "discovery.report_sightings")
    at = min(at or clock.now(), clock.now())
    server = servers_behind([seen]).get(seen["canonical_uri"])
    shadow = _shadow_of(actor, seen, server, at)
    if server is None and shadow is not None:
        server = shadow.server
    told = sighting_digest(actor.user_id, seen)
    sighting = _kept(actor, seen, job, at, told, server, shadow)
    if shadow is not None:
        _counted(shadow, at, 1 if sighting is not None else 0)
    if sighting is not None:
        subject = shadow or server
        assert subject is not None
        act = f"{subject.subject_type}.seen"
        # Where stands in the sighting, which fewer people see than this.
        data = {"client": seen["client"], "sighting": str(sighting.pk)}
        record(actor=actor, act=act, subject=subject, data=data)
    return Sighted(sighting, server, shadow)


def _shadow_of(actor: Actor, seen: Mapping[str, Any], server: Server | None, at: datetime) -> Shadow | None:
    """The locked shadow at this address: one that is there, or a new one when no server stands behind it."""
    known = Shadow.objects.select_for_update(of=("self",)).select_related("server")
    shadow: Shadow | None = known.filter(canonical_uri=seen["canonical_uri"]).first()
    if shadow is None:
        if server is not None:
            return None
        shadow, new = Shadow.objects.get_or_create(
            canonical_uri=seen["canonical_uri"],
            defaults={
                "label": seen["label"],
                "transport": seen["facts"]["transport"],
                "first_seen": at,
                "last_seen": at,
            },
        )
        if new:
            record(actor=actor, act="shadow.opened", subject=shadow, data={"uri": shadow.canonical_uri})
            return shadow
        shadow = known.get(pk=shadow.pk)
    if server is not None and shadow.state in (ShadowState.OPEN, ShadowState.IGNORED):
        settle(actor, shadow, ShadowState.REGISTERED, server)
    elif server is None and shadow.server is not None and shadow.server.lifecycle == Lifecycle.RETIRED:
        settle(actor, shadow, ShadowState.OPEN, None, reason=_("Its server has retired, and it is still used."))
    return shadow


def settle(actor: Actor, shadow: Shadow, state: ShadowState, server: Server | None, *, reason: str = "") -> None:
    """Move a locked shadow and write the evidence."""
    SHADOW.move(shadow, state, field="state")
    shadow.server, shadow.reason, shadow.ignored_until = server, reason, None
    shadow.settled_by, shadow.settled_at = (None, None) if state == ShadowState.OPEN else (actor.user, clock.now())
    shadow.save()
    verb = "reopened" if state == ShadowState.OPEN else state.value
    data = {"reason": reason, **({"server": str(server.pk), "name": server.name} if server else {})}
    record(actor=actor, act=f"shadow.{verb}", subject=shadow, data=data)


def _kept(
    actor: Actor,
    seen: Mapping[str, Any],
    job: ImportJob | None,
    at: datetime,
    told: str,
    server: Server | None,
    shadow: Shadow | None,
) -> Sighting | None:
    if Sighting.objects.filter(digest=told).exists():
        return None
    try:
        with transaction.atomic():
            made: Sighting = Sighting.objects.create(
                job=job,
                reported_by=actor.user,
                digest=told,
                at=at,
                identified=seen["identified"],
                server=server,
                shadow=shadow,
                **{name: seen[name] for name in TELLING},
            )
            return made
    except IntegrityError:
        return None  # Somebody told the very same at the very same moment.


def _counted(shadow: Shadow, at: datetime, times: int) -> None:
    """Counting leaves version and ETag alone: they are for people's acts."""
    Shadow.objects.filter(pk=shadow.pk).update(times=F("times") + times, last_seen=Greatest(F("last_seen"), Value(at)))
    shadow.refresh_from_db(fields=["times", "last_seen"])


@transaction.atomic
def report_sightings(*, actor: Actor, entries: Sequence[Configured], at: datetime | None = None) -> list[Sighted]:
    """What a gateway or a fleet tool saw, all or nothing. Raises `Invalid` for too many, `SecretRefused` for a place
    that holds one."""
    require(actor, "discovery.report_sightings")
    if len(entries) > MAX_REPORTED:
        raise Invalid(fields={"sightings": [_("At most %(n)d at a time; split them.") % {"n": MAX_REPORTED}]})
    for entry in entries:
        refuse_secrets({"client": entry.client, "place": entry.place})
    return [record_sighting(actor=actor, seen=entry.sighting(), at=at) for entry in entries]

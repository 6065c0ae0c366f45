"""Writing evidence: `record` inside an act's transaction, `seal_events` in the background."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction

from registry.audit.models import Batch, Event, Seal
from registry.core import clock
from registry.core.actors import Actor
from registry.core.canonical import digest
from registry.core.types import Subject

GENESIS = "0" * 64
MAX_SAFE_INTEGER = 2**53 - 1
_SEAL_LOCK = 7_301_001  # one sealer at a time; acts never take this lock


def build_event(*, actor: Actor, act: str, subject: Subject, data: Mapping[str, Any] | None = None) -> Event:
    """The unsaved event of an act; bulk acts build many and write them in one statement with `record_all`."""
    return Event(
        at=clock.now(),
        actor_kind=actor.kind,
        actor_id=actor.user_id,
        actor_label=actor.label[:320],
        token_id=actor.token_id,
        act=act,
        subject_type=subject.subject_type,
        subject_id=subject.pk,
        subject_label=str(subject)[:320],
        request_id=actor.request_id[:64],
        data=_plain(data or {}),
    )


def _plain(data: Mapping[str, Any]) -> Any:
    """`data` as JSON that RFC 8785 can hold: an integer beyond 2^53 or a NaN becomes a string.

    One event that cannot be hashed would stop the sealing of all that follow.
    """
    return json.loads(
        json.dumps(data, cls=DjangoJSONEncoder),
        parse_int=lambda digits: number if abs(number := int(digits)) <= MAX_SAFE_INTEGER else digits,
        parse_constant=str,
    )


def record(*, actor: Actor, act: str, subject: Subject, data: Mapping[str, Any] | None = None) -> Event:
    """Write the evidence of an act. Must run in the act's transaction: no act without evidence, nor the reverse."""
    if not connection.in_atomic_block:
        raise RuntimeError(f"{act} is recorded outside a transaction")
    event = build_event(actor=actor, act=act, subject=subject, data=data)
    event.save(force_insert=True)
    return event


def record_all(events: list[Event]) -> None:
    if events and not connection.in_atomic_block:
        raise RuntimeError("events are recorded outside a transaction")
    Event.objects.bulk_create(events, batch_size=2000)


def event_digest(event: Event) -> str:
    """SHA-256 over the RFC 8785 form of everything an event says (docs/audit-chain.md lists the fields)."""
    return digest(
        {
            "id": str(event.pk),
            "at": event.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "actor": [event.actor_kind, str(event.actor_id or ""), event.actor_label, str(event.token_id or "")],
            "act": event.act,
            "subject": [event.subject_type, str(event.subject_id), event.subject_label],
            "request_id": event.request_id,
            "data": event.data,
        }
    )


def chain_hash(number: int, previous_hash: str, digests: list[str]) -> str:
    return digest({"number": number, "previous": previous_hash, "events": digests})


@transaction.atomic
def seal_events(*, limit: int = 5000, since: datetime | None = None) -> int:
    """Append the committed, unsealed events to the chain as one batch. Returns how many were sealed.

    The chain is in order of sealing, not of `at`: a transaction that commits late is sealed late, and none is lost.
    `since` spares the frequent run from looking through all history for the few that are new; a run without it
    finds whatever is older.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_SEAL_LOCK])
        if not cursor.fetchone()[0]:
            return 0
    unsealed = Event.objects.filter(seal__isnull=True)
    if since is not None:
        unsealed = unsealed.filter(at__gte=since)
    events = list(unsealed.order_by("at", "id")[:limit])
    if not events:
        return 0
    last = Batch.objects.order_by("-number").first()
    first_position = (Seal.objects.order_by("-position").values_list("position", flat=True).first() or 0) + 1
    number, previous = (last.number + 1, last.chain_hash) if last else (1, GENESIS)
    digests = [event_digest(event) for event in events]
    batch = Batch.objects.create(
        number=number,
        sealed_at=clock.now(),
        previous_hash=previous,
        event_count=len(events),
        chain_hash=chain_hash(number, previous, digests),
    )
    Seal.objects.bulk_create(
        Seal(event=event, batch=batch, position=position, digest=value)
        for position, (event, value) in enumerate(zip(events, digests, strict=True), first_position)
    )
    return len(events)

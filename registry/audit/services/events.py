"""Evidence of acts, in the act's own transaction, and of looks at what is sensitive."""

import hashlib
import json
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection

from registry.audit.models import Event
from registry.audit.subjects import Page
from registry.audit.verifier import MAX_SAFE_INTEGER
from registry.core import clock
from registry.core.actors import Actor
from registry.core.canonical import canonical_json
from registry.core.types import Subject


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
        data=_plain({**(data or {}), **actor.facts}),
    )


def _plain(data: Mapping[str, Any]) -> Any:
    """`data` as JSON that RFC 8785 can hold: a whole number beyond 2^53 or a NaN becomes a string.

    So does a float as large, for PostgreSQL gives 1e21 back as an integer. One event that cannot be hashed would stop
    the sealing of all that follow.
    """
    return json.loads(
        json.dumps(data, cls=DjangoJSONEncoder),
        parse_int=lambda digits: number if abs(number := int(digits)) <= MAX_SAFE_INTEGER else digits,
        parse_float=lambda digits: number if abs(number := float(digits)) <= MAX_SAFE_INTEGER else digits,
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


# --- Looks ---------------------------------------------------------------------------------------------------


noted: ContextVar[bool] = ContextVar("noted", default=False)
"""Whether a look was noted while this request was answered (see `registry.audit.middleware`)."""


class About:
    """A thing of an upper room, known here only by what its events say of it."""

    def __init__(self, subject_type: str, pk: UUID, label: str) -> None:
        self.subject_type, self.pk, self.label = subject_type, pk, label

    def __str__(self) -> str:
        return self.label


def record_access(*, actor: Actor, act: str, subject: Subject | str, data: Mapping[str, Any] | None = None) -> None:
    """Note that `actor` looked at or took away something sensitive; `subject` is a thing or the name of a page.

    One statement. The same look of the same person is noted once an hour: its id follows from who, what and the hour,
    and the database keeps the first.
    """
    event = build_event(actor=actor, act=act, subject=Page(subject) if isinstance(subject, str) else subject, data=data)
    event.id = _id_of_the_hour(event)
    Event.objects.bulk_create([event], ignore_conflicts=True)
    noted.set(True)


def record_export(*, actor: Actor, of: Subject | str, question: str = "", form: str = "csv") -> None:
    """Note that `actor` took a list away: `question` is the query string that narrowed it down."""
    record_access(actor=actor, act="list.exported", subject=of, data={"form": form, "question": question})


def _id_of_the_hour(event: Event) -> UUID:
    """A UUIDv7 whose time is the beginning of the hour and whose random bits are a hash of the look."""
    hour = event.at.replace(minute=0, second=0, microsecond=0)
    look = [event.actor_kind, str(event.actor_id), str(event.token_id), event.act, event.subject_type,
            str(event.subject_id), event.data]  # fmt: skip
    bits = int.from_bytes(hashlib.sha256(canonical_json(look)).digest()[:10])
    high, low = bits >> 68, bits & (1 << 62) - 1
    return UUID(int=int(hour.timestamp() * 1000) << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low)

"""Reading evidence, and checking that it still is what was sealed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet

from registry.audit.models import Batch, Event, Seal
from registry.audit.services import GENESIS, chain_hash, event_digest
from registry.core.actors import Actor
from registry.core.errors import NotFound
from registry.core.permissions import allows

Visible = Callable[[Actor], QuerySet[Any]]
_subjects: dict[str, Visible] = {}


# --- Who may read which event ------------------------------------------------------------------------------


def register_subject(subject_type: str, visible_to: Visible) -> None:
    """An upper room says who may see its things; whoever sees a thing may read its story."""
    _subjects[subject_type] = visible_to


def events_visible_to(actor: Actor) -> QuerySet[Event]:
    """Auditors, security and administrators read everything; everybody else reads what they themselves did."""
    if allows(actor, "audit.view_all"):
        return Event.objects.all()
    if actor.user_id is None or not allows(actor, "audit.view"):
        return Event.objects.none()
    return Event.objects.filter(actor_id=actor.user_id)


def events_about(subject_type: str, subject_id: UUID) -> QuerySet[Event]:
    """The story of one thing; callers show it only to those who may see the thing."""
    return Event.objects.filter(subject_type=subject_type, subject_id=subject_id)


def story_visible_to(actor: Actor, subject_type: str, subject_id: UUID) -> QuerySet[Event]:
    """The story of one thing. Raises `NotFound` unless `actor` may see the thing, or reads everything."""
    if not allows(actor, "audit.view_all"):
        visible = _subjects.get(subject_type)
        if visible is None or not visible(actor).filter(pk=subject_id).exists():
            raise NotFound
    return events_about(subject_type, subject_id)


# --- The chain ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChainState:
    """Where the chain stands, without checking it. `head` noted elsewhere proves later that nothing was cut off."""

    batches: int
    head: str
    sealed_at: datetime | None
    unsealed: int


def chain_head() -> Batch | None:
    """The newest link of the chain; an export names it, so that what it says can be held against the chain later."""
    return Batch.objects.order_by("-number").first()


def chain_state() -> ChainState:
    last = chain_head()
    unsealed = Event.objects.filter(seal__isnull=True).count()
    if last is None:
        return ChainState(0, GENESIS, None, unsealed)
    return ChainState(last.number, last.chain_hash, last.sealed_at, unsealed)


@dataclass(frozen=True)
class ChainReport:
    events: int
    batches: int
    unsealed: int
    head: str
    fault: str  # empty when the chain verifies; else names the first bad record

    @property
    def verified(self) -> bool:
        return not self.fault


class BrokenChain(Exception):
    """Names the first record that does not match."""


def verify_chain(*, known_head: str = "") -> ChainReport:
    """Recompute every digest and link in order; the fault names the first record that does not match.

    The chain alone cannot show that its end was cut off: `known_head`, a head noted earlier and elsewhere, can.
    """
    with _one_instant():
        return _verify(known_head)


@contextmanager
def _one_instant() -> Iterator[None]:
    """All statements see the same moment: what is sealed between two of them is no gap."""
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        if outermost:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _verify(known_head: str) -> ChainReport:
    head, events, batches, fault = GENESIS, 0, 0, ""
    try:
        for batch, digests in _batches_in_order():
            if batch.previous_hash != head:
                raise BrokenChain(f"batch {batch.number} does not follow the one before it")
            if chain_hash(batch.number, head, digests) != batch.chain_hash:
                raise BrokenChain(f"batch {batch.number} was changed")
            head, events, batches = batch.chain_hash, events + len(digests), batch.number
    except BrokenChain as broken:
        fault = str(broken)
    if not fault and known_head and not Batch.objects.filter(chain_hash=known_head).exists():
        fault = f"no batch has the head {known_head} any more: the end was cut off or replaced"
    return ChainReport(events, batches, Event.objects.filter(seal__isnull=True).count(), head, fault)


def _batches_in_order() -> Iterator[tuple[Batch, list[str]]]:
    """Each batch with the digests recomputed from its events. Raises `BrokenChain` at the first gap or change."""
    number = position = 0
    for batch in Batch.objects.order_by("number").iterator(chunk_size=500):
        number += 1
        if batch.number != number:
            raise BrokenChain(f"batch {number} is missing")
        digests = []
        # Not joined: a seal whose event is gone must be seen, not silently left out.
        seals = list(Seal.objects.filter(batch_id=number).order_by("position"))
        events = Event.objects.in_bulk([seal.event_id for seal in seals])
        for seal in seals:
            position += 1
            if seal.position != position:
                raise BrokenChain(f"the record at position {position} is missing")
            event = events.get(seal.event_id)
            if event is None:
                raise BrokenChain(f"event {seal.event_id} at position {position} is missing")
            if event_digest(event) != seal.digest:
                raise BrokenChain(f"event {event.pk} at position {position} was changed")
            digests.append(seal.digest)
        if len(digests) < batch.event_count:
            raise BrokenChain(f"the record at position {position + 1} is missing")
        if len(digests) > batch.event_count:
            raise BrokenChain(f"batch {number} holds {len(digests)} events, {batch.event_count} were sealed")
        yield batch, digests
    if Seal.objects.filter(batch_id__gt=number).exists():
        raise BrokenChain(f"batch {number + 1} is missing")

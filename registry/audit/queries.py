"""Reading evidence, and checking that it still is what was sealed."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from registry.audit.models import Batch, Event, Seal
from registry.audit.services import GENESIS, chain_hash, event_digest
from registry.core.actors import Actor
from registry.core.permissions import allows


def events_visible_to(actor: Actor) -> QuerySet[Event]:
    """Auditors, security and administrators read everything; everybody else reads what they themselves did."""
    if allows(actor, "audit.view_all"):
        return Event.objects.all()
    return Event.objects.filter(actor_id=actor.user_id) if actor.user_id else Event.objects.none()


def events_about(subject_type: str, subject_id: UUID) -> QuerySet[Event]:
    """The story of one thing; callers show it only to those who may see the thing."""
    return Event.objects.filter(subject_type=subject_type, subject_id=subject_id)


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


def verify_chain() -> ChainReport:
    """Recompute every digest and link in order; the fault names the first record that does not match."""
    previous, count, number, position, fault = GENESIS, 0, 0, 0, ""
    for batch in Batch.objects.order_by("number").iterator(chunk_size=500):
        number += 1
        if batch.number != number:
            fault = f"batch {number} is missing"
            break
        seals: list[Any] = list(Seal.objects.filter(batch=batch).select_related("event").order_by("position"))
        if len(seals) != batch.event_count:
            fault = f"batch {batch.number} holds {len(seals)} events, {batch.event_count} were sealed"
            break
        for seal in seals:
            position += 1
            if seal.position != position:
                fault = f"event at position {position} is missing"
                break
            if event_digest(seal.event) != seal.digest:
                fault = f"event {seal.event_id} at position {seal.position} was changed"
                break
        if fault:
            break
        if batch.previous_hash != previous:
            fault = f"batch {batch.number} does not follow the one before it"
            break
        if chain_hash(batch.number, previous, [seal.digest for seal in seals]) != batch.chain_hash:
            fault = f"batch {batch.number} was changed"
            break
        previous, count = batch.chain_hash, count + len(seals)
    unsealed = Event.objects.filter(seal__isnull=True).count()
    return ChainReport(count, number, unsealed, previous, fault)

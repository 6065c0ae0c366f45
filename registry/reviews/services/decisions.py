"""Answers before the signature: editable, undoable, and refused when they are late, stale or not independent."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from django.db import transaction

from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Changed, Conflict, Invalid
from registry.core.independence import require_decider, require_independent
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.reviews.cadence import REASON_REQUIRED, end_of_day, latest_until
from registry.reviews.facts import ACCESS_LADDER, Json, reducible
from registry.reviews.models import Campaign, Decision, Item, SubjectKind, WorkItem
from registry.reviews.services.items import (
    FactsChanged,
    check_review_version,
    locked_work_item,
    move_item,
    require_open,
)
from registry.reviews.services.watch import check_items
from registry.reviews.states import WORK_ITEM, ItemState, WorkItemState

Value = Decision.Value
TAKES_AWAY = (Value.REVOKE, Value.RETURN, Value.CERTIFY_REDUCED)
KEEPS = (Value.CERTIFY, Value.CERTIFY_UNTIL, Value.CERTIFY_REDUCED)
MAX_DECIDED_MS = 24 * 3600 * 1000


def save_decision(
    *,
    actor: Actor,
    work_item: WorkItem,
    value: str,
    evidence_hash: str,
    reason: str = "",
    kept: Sequence[str] = (),
    until: date | None = None,
    opened_evidence_at: datetime | None = None,
    decided_ms: int = 0,
    expected_version: str | None = None,
) -> Decision:
    """Draft an answer or change the draft; nothing happens to the subject before it is signed.

    `evidence_hash` is the one of the evidence that was looked at. Raises `FactsChanged` when the facts moved
    meanwhile (drafts are gone then, the item waits to be seen), `Changed` for other evidence or another version,
    `TooLate`, `NotIndependent`, and `Invalid` by field.
    """
    require_decider(actor, "reviews.decide", work_item)
    # In its own transaction: that the facts moved is kept although this act is refused.
    check_items(item_ids=[work_item.item_id])
    return _save(
        actor=actor,
        work_item=work_item,
        value=value,
        evidence_hash=evidence_hash,
        reason=reason,
        kept=kept,
        until=until,
        opened_evidence_at=opened_evidence_at,
        decided_ms=decided_ms,
        expected_version=expected_version,
    )


@transaction.atomic
def _save(
    *,
    actor: Actor,
    work_item: WorkItem,
    value: str,
    evidence_hash: str,
    reason: str,
    kept: Sequence[str],
    until: date | None,
    opened_evidence_at: datetime | None,
    decided_ms: int,
    expected_version: str | None,
) -> Decision:
    refuse_secrets({"reason": reason})
    work_item = locked_work_item(work_item.pk)
    # Asked again on the locked row: it may have been reassigned a moment ago.
    require(actor, "reviews.decide", work_item)
    item = work_item.item
    require_decidable(actor, work_item, evidence_hash)
    check_review_version(work_item, expected_version)
    if item.campaign.kind == Campaign.Kind.INTAKE:
        raise Conflict("An intake is activated or returned; there is no draft of that.")
    answer = clean_answer(item, value=value, reason=reason, kept=kept, until=until)
    decision = work_item.decisions.filter(signed_at=None).first() or Decision(work_item=work_item)
    for name, given in answer.items():
        setattr(decision, name, given)
    decision.evidence_hash = evidence_hash
    decision.opened_evidence_at = opened_evidence_at
    decision.decided_at = clock.now()
    decision.decided_ms = min(max(decided_ms, 0), MAX_DECIDED_MS)
    decision.save()
    if work_item.state == WorkItemState.OPEN:
        WORK_ITEM.move(work_item, WorkItemState.RESPONDED, field="state")
    work_item.save()
    if item.state == ItemState.IN_REVIEW and not item.work_items.filter(state=WorkItemState.OPEN).exists():
        move_item(actor, item, ItemState.DECIDED)
    decision.work_item = work_item
    record(
        actor=actor,
        act="decision.drafted",
        subject=item,
        data={"decision": str(decision.pk), **answer, "evidence_hash": evidence_hash},
    )
    return decision


@transaction.atomic
def undo_decision(*, actor: Actor, work_item: WorkItem, expected_version: str | None = None) -> WorkItem:
    """Take an unsigned answer back. A signed one is superseded by the next review, never undone."""
    require(actor, "reviews.decide", work_item)
    work_item = locked_work_item(work_item.pk)
    check_review_version(work_item, expected_version)
    require_open(work_item.item)
    draft = work_item.decisions.filter(signed_at=None).first()
    if draft is None:
        raise Conflict("There is no unsigned answer to take back.")
    data = {"decision": str(draft.pk), "value": draft.value}
    draft.delete()
    WORK_ITEM.move(work_item, WorkItemState.OPEN, field="state")
    work_item.save()
    if work_item.item.state == ItemState.DECIDED:
        move_item(actor, work_item.item, ItemState.IN_REVIEW)
    record(actor=actor, act="decision.undone", subject=work_item.item, data=data)
    return work_item


# --- What an answer must be ------------------------------------------------------------------------------


def require_decidable(actor: Actor, work_item: WorkItem, evidence_hash: str) -> None:
    """Everything that must hold at the moment somebody answers or signs, on locked rows."""
    item = work_item.item
    require_open(item)
    require_independent(actor, item)
    if work_item.state == WorkItemState.CLOSED:
        raise Conflict("You signed this item or handed it on.")
    if item.state == ItemState.INVALIDATED:
        raise FactsChanged("The facts changed since they were recorded. Look at what is new, then decide.")
    if item.state not in (ItemState.IN_REVIEW, ItemState.DECIDED):
        raise Conflict(f"This item is {item.get_state_display().lower()}; it takes no decision.")
    if evidence_hash != item.seen.evidence_hash:
        raise Changed("Your answer belongs to other evidence than this item shows now. Look again.")


def clean_answer(item: Item, *, value: str, reason: str, kept: Sequence[str], until: date | None) -> dict[str, Any]:
    """The answer as stored. Raises `Invalid` with every field that is wrong."""
    errors: dict[str, list[str]] = {}
    reason, tier = reason.strip(), item.tier
    snapshot = item.seen.snapshot
    if value not in Value.values or value == Value.RETURN:
        raise Invalid(fields={"value": ["Choose one of the decisions."]})
    if not reason and (value in TAKES_AWAY or tier in REASON_REQUIRED):
        because = "you take something away" if value in TAKES_AWAY else f"the tier is {tier}"
        errors["reason"] = [f"Give a reason: {because}."]
    elif not reason and value == Value.NOT_DECIDED:
        errors["reason"] = ["Say who would know, so that the next reviewer can ask."]
    latest = latest_day(item)
    if value in KEEPS and latest <= clock.today():
        errors["value"] = [f"{item} may not be certified: {_ends_because(item)}"]
    names: list[str] = []
    if value == Value.CERTIFY_REDUCED:
        names, wrong = _clean_kept(item, snapshot, kept)
        if wrong:
            errors["kept"] = [wrong]
    if value == Value.CERTIFY_UNTIL:
        if until is None:
            errors["until"] = ["Choose the day on which it ends."]
        elif until <= clock.today():
            errors["until"] = ["Choose a day in the future."]
        elif until > latest:
            errors["until"] = [f"At the latest {latest:%d %B %Y} ({tier} tier, and not beyond what it is for)."]
    if errors:
        raise Invalid(fields=errors)
    return {
        "value": value,
        "reason": reason,
        "kept": names,
        "until": until if value == Value.CERTIFY_UNTIL else None,
    }


def latest_day(item: Item) -> date:
    """The last day a decision on this item may certify: tier, purpose and validity bound it."""
    facts = item.seen.snapshot["facts"]
    purpose = facts.get("purpose") if facts["kind"] == "server" else None
    bounds = [date.fromisoformat(purpose["ends_on"])] if purpose else []
    if facts.get("valid_until"):
        bounds.append(datetime.fromisoformat(facts["valid_until"]).date())
    return latest_until(item.tier, clock.today(), *bounds)


def certified_until(item: Item, day: date | None) -> datetime:
    """The instant a signature today certifies to; relationships never outlive their own end."""
    instant = end_of_day(min(day or latest_day(item), latest_day(item)))
    if valid_until := item.seen.snapshot["facts"].get("valid_until"):
        return min(instant, datetime.fromisoformat(valid_until))
    return instant


def _ends_because(item: Item) -> str:
    return "its purpose has ended." if item.kind == SubjectKind.SERVER else "its validity has ended."


def _clean_kept(item: Item, snapshot: Json, kept: Sequence[str]) -> tuple[list[str], str]:
    """What is kept in canonical form, and why not (invariant 12: a strict, non-empty part)."""
    if item.kind == SubjectKind.SERVER:
        return [], "A server is certified or suspended as a whole; reduce its grants and connections."
    possible, wanted = reducible(snapshot), set(kept)
    if strange := sorted(wanted - set(possible)):
        return [], f"Not part of it: {', '.join(strange)}."
    if item.kind == SubjectKind.CONNECTION:
        # Whoever keeps write keeps read: the levels include each other.
        levels = [f"access:{level}" for level in ACCESS_LADDER]
        highest = max((levels.index(atom) for atom in wanted if atom in levels), default=-1)
        if highest < 0:
            return [], "Keep an access level, or revoke the connection."
        wanted |= set(levels[: highest + 1])
        if snapshot["facts"]["scopes"] and not wanted - set(levels):
            return [], "Keep at least one scope, or revoke the connection."
    if not wanted:
        return [], "Keep something, or revoke."
    # Naming all present tools narrows a wildcard: later ones are no longer included.
    if wanted == set(possible) and not snapshot["facts"].get("all_tools"):
        return [], "This keeps everything. Leave something out, or certify."
    return [atom for atom in possible if atom in wanted], ""

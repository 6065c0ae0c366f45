"""Answers before the signature: editable, undoable, and refused when they are late, stale or not independent."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Coalesce

from registry.audit.services import record
from registry.catalog.models import Tier
from registry.core import clock
from registry.core.actors import Actor
from registry.core.canonical import digest
from registry.core.errors import Changed, Conflict, Invalid
from registry.core.independence import require_decider, require_independent
from registry.core.permissions import allows, require
from registry.core.secrets import refuse_secrets
from registry.reviews.cadence import REASON_REQUIRED, end_of_day, latest_until
from registry.reviews.desk import last_certified
from registry.reviews.facts import ACCESS_LADDER, Json, reducible
from registry.reviews.models import Campaign, Decision, FirstChoice, Item, ItemRefresh, SubjectKind, WorkItem
from registry.reviews.recommendation import ANCHORED, recommend
from registry.reviews.services.items import (
    FactsChanged,
    check_review_version,
    require_open,
)
from registry.reviews.services.moves import locked_work_item, move_item
from registry.reviews.services.unfinished import forget_unfinished, leave_unfinished
from registry.reviews.services.watch import check_items
from registry.reviews.states import WORK_ITEM, ItemState, WorkItemState

Value = Decision.Value
TAKES_AWAY = (Value.REVOKE, Value.RETURN, Value.CERTIFY_REDUCED)
KEEPS = (Value.CERTIFY, Value.CERTIFY_UNTIL, Value.CERTIFY_REDUCED)
MAX_DECIDED_MS = 24 * 3600 * 1000
PLAUSIBLE_MS = 500
"""Nobody reads and answers faster; what claims so has not measured."""
EVIDENCE_REQUIRED = (Tier.CRITICAL,)
"""Tiers that nobody keeps without having opened the evidence."""


def note_shown(*, actor: Actor, work_item: WorkItem) -> None:
    """The reviewer sees the item's evidence for the first time: from here the time to a decision counts.

    For whoever may not decide on it, and from the second time on, nothing happens and nothing is asked of the database:
    reading is allowed to them all the same. It neither raises the version (a look is no edit) nor leaves an event of
    its own: the decision's event carries the instant.
    """
    if work_item.first_shown_at is not None or not allows(actor, "reviews.decide", work_item):
        return
    now = clock.now()
    rows = WorkItem.objects.filter(pk=work_item.pk, reviewer=work_item.reviewer_id, first_shown_at=None)
    work_item.first_shown_at = (
        now
        if rows.update(first_shown_at=now)
        else WorkItem.objects.values_list("first_shown_at", flat=True).get(pk=work_item.pk)
    )


def note_opened(*, actor: Actor, work_item: WorkItem) -> None:
    """The reviewer opened all of the item's evidence: an act of its own, which looking at the page is not.

    Like `note_shown` it is nothing for whoever may not decide, and asked once only; facts that were confirmed since
    want to be opened again.
    """
    if opened_evidence(work_item) is not None or not allows(actor, "reviews.decide", work_item):
        return
    work_item.evidence_opened_at = now = clock.now()
    work_item.first_shown_at = work_item.first_shown_at or now
    WorkItem.objects.filter(pk=work_item.pk, reviewer=work_item.reviewer_id).update(
        evidence_opened_at=now, first_shown_at=Coalesce("first_shown_at", now)
    )


def opened_evidence(work_item: WorkItem) -> datetime | None:
    """When its reviewer opened the evidence that the item shows now; None where they only looked at the page."""
    opened, seen = work_item.evidence_opened_at, work_item.item.seen
    if opened is not None and isinstance(seen, ItemRefresh) and opened < seen.at:
        return None
    return opened


@dataclass(frozen=True)
class Given:
    """An answer as it comes in. `claimed_ms` is what the client says of the time it took."""

    value: str
    reason: str = ""
    kept: Sequence[str] = ()
    until: date | None = None
    claimed_ms: int = 0


def save_decision(
    *,
    actor: Actor,
    work_item: WorkItem,
    value: str,
    evidence_hash: str,
    reason: str = "",
    kept: Sequence[str] = (),
    until: date | None = None,
    opened: bool = False,
    decided_ms: int = 0,
    expected_version: str | None = None,
) -> Decision:
    """Draft an answer or change the draft; nothing happens to the subject before it is signed.

    `evidence_hash` is the one of the evidence that was looked at. Raises `FactsChanged` when the facts moved
    meanwhile (drafts are gone then, the item waits to be seen), `Changed` for other evidence or another version,
    `TooLate`, `NotIndependent`, and `Invalid` by field.

    How long it took is measured here: see `time_taken`. Opened evidence is what `note_opened` has noted; `opened`
    says the same of a client that got the evidence by other means, and counts where the item was shown.
    """
    require_decider(actor, "reviews.decide", work_item)
    refuse_secrets({"reason": reason})
    if opened and work_item.first_shown_at is not None:
        note_opened(actor=actor, work_item=work_item)
    # In its own transaction: that the facts moved is kept although this act is refused.
    check_items(item_ids=[work_item.item_id])
    given = Given(value, reason, kept, until, decided_ms)
    with transaction.atomic():
        return draft_answer(actor, work_item.pk, given, evidence_hash=evidence_hash, expected_version=expected_version)


def draft_answer(
    actor: Actor,
    work_item_id: UUID,
    given: Given,
    *,
    evidence_hash: str,
    expected_version: str | None,
    bulk_id: UUID | None = None,
    taken_ms: int | None = None,
) -> Decision:
    """One answer on locked rows, part of the caller's transaction, which has looked at the facts.

    `taken_ms` is this answer's share of the time a bulk of them took.
    """
    work_item = locked_work_item(work_item_id)
    # Asked again on the locked row: it may have been reassigned a moment ago.
    require(actor, "reviews.decide", work_item)
    item = work_item.item
    require_decidable(actor, work_item, evidence_hash)
    check_review_version(work_item, expected_version)
    if item.campaign.kind == Campaign.Kind.INTAKE:
        raise Conflict("An intake is activated or returned; there is no draft of that.")
    now = clock.now()
    opened = opened_evidence(work_item)
    answer = clean_answer(
        item, value=given.value, reason=given.reason, kept=given.kept, until=given.until, opened=opened is not None
    )
    decision = work_item.decisions.filter(signed_at=None).first() or Decision(work_item=work_item)
    for name, said in answer.items():
        setattr(decision, name, said)
    if taken_ms is None:
        taken_ms = time_taken(work_item, given.claimed_ms, now)
    decision.evidence_hash = evidence_hash
    decision.opened_evidence_at = opened
    decision.decided_at = now
    # Looking again is time spent on it as well.
    decision.decided_ms = min(decision.decided_ms + taken_ms, MAX_DECIDED_MS)
    decision.bulk_id = bulk_id
    decision.recommended = recommend(item, last_certified(item)).value
    decision.first_value = _first_value(actor, work_item, decision)
    decision.save()
    if work_item.state == WorkItemState.OPEN:
        WORK_ITEM.move(work_item, WorkItemState.RESPONDED, field="state")
    work_item.save()
    # Asked behind the lock: what was kept a moment ago may be younger than what was read with the row.
    forget_unfinished([work_item.pk])
    if item.state == ItemState.IN_REVIEW and not item.work_items.filter(state=WorkItemState.OPEN).exists():
        move_item(actor, item, ItemState.DECIDED)
    decision.work_item = work_item
    record(
        actor=actor,
        act="decision.drafted",
        subject=item,
        data={
            "decision": str(decision.pk),
            **answer,
            "evidence_hash": evidence_hash,
            "first_shown_at": work_item.first_shown_at,
            "taken_ms": taken_ms,
            **({"bulk": str(bulk_id)} if bulk_id else {}),
        },
    )
    return decision


def _first_value(actor: Actor, work_item: WorkItem, decision: Decision) -> str:
    """What they said before they could see the rules' opinion; empty where it is shown from the start."""
    if work_item.item.tier not in ANCHORED:
        return ""
    first, _new = FirstChoice.objects.get_or_create(
        work_item=work_item,
        reviewer_id=actor.user_id,
        evidence_hash=decision.evidence_hash,
        defaults={"value": decision.value, "at": decision.decided_at},
    )
    return first.value


def time_taken(work_item: WorkItem, claimed_ms: int, now: datetime) -> int:
    """Milliseconds this answer took. People cannot fake slowness:

    * The server knows when the item was first shown and when the same person answered last, on whatever item. What
      lies between the later of the two and now is the longest this answer can have taken; a larger claim is cut to it.
    * A claim below `PLAUSIBLE_MS`, or none, measures nothing; the server's own figure counts.
    * Never shown and no answer within a day: 0, because nothing is known to have been looked at.

    So the times of all answers of one person add up to no more than the time that passed.
    """
    since = [work_item.first_shown_at] if work_item.first_shown_at else []
    if before := last_answer(work_item.reviewer_id, after=max([*since, now - timedelta(days=1)])):
        since.append(before)
    if not since:
        return 0
    longest = max(int((now - max(since)).total_seconds() * 1000), 0)
    return min(claimed_ms if claimed_ms >= PLAUSIBLE_MS else longest, longest, MAX_DECIDED_MS)


def last_answer(reviewer_id: UUID, after: datetime) -> datetime | None:
    """When this person answered last, if that was after `after`."""
    newest = Decision.objects.filter(work_item__reviewer=reviewer_id, decided_at__gt=after).order_by("-decided_at")
    return newest.values_list("decided_at", flat=True).first()


class Versioned(Protocol):
    """A draft, as far as a digest of drafts is concerned."""

    @property
    def pk(self) -> Any: ...
    @property
    def version(self) -> int: ...


def drafts_digest(drafts: Iterable[Versioned]) -> str:
    """Names a set of drafts as they stand: another draft, one less or one edited gives another digest."""
    return digest(sorted([str(draft.pk), draft.version] for draft in drafts))


def drafts_of(reviewer_id: UUID | None, campaign: Campaign) -> QuerySet[Decision]:
    """A reviewer's unsigned answers in a campaign: exactly those that their signature would cover now."""
    return Decision.objects.filter(
        work_item__reviewer=reviewer_id,
        work_item__item__campaign=campaign,
        work_item__state=WorkItemState.RESPONDED,
        signed_at=None,
    )


@transaction.atomic
def undo_decision(*, actor: Actor, work_item: WorkItem, expected_version: str | None = None) -> WorkItem:
    """Take an unsigned answer back; it stays in the form as an unfinished one, for nobody types it twice.

    A signed one is superseded by the next review, never undone.
    """
    require(actor, "reviews.decide", work_item)
    return take_back(actor, work_item.pk, expected_version, unfinished=True)


def take_back(
    actor: Actor, work_item_id: UUID, expected_version: str | None = None, *, unfinished: bool = False
) -> WorkItem:
    """Discard the draft of a work item, part of the caller's transaction. `unfinished`: what it said stays in the
    form, instead of what was typed over it.
    """
    work_item = locked_work_item(work_item_id)
    require(actor, "reviews.decide", work_item)
    check_review_version(work_item, expected_version)
    require_open(work_item.item)
    draft = work_item.decisions.filter(signed_at=None).first()
    if draft is None:
        raise Conflict("There is no unsigned answer to take back.")
    data = {"decision": str(draft.pk), "value": draft.value}
    forget_unfinished([work_item.pk])
    if unfinished:
        leave_unfinished([draft])
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


def clean_answer(
    item: Item, *, value: str, reason: str, kept: Sequence[str], until: date | None, opened: bool
) -> dict[str, Any]:
    """The answer as stored. Raises `Invalid` with every field that is wrong.

    `opened` says whether the evidence was: nobody keeps a critical thing without having opened it (`evidence_hash`).
    """
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
    if value in KEEPS and tier in EVIDENCE_REQUIRED and not opened:
        errors["evidence_hash"] = [
            f"Read all evidence of {item} before you keep it: nothing {tier} is kept with its evidence unopened."
        ]
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

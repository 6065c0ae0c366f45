"""Items between launch and signature: in whose hands they are, and who gets them next."""

from collections.abc import Collection, Sequence
from uuid import UUID

from django.db import transaction

from registry.accounts.models import User
from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Changed, Conflict, Invalid, NotIndependent, RegistryError
from registry.core.events import publish
from registry.core.independence import bars
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.reviews.assignment import Choice, next_reviewers
from registry.reviews.events import ItemStuck
from registry.reviews.gate import without_reviewer
from registry.reviews.models import Campaign, Item, WorkItem, WorkItemMove
from registry.reviews.pools import may_review
from registry.reviews.seats import asked_before, seats_of
from registry.reviews.services.generation import admit
from registry.reviews.services.launch import try_to_open
from registry.reviews.services.moves import (
    close_work,
    locked_campaign,
    locked_item,
    locked_items,
    locked_work_item,
    move_item,
)
from registry.reviews.states import WORK_ITEM, CampaignState, ItemState, WorkItemState


class FactsChanged(Conflict):
    """Material facts differ from those the reviewer saw; they have to be seen first (RECERTIFICATION section 3b)."""

    code, title = "facts-changed", "The facts changed meanwhile"


class TooLate(Conflict):
    """The deadline has passed (invariant 7): never accepted, never dropped in silence."""

    code, title = "too-late", "The deadline has passed"


def review_version(work_item: WorkItem) -> str:
    """The ETag of a reviewer's view of an item: it changes with the item and with their own answer."""
    return f'"{work_item.pk.hex}.{work_item.item.version}.{work_item.version}"'


def check_review_version(work_item: WorkItem, expected: str | None) -> None:
    if expected not in (None, "*", review_version(work_item)):
        raise Changed("This item or your answer changed since you opened it. Look again before you decide.")


def require_open(item: Item) -> None:
    """Raise unless the item's campaign takes answers now."""
    campaign = item.campaign
    if campaign.state != CampaignState.ACTIVE:
        raise Conflict(f"{campaign.name} is {campaign.get_state_display().lower()}; it takes no decisions.")
    if clock.now() > item.due_at:
        raise TooLate(
            f"The deadline passed on {item.due_at:%A %d %B %Y, %H:%M} UTC. Ask the campaign's owner for more time."
        )


# --- In whose hands --------------------------------------------------------------------------------------


def unfit(user: User, item: Item, asked: Collection[UUID]) -> RegistryError | None:
    """Why this person may not get this item, as the error to raise; None when they may.

    `asked` is who holds or held it, in any stage: nobody decides on the same item twice (invariant 4).
    """
    if not may_review(user, item.kind):
        message = f"{user} is not active, or may not review a {item.kind}."
        return Invalid(message, fields={"to": [message]})
    if reasons := bars(user.pk, item):
        return NotIndependent(f"{user} cannot review {item}: {user} {' and '.join(reasons)}.", fields={"to": reasons})
    if user.pk in asked:
        return Conflict(f"{user} had this item already.", fields={"to": ["Had this item already."]})
    return None


def _require_fit(user: User, item: Item) -> None:
    if refusal := unfit(user, item, asked_before([item])[item.pk]):
        raise refusal


def hand_over(actor: Actor, work_item: WorkItem, to: User, kind: WorkItemMove.Kind, because: str, note: str) -> None:
    """Put the same work item into other hands; who had it first stays known. The caller holds item and work item."""
    item, before = work_item.item, work_item.reviewer
    work_item.decisions.filter(signed_at=None).delete()
    if work_item.state == WorkItemState.RESPONDED:
        WORK_ITEM.move(work_item, WorkItemState.OPEN, field="state")
    work_item.reviewer, work_item.chosen_because, work_item.first_shown_at = to, because[:300], None
    work_item.save()
    admit(item.subject, [to])
    _note_move(actor, work_item, kind, before, to, note)
    if item.state == ItemState.DECIDED:
        move_item(actor, item, ItemState.IN_REVIEW, because=kind)


def _note_move(
    actor: Actor, work_item: WorkItem, kind: WorkItemMove.Kind, before: User, to: User | None, note: str
) -> None:
    WorkItemMove.objects.create(
        work_item=work_item,
        kind=kind,
        from_reviewer=before,
        to_reviewer=to,
        by=actor.user,
        note=note,
        at=clock.now(),
    )
    record(
        actor=actor,
        act=f"work_item.{kind}",
        subject=work_item.item,
        data={"from": str(before.pk), "to": str(to.pk) if to else None, "note": note},
    )


@transaction.atomic
def reassign_work_item(
    *, actor: Actor, work_item: WorkItem, to: User, note: str, expected_version: str | None = None
) -> WorkItem:
    """Hand an undecided item to somebody else: a reviewer delegates their own, the campaign's manager reassigns any.

    An unsigned draft is discarded. Raises `NotIndependent`, `Invalid` or `Conflict` when `to` does not fit.
    """
    require(actor, "reviews.reassign", work_item)
    refuse_secrets({"note": note})
    work_item = locked_work_item(work_item.pk)
    check_review_version(work_item, expected_version)
    require(actor, "reviews.reassign", work_item)
    _require_unsigned(work_item)
    if not note.strip():
        raise Invalid(fields={"note": ["Say why, for whoever gets it."]})
    _require_fit(to, work_item.item)
    kind = WorkItemMove.Kind.DELEGATED if actor.is_person(work_item.reviewer_id) else WorkItemMove.Kind.REASSIGNED
    hand_over(actor, work_item, to, kind, f"{kind.label} by {actor.user or actor.label}.", note.strip())
    return work_item


def _require_unsigned(work_item: WorkItem) -> None:
    if work_item.state == WorkItemState.CLOSED:
        raise Conflict("This item is signed or handed on already.")


@transaction.atomic
def recuse_work_item(
    *, actor: Actor, work_item: WorkItem, reason: str, expected_version: str | None = None
) -> WorkItem:
    """Step back from an item: a conflict of interest is an answer too. Somebody independent gets it.

    With nobody left it stays ESCALATED in the hands of the campaign's owner, who is told.
    """
    require(actor, "reviews.decide", work_item)
    refuse_secrets({"reason": reason})
    work_item = locked_work_item(work_item.pk)
    require(actor, "reviews.decide", work_item)
    check_review_version(work_item, expected_version)
    _require_unsigned(work_item)
    if not reason.strip():
        raise Invalid(fields={"reason": ["Say what keeps you from deciding this."]})
    item, kind = work_item.item, WorkItemMove.Kind.RECUSED
    choice = next(iter(next_reviewers(item, stage=item.stage, instead_of=work_item)), None)
    if choice is None:
        close_work([work_item])
        _note_move(actor, work_item, kind, work_item.reviewer, None, reason.strip())
        _escalated(actor, item, found=False, because="recused")
    else:
        hand_over(actor, work_item, choice.reviewer, kind, choice.because, reason.strip())
        _escalated(actor, item, found=True, because="recused")
    return work_item


@transaction.atomic
def escalate(actor: Actor, work_item: WorkItem, *, because: str) -> WorkItem | None:
    """Whoever had it did not answer: take it from them and ask the next independent person, in a work item of theirs.

    None when nobody is left: the item is then ESCALATED, and the campaign's owner is told and may assign somebody.
    Raises `Conflict` when the work item is closed already. Who is late loses their unsigned draft.
    """
    require(actor, "reviews.manage_campaign", work_item.item.campaign)
    work_item = locked_work_item(work_item.pk)
    _require_unsigned(work_item)
    close_work([work_item])
    made = ask_another(actor, work_item.item, [work_item], because=because)
    return made[0] if made else None


def ask_another(actor: Actor, item: Item, vacant: Sequence[WorkItem], *, because: str) -> list[WorkItem]:
    """Ask somebody else in the place of each of these closed work items, or, when there are none, for the whole stage.

    Returns the new work items. Without any, and with nobody else still to answer, the item stays ESCALATED and the
    campaign's owner is told. The caller holds the item.
    """
    made = _fill(actor, item, vacant, because)
    filled = {place.pk for place, _work_item in made if place is not None}
    for closed in vacant:
        if closed.pk not in filled:
            _note_move(actor, closed, WorkItemMove.Kind.ESCALATED, closed.reviewer, None, because)
    _escalated(actor, item, found=bool(made), because=because)
    return [work_item for _place, work_item in made]


def _fill(actor: Actor, item: Item, vacant: Sequence[WorkItem], because: str) -> list[tuple[WorkItem | None, WorkItem]]:
    """New work items for the places for which somebody is found: `(the one it replaces, the new one)`."""
    if not vacant:
        return [(None, open_work(item, choice, side=choice.side)) for choice in next_reviewers(item, stage=item.stage)]
    made: list[tuple[WorkItem | None, WorkItem]] = []
    for closed in vacant:
        for choice in next_reviewers(item, stage=item.stage, instead_of=closed):
            made.append((closed, open_work(item, choice, side=closed.side)))
            _note_move(actor, closed, WorkItemMove.Kind.ESCALATED, closed.reviewer, choice.reviewer, because)
    return made


def _escalated(actor: Actor, item: Item, *, found: bool, because: str) -> None:
    """The item's own state once somebody dropped out: back in review, or in nobody's hands."""
    if not found and item.work_items.exclude(state=WorkItemState.CLOSED).exists():
        return
    if item.state not in (ItemState.ESCALATED, ItemState.PENDING):
        move_item(actor, item, ItemState.ESCALATED, because=because)
    if found:
        move_item(actor, item, ItemState.IN_REVIEW)
    else:
        publish(ItemStuck(item_id=item.pk))


def open_work(item: Item, choice: Choice, *, side: str = "") -> WorkItem:
    """A work item in the item's present stage; whoever reviews it may see what it is about."""
    work_item = WorkItem.objects.create(
        item=item,
        stage=item.stage,
        side=side,
        reviewer=choice.reviewer,
        original_reviewer=choice.meant,
        chosen_because=choice.because[:300],
    )
    admit(item.subject, [choice.reviewer])
    return work_item


@transaction.atomic
def assign_reviewer(*, actor: Actor, item: Item, to: User, note: str = "") -> WorkItem:
    """Give an item that is in nobody's hands to a named person, who must be independent."""
    require(actor, "reviews.manage_campaign", item.campaign)
    refuse_secrets({"note": note})
    item = locked_item(item.pk)
    if item.state not in (ItemState.PENDING, ItemState.ESCALATED):
        raise Conflict(f"This item is {item.get_state_display().lower()}; it does not wait for a reviewer.")
    _require_fit(to, item)
    vacant = _vacant(item)
    because = f"Chosen by {actor.user or actor.label}. {note}".strip()
    work_item = open_work(item, Choice(to, because), side=vacant[0].side if vacant else "")
    if vacant:
        _note_move(actor, vacant[0], WorkItemMove.Kind.ESCALATED, vacant[0].reviewer, to, because)
    move_item(actor, item, ItemState.IN_REVIEW, reviewer=str(to.pk), note=note)
    return work_item


def _vacant(item: Item) -> list[WorkItem]:
    """Places of the present stage that nobody holds and nobody's answer fills."""
    seats = seats_of([item])[item.pk].get(item.stage, [])
    return [seat.work_item for seat in seats if seat.vacant(item)]


@transaction.atomic
def retry_assignment(*, actor: Actor, campaign: Campaign) -> int:
    """Look for reviewers again after people or the pool changed; open the campaign if that was all it lacked.

    Returns how many items found a reviewer.
    """
    require(actor, "reviews.manage_campaign", campaign)
    campaign = locked_campaign(campaign.pk)
    if campaign.state not in (CampaignState.STAGED, CampaignState.ACTIVE):
        raise Conflict(f"This campaign is {campaign.get_state_display().lower()}; nothing waits for a reviewer.")
    found = 0
    for item in locked_items(without_reviewer(campaign).values_list("pk", flat=True)):
        if _fill(actor, item, _vacant(item), "Looked for a reviewer again."):
            move_item(actor, item, ItemState.IN_REVIEW)
            found += 1
    if campaign.state == CampaignState.STAGED:
        try_to_open(actor, campaign)
    return found

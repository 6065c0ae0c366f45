"""Items between launch and signature: in whose hands they are, and whether their facts still hold."""

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction

from registry.accounts.models import User
from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Changed, Conflict, Invalid, NotIndependent
from registry.core.events import publish
from registry.core.independence import bars
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.reviews.assignment import Assigner, Choice, may_review, preference
from registry.reviews.events import ItemStuck
from registry.reviews.models import Campaign, Item, WorkItem, WorkItemMove
from registry.reviews.population import open_load, owners_reached, reviewer_pool, subjects, without_reviewer
from registry.reviews.services.campaigns import locked_campaign
from registry.reviews.services.generation import admit
from registry.reviews.services.launch import try_to_open
from registry.reviews.states import ITEM, WORK_ITEM, CampaignState, ItemState, WorkItemState


class FactsChanged(Conflict):
    """Material facts differ from those the reviewer saw; they have to be seen first (RECERTIFICATION section 3b)."""

    code, title = "facts-changed", "The facts changed meanwhile"


class TooLate(Conflict):
    """The deadline has passed (invariant 7): never accepted, never dropped in silence."""

    code, title = "too-late", "The deadline has passed"


def locked_item(item_id: UUID) -> Item:
    fresh: Item = (
        Item.objects.select_for_update(of=("self",))
        .select_related("campaign__template", "server", "grant__agent__server", "grant__server",
                        "connection__server", "connection__system")
        .prefetch_related("refreshes")
        .get(pk=item_id)
    )  # fmt: skip
    return fresh


def locked_work_item(work_item_id: UUID) -> WorkItem:
    """The work item and, before it, its item: always in this order."""
    item_id = WorkItem.objects.values_list("item", flat=True).get(pk=work_item_id)
    item = locked_item(item_id)
    fresh: WorkItem = WorkItem.objects.select_for_update(of=("self",)).select_related("reviewer").get(pk=work_item_id)
    fresh.item = item
    return fresh


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


def move_item(actor: Actor, item: Item, after: ItemState, **data: object) -> None:
    before = item.state
    ITEM.move(item, after, field="state")
    item.save(update_fields=["state", "outcome"])
    record(actor=actor, act=f"item.{after}", subject=item, data={"before": before, **data})


# --- Facts that move -------------------------------------------------------------------------------------


# --- In whose hands --------------------------------------------------------------------------------------


def _require_fit(user: User, item: Item) -> None:
    """Raise unless this person may review the item: active, of the right role, independent, not asked before."""
    if not may_review(user, item.kind):
        raise Invalid(fields={"to": [f"{user} is not active, or may not review a {item.kind}."]})
    if reasons := bars(user.pk, item):
        raise NotIndependent(f"{user} cannot review {item}: {user} {' and '.join(reasons)}.", fields={"to": reasons})
    if user.pk in _asked_before(item):
        raise Conflict(f"{user} had this item already.", fields={"to": ["Had this item already."]})


def _asked_before(item: Item) -> set[UUID]:
    held = set(item.work_items.values_list("reviewer", flat=True))
    gave = WorkItemMove.objects.filter(work_item__item=item, kind=WorkItemMove.Kind.RECUSED)
    return held | set(gave.values_list("from_reviewer", flat=True))


def _next_reviewer(item: Item) -> Choice | None:
    """The best independent person who was not asked about this item yet."""
    campaign = item.campaign
    stage = campaign.template.stages.filter(position=item.stage).first() if campaign.template else None
    pool = {user.pk: user for user in reviewer_pool(stage)}
    rule = campaign.stages[item.stage - 1]["reviewer_rule"]
    reached = owners_reached([item.server_id or item.subject.server_id]) if rule == "system_owner" else {}
    assigner = Assigner(pool, open_load(pool), preference(rule, reached))
    thing = subjects(item.kind, [item.subject_pk])[item.subject_pk]
    return assigner.choose(item, kind=item.kind, subject=thing, without=_asked_before(item))


def _hand_over(work_item: WorkItem, to: User, because: str) -> None:
    """Put the same work item into other hands; who had it first stays known."""
    _discard_draft(work_item)
    if work_item.state == WorkItemState.RESPONDED:
        WORK_ITEM.move(work_item, WorkItemState.OPEN, field="state")
    work_item.reviewer, work_item.chosen_because, work_item.reminded_on = to, because[:300], None
    work_item.save()
    admit(work_item.item.subject, [to])


def _discard_draft(work_item: WorkItem) -> None:
    work_item.decisions.filter(signed_at=None).delete()


def _note_move(actor: Actor, work_item: WorkItem, kind: str, before: User, to: User | None, note: str) -> None:
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
    if work_item.state == WorkItemState.CLOSED:
        raise Conflict("This item is signed or handed on already.")
    if not note.strip():
        raise Invalid(fields={"note": ["Say why, for whoever gets it."]})
    _require_fit(to, work_item.item)
    own = actor.is_person(work_item.reviewer_id)
    kind = WorkItemMove.Kind.DELEGATED if own else WorkItemMove.Kind.REASSIGNED
    before = work_item.reviewer
    _hand_over(work_item, to, f"{kind.label} by {actor.user or actor.label}.")
    _note_move(actor, work_item, kind, before, to, note.strip())
    if work_item.item.state == ItemState.DECIDED:
        move_item(actor, work_item.item, ItemState.IN_REVIEW)
    return work_item


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
    check_review_version(work_item, expected_version)
    if work_item.state == WorkItemState.CLOSED:
        raise Conflict("This item is signed or handed on already.")
    if not reason.strip():
        raise Invalid(fields={"reason": ["Say what keeps you from deciding this."]})
    before = work_item.reviewer
    choice = _next_reviewer(work_item.item)
    if work_item.item.state != ItemState.ESCALATED:
        move_item(actor, work_item.item, ItemState.ESCALATED, because="recused")
    if choice is None:
        _discard_draft(work_item)
        WORK_ITEM.move(work_item, WorkItemState.CLOSED, field="state")
        work_item.save()
        publish(ItemStuck(item_id=work_item.item_id))
    else:
        _hand_over(work_item, choice.reviewer, choice.because)
        move_item(actor, work_item.item, ItemState.IN_REVIEW, reviewer=str(choice.reviewer.pk))
    _note_move(actor, work_item, WorkItemMove.Kind.RECUSED, before, choice.reviewer if choice else None, reason.strip())
    return work_item


def escalate(actor: Actor, item: Item, closed: WorkItem, note: str) -> None:
    """Somebody answered "not sure": the next independent person decides, because nothing is kept by not knowing."""
    move_item(actor, item, ItemState.ESCALATED, because="not decided")
    choice = _next_reviewer(item)
    if choice is None:
        publish(ItemStuck(item_id=item.pk))
    else:
        _open_work(item, choice.reviewer, choice.because, closed.stage)
        move_item(actor, item, ItemState.IN_REVIEW, reviewer=str(choice.reviewer.pk))
    reviewer = choice.reviewer if choice else None
    _note_move(actor, closed, WorkItemMove.Kind.ESCALATED, closed.reviewer, reviewer, note)


def _open_work(item: Item, reviewer: User, because: str, stage: int = 1) -> WorkItem:
    work_item = WorkItem.objects.create(
        item=item, stage=stage, reviewer=reviewer, original_reviewer=reviewer, chosen_because=because[:300]
    )
    admit(item.subject, [reviewer])
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
    work_item = _open_work(item, to, f"Chosen by {actor.user or actor.label}. {note}".strip())
    move_item(actor, item, ItemState.IN_REVIEW, reviewer=str(to.pk), note=note)
    return work_item


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
    for pk in _ids(without_reviewer(campaign).order_by("pk")):
        item = locked_item(pk)
        choice = _next_reviewer(item)
        if choice is not None:
            _open_work(item, choice.reviewer, choice.because)
            move_item(actor, item, ItemState.IN_REVIEW, reviewer=str(choice.reviewer.pk))
            found += 1
    if campaign.state == CampaignState.STAGED:
        try_to_open(actor, campaign)
    return found


def _ids(items: object) -> Sequence[UUID]:
    return list(items.values_list("pk", flat=True))  # type: ignore[attr-defined]

"""Items between launch and signature: in whose hands they are, and whether their facts still hold."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from registry.accounts.models import User
from registry.audit.services import record
from registry.catalog.models import Server
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Changed, Conflict, Invalid, NotIndependent
from registry.core.events import publish
from registry.core.independence import bars, require_decider, require_independent
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.reviews.assignment import Assigner, Choice, may_review, preference
from registry.reviews.events import ItemStuck
from registry.reviews.facts import collect, evidence_of
from registry.reviews.models import Campaign, Decision, Item, ItemRefresh, WorkItem, WorkItemMove
from registry.reviews.queries import KIND_ORDER, open_load, owners_reached, reviewer_pool, subjects, without_reviewer
from registry.reviews.services.campaigns import advance_campaign, locked_campaign, move_campaign, try_to_open
from registry.reviews.services.certificates import end_stale_certificates
from registry.reviews.services.generation import admit
from registry.reviews.states import ITEM, OPEN_ITEM, WORK_ITEM, CampaignState, ItemState, WorkItemState

WATCH = Actor.system("facts under review")
_REVIEWED = (ItemState.IN_REVIEW, ItemState.DECIDED)
CHUNK = 200


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


@transaction.atomic
def check_items(*, item_ids: Iterable[UUID], actor: Actor = WATCH) -> int:
    """Compare open items with the present facts: vanished ones become OBSOLETE, changed ones INVALIDATED.

    Drafts on changed facts are discarded. Returns how many items moved.
    """
    require(actor, "reviews.manage_campaign")
    moved, campaigns = 0, set()
    items = list(
        Item.objects.select_for_update(of=("self",))
        .filter(pk__in=list(item_ids), state__in=OPEN_ITEM)
        .select_related("campaign")
        .prefetch_related("refreshes")
        .order_by("pk")
    )
    for kind in KIND_ORDER:
        part = [item for item in items if item.kind == kind]
        evidence = collect(kind, [item.subject_pk for item in part]) if part else {}
        for item in part:
            now = evidence[item.subject_pk]
            if not now.in_place or (
                item.campaign.kind == Campaign.Kind.INTAKE and now.subject.lifecycle != "submitted"
            ):
                _discard_drafts(item)
                item.work_items.exclude(state=WorkItemState.CLOSED).update(state=WorkItemState.CLOSED)
                move_item(actor, item, ItemState.OBSOLETE)
                campaigns.add(item.campaign_id)
                moved += 1
            elif item.state in _REVIEWED and now.fingerprint != item.seen.fingerprint:
                _discard_drafts(item)
                move_item(actor, item, ItemState.INVALIDATED, seen=item.seen.fingerprint, now=now.fingerprint)
                moved += 1
    for campaign_id in sorted(campaigns):
        campaign = locked_campaign(campaign_id)
        if campaign.kind == Campaign.Kind.INTAKE and campaign.state in (CampaignState.STAGED, CampaignState.ACTIVE):
            campaign.state_reason = "The registration was withdrawn."
            move_campaign(actor, campaign, CampaignState.CANCELLED, reason=campaign.state_reason)
        else:
            advance_campaign(actor, campaign)
    return moved


def _discard_drafts(item: Item) -> None:
    Decision.objects.filter(work_item__item=item, signed_at=None).delete()
    for work_item in item.work_items.filter(state=WorkItemState.RESPONDED):
        WORK_ITEM.move(work_item, WorkItemState.OPEN, field="state")
        work_item.save(update_fields=["state"])


def recheck(*, kind: str, id: UUID) -> int:
    """A server, agent, system, grant or connection changed: look at the items and certificates that rest on it."""
    servers = Server.objects.filter(
        {
            "server": Q(pk=id),
            "agent": Q(grants__agent=id),
            "system": Q(connections__system=id),
            "grant": Q(grants=id),
            "connection": Q(connections=id),
        }[kind]
    )
    ids = list(servers.values_list("pk", flat=True).distinct())
    about = Q(server__in=ids) | Q(grant__server__in=ids) | Q(connection__server__in=ids)
    items = Item.objects.filter(about, state__in=OPEN_ITEM).values_list("pk", flat=True)
    moved = check_items(item_ids=list(items))
    return moved + end_stale_certificates(server_ids=ids)


def sweep_items() -> int:
    """Every open item against the present facts, for events that got lost."""
    moved, last = 0, None
    while True:
        rows = Item.objects.filter(state__in=OPEN_ITEM).order_by("pk")
        chunk = list((rows.filter(pk__gt=last) if last else rows).values_list("pk", flat=True)[:CHUNK])
        if not chunk:
            return moved
        moved += check_items(item_ids=chunk)
        last = chunk[-1]


def confirm_facts(*, actor: Actor, work_item: WorkItem, evidence_hash: str) -> ItemRefresh:
    """The reviewer has seen the changed facts and goes on: stored beside the snapshot, never over it.

    `evidence_hash` is the one of the new evidence. Raises `Changed` when the facts moved once more.
    """
    require_decider(actor, "reviews.decide", work_item)
    # Nobody may have noticed the change yet but the page that shows it.
    check_items(item_ids=[work_item.item_id])
    return _confirm(actor=actor, work_item=work_item, evidence_hash=evidence_hash)


@transaction.atomic
def _confirm(*, actor: Actor, work_item: WorkItem, evidence_hash: str) -> ItemRefresh:
    work_item = locked_work_item(work_item.pk)
    require_decider(actor, "reviews.decide", work_item)
    item = work_item.item
    require_open(item)
    require_independent(actor, item)
    if item.state != ItemState.INVALIDATED:
        raise Conflict("Nothing changed that you have not seen.")
    now = evidence_of(item.subject)
    if now.evidence_hash != evidence_hash:
        raise Changed("The facts changed once more. Look at them again.")
    refresh = ItemRefresh.objects.create(
        item=item,
        snapshot=now.snapshot,
        fingerprint=now.fingerprint,
        evidence_hash=now.evidence_hash,
        seen_by=actor.user,
        at=clock.now(),
    )
    move_item(actor, item, ItemState.IN_REVIEW, fingerprint=now.fingerprint, evidence_hash=now.evidence_hash)
    return refresh


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

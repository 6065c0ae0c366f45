"""From one stage to the next: whoever decided so far is out, and somebody else looks again (invariant 4).

The campaign's row says at once which stage it is in; its items follow in chunks, each in a transaction of its own.
An item that is behind its campaign has not followed yet, so that whoever comes next, after a worker was killed too,
knows what is left to do.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from registry.accounts.models import User
from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.canonical import digest
from registry.core.events import publish
from registry.core.permissions import require
from registry.reviews.assignment import reviewers_for
from registry.reviews.cadence import end_of_day
from registry.reviews.events import ItemStuck, ReviewsOpened, StageOpened
from registry.reviews.models import Campaign, Item, SubjectKind, WorkItem
from registry.reviews.services.generation import admit_all
from registry.reviews.services.moves import locked_campaign, locked_items
from registry.reviews.states import ITEM, OPEN_ITEM, CampaignState, ItemState, WorkItemState

STAGES = Actor.system("campaign stages")
CHUNK = 500
STALE_AFTER = timedelta(seconds=30)
AT_ONCE = 100
"""Up to this many items follow in the request that signed the last one; more would keep that person waiting."""

_FOLLOWING = {ItemState.DECIDED: ItemState.IN_REVIEW, ItemState.INVALIDATED: ItemState.INVALIDATED}
"""What an item becomes in the next stage. One whose facts changed stays locked until somebody there has seen them."""


def behind(campaign: Campaign) -> QuerySet[Item]:
    """Open items that have not followed their campaign into its present stage yet."""
    return campaign.items.filter(state__in=OPEN_ITEM, stage__lt=campaign.stage)


def left_behind() -> Exists:
    """The same of whatever campaigns are asked for."""
    return Exists(Item.objects.filter(campaign=OuterRef("pk"), state__in=OPEN_ITEM, stage__lt=OuterRef("stage")))


def under_review(campaign: Campaign) -> bool:
    """Whether anybody still has something to say, or to be found, in the present stage."""
    unsigned = WorkItem.objects.filter(item=OuterRef("pk")).exclude(state=WorkItemState.CLOSED)
    waiting = Q(state__in=[ItemState.PENDING, ItemState.IN_REVIEW, ItemState.ESCALATED]) | Q(stage__lt=campaign.stage)
    items = campaign.items.filter(state__in=OPEN_ITEM)
    return items.filter(waiting).exists() or items.filter(Exists(unsigned)).exists()


def begin_next_stage(actor: Actor, campaign: Campaign) -> None:
    """Open the stage after the present one. The caller holds the row and knows that nothing is under review.

    Few items follow at once, many in the background.
    """
    campaign.stage += 1
    before, campaign.due_at = campaign.due_at, end_of_day(clock.today() + clock.days(_duration(campaign)))
    campaign.progressed_at = clock.now()
    campaign.save(update_fields=["stage", "due_at", "progressed_at"])
    items = behind(campaign).count()
    record(
        actor=actor,
        act="campaign.stage_opened",
        subject=campaign,
        data={"stage": campaign.stage, "due_before": before, "due_at": campaign.due_at, "items": items},
    )
    if items <= AT_ONCE:
        _follow(STAGES, campaign)
        publish(ReviewsOpened())
    else:
        publish(StageOpened(campaign_id=campaign.pk))


def open_stage(*, campaign_id: UUID, actor: Actor = STAGES) -> int:
    """Let a campaign's items follow it into its stage, chunk by chunk. Returns how many did; again does nothing."""
    require(actor, "reviews.manage_campaign")
    followed = 0
    while True:
        with transaction.atomic():
            campaign = locked_campaign(campaign_id)
            moved = _follow(actor, campaign) if campaign.state == CampaignState.ACTIVE else 0
            if followed and not moved:
                publish(ReviewsOpened())
        if not moved:
            return followed
        followed += moved


def resume_stages(*, now: datetime) -> list[UUID]:
    """Enqueue stages that stopped moving: their message died with a worker, their rows did not."""
    stale = Campaign.objects.filter(left_behind(), state=CampaignState.ACTIVE, progressed_at__lt=now - STALE_AFTER)
    found = list(stale.values_list("pk", flat=True))
    with transaction.atomic():
        for pk in found:
            publish(StageOpened(campaign_id=pk))
    return found


def _follow(actor: Actor, campaign: Campaign) -> int:
    """The next chunk of items gets its new reviewers. The caller holds the campaign's row."""
    chosen = behind(campaign).order_by("pk").values_list("pk", flat=True)[:CHUNK]
    items = locked_items(list(chosen))
    if not items:
        return 0
    choices = reviewers_for(items, stage=campaign.stage)
    work = [
        WorkItem(
            item=item,
            stage=campaign.stage,
            side=choice.side,
            reviewer=choice.reviewer,
            original_reviewer=choice.meant,
            chosen_because=choice.because[:300],
        )
        for item in items
        for choice in choices[item.pk]
    ]
    WorkItem.objects.bulk_create(work)
    _admit(items, {pk: [choice.reviewer for choice in seats] for pk, seats in choices.items()})
    stuck = [item for item in items if not choices[item.pk]]
    by_state: dict[str, list[UUID]] = defaultdict(list)
    for item in items:
        after = _FOLLOWING[ItemState(item.state)] if choices[item.pk] else ItemState.ESCALATED
        if after != item.state:
            ITEM.move(item, after, field="state")
        by_state[item.state].append(item.pk)
    for state, ids in by_state.items():
        Item.objects.filter(pk__in=ids).update(
            state=state,
            stage=campaign.stage,
            due_at=campaign.due_at,
            ladder_from=None,
            ladder_until=None,
            version=F("version") + 1,
            updated_at=clock.now(),
        )
    Campaign.objects.filter(pk=campaign.pk).update(progressed_at=clock.now())
    if stuck:
        publish(ItemStuck(item_id=stuck[0].pk))
    record(
        actor=actor,
        act="campaign.items_followed",
        subject=campaign,
        data={
            "stage": campaign.stage,
            "items": len(items),
            "without_reviewer": [str(item.pk) for item in stuck],
            "assignments": digest([[str(each.item_id), str(each.reviewer_id), each.side] for each in work]),
        },
    )
    return len(items)


def _admit(items: Sequence[Item], reviewers: Mapping[UUID, Sequence[User]]) -> None:
    """Whoever reviews an item may see what it is about."""
    for kind in SubjectKind.values:
        about = {item.subject_pk: reviewers[item.pk] for item in items if item.kind == kind}
        if about:
            admit_all(kind, list(about), partial(dict, about))


def _duration(campaign: Campaign) -> int:
    days: int = campaign.stages[campaign.stage - 1]["duration_days"]
    return days

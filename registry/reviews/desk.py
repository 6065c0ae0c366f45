"""Reads of a reviewer at work: inbox, queue, and what surrounds one item."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Exists, OuterRef, Prefetch, Q, QuerySet

from registry.core.actors import Actor
from registry.reviews.facts import Json
from registry.reviews.models import (
    Campaign,
    Decision,
    Item,
    SubjectKind,
    WorkItem,
)
from registry.reviews.states import OPEN_ITEM, CampaignState, ItemState, WorkItemState
from registry.trust.models import Grant
from registry.trust.states import Status

REVIEWABLE = (CampaignState.ACTIVE,)


SECONDS_PER_ITEM = 90


@dataclass(frozen=True)
class Inboxed:
    """One campaign in a reviewer's inbox."""

    campaign: Campaign
    open: int
    drafted: int
    high_risk: int
    invalidated: int

    @property
    def minutes(self) -> int:
        return max(1, round(self.open * SECONDS_PER_ITEM / 60))


def inbox(actor: Actor) -> list[Inboxed]:
    """Campaigns in which this person still has something to decide or to sign, the most urgent first."""
    if actor.user_id is None:
        return []
    rows = (
        WorkItem.objects.filter(
            reviewer=actor.user_id,
            state__in=[WorkItemState.OPEN, WorkItemState.RESPONDED],
            item__state__in=OPEN_ITEM,
            item__campaign__state__in=REVIEWABLE,
        )
        .order_by()
        .values("item__campaign")
        .annotate(
            open=Count("pk", filter=Q(state=WorkItemState.OPEN)),
            drafted=Count("pk", filter=Q(state=WorkItemState.RESPONDED)),
            high=Count("pk", filter=Q(state=WorkItemState.OPEN, item__tier__in=["critical", "high"])),
            invalidated=Count("pk", filter=Q(item__state=ItemState.INVALIDATED)),
        )
    )
    campaigns = Campaign.objects.select_related("owner").in_bulk([row["item__campaign"] for row in rows])
    found = [
        Inboxed(campaigns[row["item__campaign"]], row["open"], row["drafted"], row["high"], row["invalidated"])
        for row in rows
    ]
    return sorted(found, key=lambda each: (each.campaign.due_at, each.campaign.pk))


def inbox_count(actor: Actor) -> int:
    """Undecided items of this person: the number beside "My work"."""
    if actor.user_id is None:
        return 0
    return WorkItem.objects.filter(
        reviewer=actor.user_id,
        state=WorkItemState.OPEN,
        item__state__in=OPEN_ITEM,
        item__campaign__state__in=REVIEWABLE,
    ).count()


def queue(campaign: Campaign, actor: Actor) -> QuerySet[WorkItem]:
    """The actor's own work items of a campaign with their latest answer, in the order of the queue."""
    return (
        WorkItem.objects.filter(item__campaign=campaign, reviewer=actor.user_id)
        .exclude(item__state__in=[ItemState.OBSOLETE, ItemState.CANCELLED])
        # Closed without an answer: stepped back, and nobody else was found yet.
        .exclude(~Exists(Decision.objects.filter(work_item=OuterRef("pk"))), state=WorkItemState.CLOSED)
        .select_related(
            "item__server", "item__grant__server", "item__grant__agent", "item__connection__server",
            "item__connection__system",
        )
        .prefetch_related(Prefetch("decisions", queryset=Decision.objects.order_by("-decided_at")))
        .defer("item__snapshot")
        .order_by("item__id")
    )  # fmt: skip


def same_subject(item: Item) -> QuerySet[Item]:
    """Items about the same thing; versions of one relationship are one thing."""
    if item.kind == SubjectKind.SERVER:
        return Item.objects.filter(server=item.server_id)
    return Item.objects.filter(**{f"{item.kind}__lineage": item.subject.lineage})


def past_decisions(item: Item, limit: int = 5) -> list[Decision]:
    """Signed decisions on the same subject, newest first."""
    return list(
        Decision.objects.filter(work_item__item__in=same_subject(item), signed_at__isnull=False)
        .exclude(work_item__item=item)
        .select_related("work_item__reviewer", "work_item__item__campaign")
        .order_by("-signed_at")[:limit]
    )


CERTIFYING = (Decision.Value.CERTIFY, Decision.Value.CERTIFY_REDUCED, Decision.Value.CERTIFY_UNTIL)


def last_certified(item: Item) -> tuple[Json, datetime] | None:
    """The facts that were certified last, and when: the baseline of "what changed"."""
    decision = (
        Decision.objects.filter(work_item__item__in=same_subject(item), signed_at__isnull=False, value__in=CERTIFYING)
        .exclude(work_item__item=item)
        .select_related("work_item__item")
        .prefetch_related("work_item__item__refreshes")
        .order_by("-signed_at")
        .first()
    )
    if decision is None or decision.signed_at is None:
        return None
    return decision.work_item.item.seen.snapshot, decision.signed_at


def dependants(item: Item, limit: int = 8) -> tuple[list[Grant], int]:
    """Agents that lose function when a server is cut off."""
    if item.kind != SubjectKind.SERVER:
        return [], 0
    grants = (
        Grant.objects.filter(server=item.server_id, status=Status.ACTIVE)
        .select_related("agent")
        .order_by("agent__name")
    )
    return list(grants[:limit]), grants.count()

"""Reads of recertification: who is in scope, who may review, what blocks, how far it is."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, Max, OuterRef, Q, QuerySet

from registry.accounts.models import User
from registry.catalog.models import Server
from registry.reviews.models import (
    Campaign,
    Certificate,
    Decision,
    Item,
    Remediation,
    WorkItem,
)
from registry.reviews.states import ItemState, WorkItemState

# --- Scope and population --------------------------------------------------------------------------------


# --- Reviewers -------------------------------------------------------------------------------------------


# --- The launch gate -------------------------------------------------------------------------------------


# --- Progress --------------------------------------------------------------------------------------------

OUTCOMES: tuple[tuple[str, str, str], ...] = (
    ("ok", "certified", "certify certify_until"),
    ("warn", "reduced", "certify_reduced"),
    ("danger", "revoked", "revoke"),
    ("warn", "returned", "return"),
    ("accent", "not sure", "not_decided"),
)


@dataclass(frozen=True)
class Progress:
    """Of a campaign, or of one reviewer's share. `by_value` counts the latest answer of each work item."""

    total: int
    by_value: Mapping[str, int]
    signed: int = 0

    @property
    def decided(self) -> int:
        return sum(self.by_value.values())

    @property
    def left(self) -> int:
        return max(self.total - self.decided, 0)

    @property
    def segments(self) -> list[tuple[str, int, str]]:
        rows = [(tone, sum(self.by_value.get(v, 0) for v in values.split()), label) for tone, label, values in OUTCOMES]
        return [*rows, ("idle", self.left, "to do")]


def progress(campaign: Campaign, reviewer_id: UUID | None = None) -> Progress:
    """Answers by value, signed or not. Items that vanished or were cancelled ask nobody anything."""
    items = campaign.items.exclude(state__in=[ItemState.OBSOLETE, ItemState.CANCELLED])
    decisions = Decision.objects.filter(work_item__item__in=items)
    if reviewer_id is None:
        total = items.count()
    else:
        decisions = decisions.filter(work_item__reviewer=reviewer_id)
        total = WorkItem.objects.filter(
            Q(state__in=[WorkItemState.OPEN, WorkItemState.RESPONDED]) | Q(decisions__isnull=False),
            item__in=items,
            reviewer=reviewer_id,
        ).count()
    # An escalated answer was not one: the next reviewer's counts.
    if reviewer_id is None:
        decisions = decisions.exclude(value=Decision.Value.NOT_DECIDED, signed_at__isnull=False)
    counted = decisions.values("value").annotate(
        n=Count("work_item__item", distinct=True), signed=Count("pk", filter=Q(signed_at__isnull=False))
    )
    rows = list(counted)
    return Progress(total, {row["value"]: row["n"] for row in rows}, sum(row["signed"] for row in rows))


def progress_of_many(campaigns: Sequence[Campaign]) -> dict[UUID, Progress]:
    """Progress of a page of campaigns in two queries."""
    items = Item.objects.filter(campaign__in=campaigns).exclude(state__in=[ItemState.OBSOLETE, ItemState.CANCELLED])
    totals = {row["campaign"]: row["n"] for row in items.values("campaign").annotate(n=Count("pk")).order_by()}
    values: dict[UUID, dict[str, int]] = defaultdict(dict)
    signed: dict[UUID, int] = defaultdict(int)
    decisions = (
        Decision.objects.filter(work_item__item__in=items)
        .exclude(value=Decision.Value.NOT_DECIDED, signed_at__isnull=False)
        .order_by()
    )
    for row in decisions.values("work_item__item__campaign", "value").annotate(
        n=Count("work_item__item", distinct=True), signed=Count("pk", filter=Q(signed_at__isnull=False))
    ):
        values[row["work_item__item__campaign"]][row["value"]] = row["n"]
        signed[row["work_item__item__campaign"]] += row["signed"]
    return {c.pk: Progress(totals.get(c.pk, 0), values[c.pk], signed[c.pk]) for c in campaigns}


@dataclass(frozen=True)
class ReviewerRow:
    """A reviewer's share of a campaign."""

    reviewer: User
    assigned: int
    decided: int
    signed: int
    last_decided_at: datetime | None
    last_reminded_on: Any

    @property
    def open(self) -> int:
        return self.assigned - self.decided


def reviewers_of(campaign: Campaign) -> list[ReviewerRow]:
    drafted = Exists(Decision.objects.filter(work_item=OuterRef("pk")))
    signed = Exists(Decision.objects.filter(work_item=OuterRef("pk"), signed_at__isnull=False))
    rows = (
        WorkItem.objects.filter(item__campaign=campaign)
        .annotate(has_decision=drafted, has_signed=signed)
        # A closed work item without an answer was handed on.
        .exclude(state=WorkItemState.CLOSED, has_decision=False)
        .values("reviewer")
        .annotate(
            assigned=Count("pk", distinct=True),
            decided=Count("pk", filter=Q(has_decision=True), distinct=True),
            signed=Count("pk", filter=Q(has_signed=True), distinct=True),
            last=Max("decisions__decided_at"),
            reminded=Max("reminded_on"),
        )
        .order_by()
    )
    people = User.objects.in_bulk([row["reviewer"] for row in rows])
    found = [
        ReviewerRow(
            people[row["reviewer"]], row["assigned"], row["decided"], row["signed"], row["last"], row["reminded"]
        )
        for row in rows
    ]
    return sorted(found, key=lambda row: (-row.open, row.reviewer.name))


# --- Inbox and workbench ---------------------------------------------------------------------------------


def valid_certificate(subject: Any) -> Certificate | None:
    kind = "server" if isinstance(subject, Server) else subject.kind
    return Certificate.objects.filter(**{kind: subject.pk}, ended_at=None).select_related("decision__sign_off").first()


def open_remediations(campaign: Campaign) -> QuerySet[Remediation]:
    return Remediation.objects.filter(item__campaign=campaign).exclude(state="verified")

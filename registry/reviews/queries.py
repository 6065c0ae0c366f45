"""Reads of recertification for those who run it: how far it is, who has not answered, what lies still.

Everything here counts in the database, in a number of queries that does not grow with the campaign.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, Max, OuterRef, Q, QuerySet, Sum
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.catalog.models import Tier
from registry.core import clock
from registry.reviews.models import (
    Campaign,
    Item,
    SignOff,
    Template,
    WorkItem,
)
from registry.reviews.states import ItemState, WorkItemState

_I = ItemState
ASKS_NOBODY = (_I.OBSOLETE, _I.CANCELLED)
"""Items that vanished or were cancelled: they count in the population and ask for no answer."""
UNDECIDED = (_I.PENDING, _I.IN_REVIEW, _I.ESCALATED, _I.INVALIDATED)
STILL_AFTER_DAYS = 7
"""An undecided item that nothing happened to for longer than this lies still."""


# --- How far a campaign is -------------------------------------------------------------------------------

SEGMENTS: tuple[tuple[str, str | Promise, tuple[str, ...]], ...] = (
    ("ok", _("certified"), (_I.CERTIFIED, _I.CERTIFIED_UNTIL)),
    ("warn", _("reduced"), (_I.CERTIFIED_REDUCED,)),
    ("danger", _("revoked or suspended"), (_I.REVOKED,)),
    ("warn", _("returned"), (_I.RETURNED,)),
    ("danger", _("lapsed"), (_I.LAPSED,)),
    ("accent", _("decided, not signed"), (_I.DECIDED, _I.SIGNED)),
    ("idle", _("to do"), UNDECIDED),
)
WITH_OUTCOME = tuple(state for _tone, _label, states in SEGMENTS[:5] for state in states)


@dataclass(frozen=True)
class Progress:
    """Items of a campaign by state."""

    by_state: Mapping[str, int]

    def count(self, *states: str) -> int:
        return sum(self.by_state.get(state, 0) for state in states)

    @property
    def total(self) -> int:
        """Items that ask, or asked, for an answer."""
        return sum(self.by_state.values()) - self.count(*ASKS_NOBODY)

    @property
    def left(self) -> int:
        return self.count(*UNDECIDED)

    @property
    def decided(self) -> int:
        return self.total - self.left

    @property
    def signed(self) -> int:
        return self.count(*WITH_OUTCOME)

    @property
    def segments(self) -> list[tuple[str, int, str | Promise]]:
        return [(tone, self.count(*states), label) for tone, label, states in SEGMENTS]


@dataclass(frozen=True)
class StageRow:
    """One stage of the funnel."""

    number: int
    name: str
    reached: int
    left: int
    drafted: int
    ended: int
    """Items whose review ended here: nothing of them goes on to the next stage."""
    passed: int

    @property
    def segments(self) -> list[tuple[str, int, str | Promise]]:
        return [
            ("ok", self.passed, _("passed on")),
            ("ok", self.ended, _("settled here")),
            ("accent", self.drafted, _("decided, not signed")),
            ("idle", self.left, _("to do")),
        ]


@dataclass(frozen=True)
class Standing:
    """Where a campaign stands, from one count over its items by stage, state and tier."""

    rows: Sequence[tuple[int, str, str, int]]
    stages: Sequence[Mapping[str, Any]]

    @property
    def all_items(self) -> int:
        """Also those that vanished or were cancelled: what ties out with the population."""
        return sum(n for _stage, _state, _tier, n in self.rows)

    @property
    def progress(self) -> Progress:
        return Progress(self._states(self.rows))

    @property
    def tiers(self) -> list[tuple[str, Progress]]:
        """Progress of each tier that occurs, the highest first."""
        occurring = {tier for _stage, _state, tier, _n in self.rows}
        return [
            (tier, Progress(self._states(row for row in self.rows if row[2] == tier)))
            for tier in Tier.values
            if tier in occurring
        ]

    @property
    def funnel(self) -> list[StageRow]:
        found = []
        for number, stage in enumerate(self.stages or [{}], 1):
            here = Progress(self._states(row for row in self.rows if row[0] == number))
            beyond = Progress(self._states(row for row in self.rows if row[0] > number))
            found.append(
                StageRow(
                    number=number,
                    name=str(stage.get("name") or ""),
                    reached=here.total + beyond.total,
                    left=here.left,
                    drafted=here.count(_I.DECIDED, _I.SIGNED),
                    ended=here.signed,
                    passed=beyond.total,
                )
            )
        return found

    @staticmethod
    def _states(rows: Iterable[tuple[int, str, str, int]]) -> dict[str, int]:
        by_state: dict[str, int] = defaultdict(int)
        for _stage, state, _tier, n in rows:
            by_state[state] += n
        return by_state


def standing(campaign: Campaign) -> Standing:
    counted = campaign.items.order_by().values_list("stage", "state", "tier").annotate(n=Count("pk"))
    return Standing(list(counted), campaign.stages)


def progress(campaign: Campaign) -> Progress:
    return progress_of_many([campaign])[campaign.pk]


def progress_of_many(campaigns: Sequence[Campaign]) -> dict[UUID, Progress]:
    """Progress of a page of campaigns in one query."""
    by_state: dict[UUID, dict[str, int]] = defaultdict(dict)
    counted = Item.objects.filter(campaign__in=campaigns).order_by().values_list("campaign", "state")
    for campaign, state, n in counted.annotate(n=Count("pk")):
        by_state[campaign][state] = n
    return {campaign.pk: Progress(by_state[campaign.pk]) for campaign in campaigns}


# --- Who has not answered --------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReviewerRow:
    """A reviewer's share of a campaign, as whoever runs it sees it."""

    reviewer: User
    open: int
    drafted: int
    signed: int
    opened: int
    """Work items whose page they have opened."""
    last_answered_at: datetime | None

    @property
    def assigned(self) -> int:
        return self.open + self.drafted + self.signed

    @property
    def decided(self) -> int:
        return self.drafted + self.signed

    @property
    def silent(self) -> bool:
        """Was asked and has not answered once."""
        return bool(self.open) and not self.decided


def reviewers_of(campaign: Campaign) -> list[ReviewerRow]:
    """Everybody who has, or had and answered, items of this campaign; who has not answered first."""
    held = WorkItem.objects.filter(item__campaign=campaign).exclude(item__state__in=ASKS_NOBODY)
    answered = ~Q(state=WorkItemState.OPEN)
    counted = (
        held.order_by()
        .values("reviewer")
        .annotate(
            open=Count("pk", filter=Q(state=WorkItemState.OPEN)),
            drafted=Count("pk", filter=Q(state=WorkItemState.RESPONDED)),
            opened=Count("first_shown_at"),
            last=Max("updated_at", filter=answered),
        )
    )
    signatures = SignOff.objects.filter(campaign=campaign, kind=SignOff.Kind.REVIEWER).order_by()
    signed = dict(signatures.values_list("reviewer").annotate(n=Sum("decision_count")))
    # Handed on without an answer: neither open nor theirs any more.
    rows = [row for row in counted if row["open"] or row["drafted"] or signed.get(row["reviewer"])]
    people = User.objects.in_bulk([row["reviewer"] for row in rows])
    found = [
        ReviewerRow(
            reviewer=people[row["reviewer"]],
            open=row["open"],
            drafted=row["drafted"],
            signed=signed.get(row["reviewer"], 0),
            opened=row["opened"],
            last_answered_at=row["last"],
        )
        for row in rows
    ]
    return sorted(found, key=lambda row: (not row.silent, -row.open, row.reviewer.name))


# --- What lies still -------------------------------------------------------------------------------------


def lying_still(items: QuerySet[Item]) -> QuerySet[Item]:
    """Undecided ones that nothing happened to for a week: not opened, not handed on, not escalated."""
    since = clock.now() - clock.days(STILL_AFTER_DAYS)
    touched = WorkItem.objects.filter(item=OuterRef("pk")).filter(
        Q(updated_at__gte=since) | Q(first_shown_at__gte=since)
    )
    return items.filter(~Exists(touched), state__in=UNDECIDED, updated_at__lt=since)


def in_nobodys_hands(items: QuerySet[Item]) -> QuerySet[Item]:
    """Open ones that nobody is asked about at the moment."""
    held = WorkItem.objects.filter(item=OuterRef("pk")).exclude(state=WorkItemState.CLOSED)
    return items.filter(~Exists(held), state__in=[_I.PENDING, _I.ESCALATED])


@dataclass(frozen=True)
class MissedRun:
    template: Template
    planned_on: date


def missed_runs(today: date) -> list[MissedRun]:
    """Templates whose planned day has passed without a launch (invariant 20)."""
    late = Template.objects.filter(enabled=True, next_run_on__lt=today).select_related("owner").order_by("next_run_on")
    return [MissedRun(template, template.next_run_on) for template in late if template.next_run_on is not None]

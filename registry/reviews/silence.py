"""Who has not answered, how far the ladder has come with them, and how much it may do by itself: what reminders,
ladder and simulation share.

Selections happen in the database, so that a sweep over 100,000 items in good order costs a few index scans.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db.models import (
    Case,
    DateTimeField,
    DurationField,
    Exists,
    ExpressionWrapper,
    F,
    Func,
    OuterRef,
    Q,
    QuerySet,
    TextField,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Concat

from registry.catalog.models import Tier
from registry.core import clock
from registry.reviews.cadence import INTAKE_RUNGS, LATE, Rung, rungs
from registry.reviews.models import AutomaticAction, Campaign, Decision, Item, LadderStep, WorkItem
from registry.reviews.states import OPEN_ITEM, AutomaticActionState, ItemState, WorkItemState

UNSIGNED = (WorkItemState.OPEN, WorkItemState.RESPONDED)
"""A draft is no answer yet: whoever decided still has to sign."""


def rungs_of(campaign: Campaign, tier: str) -> list[Rung]:
    """What happens to silence in this campaign; a registration is only reminded of."""
    if campaign.kind == Campaign.Kind.INTAKE:
        return rungs({tier: INTAKE_RUNGS}, tier)
    return rungs(campaign.ladder, tier)


def deadline(prefix: str = "") -> Case:
    """`Item.deadline` in SQL: what the ladder counts from."""
    return Case(
        When(**{f"{prefix}ladder_until": F(f"{prefix}due_at")}, then=F(f"{prefix}ladder_from")),
        default=F(f"{prefix}due_at"),
        output_field=DateTimeField(),
    )


class _Iso(Func):
    """An instant as `Rung.name` writes it."""

    template = """to_char((%(expressions)s) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    output_field = TextField()


def _name(rung: Rung, counted_from: Combinable) -> Concat:
    """`Rung.name` in SQL."""
    return Concat(_Iso(counted_from), Value(f" {rung.day:+d} {rung.act}"), output_field=TextField())


def climbed(rung: Rung, work_item: str = "pk") -> Exists:
    """Whether a work item stands on this rung already; the query has `counted_from`."""
    return Exists(LadderStep.objects.filter(work_item=OuterRef(work_item), rung=_name(rung, OuterRef("counted_from"))))


def unsigned_work(campaign: Campaign, tier: str = "") -> QuerySet[WorkItem]:
    """Work items of the present stage whose reviewer may still be waited for, with `counted_from`."""
    found = WorkItem.objects.filter(
        item__campaign=campaign,
        item__state__in=OPEN_ITEM,
        item__stage=F("stage"),
        state__in=UNSIGNED,
    ).alias(counted_from=deadline("item__"))
    return found.filter(item__tier=tier) if tier else found


def silent_items(campaign: Campaign, tier: str = "") -> QuerySet[Item]:
    """Open items that wait for somebody, or for whom nobody is left, with `counted_from`.

    Not those whose stage is answered and which wait for the next one.
    """
    waited_for = WorkItem.objects.filter(item=OuterRef("pk"), stage=OuterRef("stage"), state__in=UNSIGNED)
    found = (
        Item.objects.filter(Exists(waited_for) | Q(state=ItemState.ESCALATED), campaign=campaign, state__in=OPEN_ITEM)
        .exclude(state=ItemState.PENDING)
        .alias(counted_from=deadline())
    )
    return found.filter(tier=tier) if tier else found


def partly_signed() -> Exists:
    """Of items: whether somebody has signed an answer in the present stage."""
    return Exists(
        Decision.objects.filter(
            work_item__item=OuterRef("pk"), work_item__stage=OuterRef("stage"), signed_at__isnull=False
        )
    )


def due_for(rung: Rung, now: datetime) -> Q:
    """Rows with `counted_from` whose rung has come."""
    return Q(counted_from__lte=now - clock.days(rung.day))


def before_in(ladder: Sequence[Rung], rung: Rung) -> Rung | None:
    """The rung whose time people have before this one comes: an escalation, or the last thing the ladder did."""
    earlier = [each for each in ladder if each.day < rung.day and (each.acts or each.act == LadderStep.Act.ESCALATE)]
    return earlier[-1] if earlier else None


def instant(rung: Rung, counted_from: Combinable | None = None, later: timedelta = timedelta()) -> Combinable:
    """When a rung comes, and `later` than that, in a query with `counted_from`."""
    after = Value(timedelta(days=rung.day) + later, output_field=DurationField())
    return ExpressionWrapper((counted_from or F("counted_from")) + after, output_field=DateTimeField())


def held_before(rung: Rung) -> Q:
    """Work items with `counted_from` that were in somebody's hands before the rung came; later ones never missed it."""
    return Q(created_at__lt=instant(rung))


def held_back(campaign: Campaign) -> QuerySet[AutomaticAction]:
    """Actions that wait for a second person and still belong to the item's present deadline, and it is still open."""
    held = AutomaticAction.objects.filter(
        item__campaign=campaign, item__state__in=OPEN_ITEM, state=AutomaticActionState.HELD
    ).alias(counted_from=deadline("item__"))
    on_their_rung = Q()
    for tier in Tier.values:
        for rung in rungs_of(campaign, tier):
            if rung.acts:
                on_their_rung |= Q(item__tier=tier, kind=rung.act, due_at=instant(rung))
    return held.filter(on_their_rung) if on_their_rung else held.none()


# --- How far an item has come -----------------------------------------------------------------------------


def may_follow(before: Rung | None, rung: Rung, now: datetime) -> Q:
    """Items with `counted_from` that may climb `rung` as far as the one `before` goes: `may_climb_at` in SQL.

    What the ladder did before must be done; an escalation may have had nobody to ask. Made up for late, either gives
    those concerned the days between the two rungs once more.
    """
    if before is None:
        return Q()
    outer = OuterRef("counted_from")
    on_time, long_ago = instant(before, outer, LATE), now - timedelta(days=rung.day - before.day)
    if before.acts:
        done = AutomaticAction.objects.filter(item=OuterRef("pk"), kind=before.act, due_at=instant(before, outer))
        return Q(Exists(done.filter(Q(done_at__lt=on_time) | Q(done_at__lte=long_ago))))
    steps = LadderStep.objects.filter(work_item__item=OuterRef("pk"), act=before.act, rung=_name(before, outer))
    return ~Q(Exists(steps.filter(at__gte=on_time, at__gt=long_ago)))


# --- The circuit breaker ---------------------------------------------------------------------------------

BREAKER_ITEMS = 5
BREAKER_SHARE = 0.05
BREAKER_WINDOW = timedelta(hours=24)
"""What the ladder may do to a campaign by itself: the larger of five items and 5 % in 24 hours (section 3e)."""


def breaker_limit(campaign: Campaign) -> int:
    return max(BREAKER_ITEMS, int(campaign.items.count() * BREAKER_SHARE))


def acted_within(campaign: Campaign, now: datetime) -> QuerySet[AutomaticAction]:
    """What the breaker counts: done by the clock alone in the last 24 hours, restored since or not."""
    return AutomaticAction.objects.filter(
        item__campaign=campaign, decided_by=None, done_at__gt=now - BREAKER_WINDOW, done_at__lte=now
    )

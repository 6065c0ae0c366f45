"""What the ladder would do if everybody stayed silent: the sweep of `services.ladder` played through without a write.

The rules are the sweep's own (`silence`, `cadence.may_climb_at`); a property test holds that both come to the same.
"""

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db.models import Exists, OuterRef

from registry.catalog.models import Tier
from registry.core import clock
from registry.reviews.cadence import LATEST_DAY, Rung, may_climb_at
from registry.reviews.models import AutomaticAction, Campaign, Item, LadderStep, WorkItem
from registry.reviews.outcome import VALID, Answer, Outcome, resolve
from registry.reviews.seats import seats_of
from registry.reviews.silence import (
    BREAKER_WINDOW,
    UNSIGNED,
    acted_within,
    breaker_limit,
    deadline,
    due_for,
    held_back,
    partly_signed,
    rungs_of,
    silent_items,
)
from registry.reviews.states import OPEN_ITEM, AutomaticActionState, CampaignState, ItemState

State = AutomaticActionState
SETTLING = (ItemState.IN_REVIEW, ItemState.DECIDED, ItemState.ESCALATED)
CHUNK = 2000


class Foreseen(NamedTuple):
    """What would happen to one item, and whether the circuit breaker would stop it there."""

    item_id: UUID
    label: str
    tier: str
    kind: LadderStep.Act
    at: datetime
    held: bool = False


@dataclass(frozen=True)
class Simulation:
    """What the ladder would do until `at`, given today's answers. Numbers of items; what is held counts only there."""

    at: datetime
    suspend: int
    lapse: int
    revoke: int
    held: int
    items: list[Foreseen]
    """In the order in which it would happen."""

    @classmethod
    def of(cls, at: datetime, items: list[Foreseen]) -> "Simulation":
        done = Counter(each.kind for each in items if not each.held)
        return cls(
            at=at,
            suspend=done[LadderStep.Act.SUSPEND],
            lapse=done[LadderStep.Act.LAPSE],
            revoke=done[LadderStep.Act.REVOKE],
            held=len(items) - done.total(),
            items=items,
        )

    @property
    def total(self) -> int:
        return len(self.items)

    def until(self, instant: datetime) -> "Simulation":
        """The beginning of it, up to an earlier instant: what happens later changes nothing about it."""
        return Simulation.of(instant, [each for each in self.items if each.at <= instant])


def foreseeable(day: date) -> bool:
    """Whether the clock may be turned to this day: from today on, twice as far as any ladder reaches."""
    return clock.today() <= day <= clock.today() + timedelta(days=2 * LATEST_DAY)


def simulate(campaign: Campaign, now: datetime) -> Simulation:
    """Today's state with the clock turned to `now`, the worker sweeping all the way there. Writes nothing.

    For the present instant: exactly what the next sweep does.
    """
    start = min(clock.now(), now)
    steps = sorted(_steps(campaign, start, now), key=_Step.order)
    return Simulation.of(now, _behind_the_breaker(campaign, steps, start))


class _Silent(NamedTuple):
    """What the walk has to know of an item; a campaign may have 100,000 of them."""

    pk: UUID
    label: str
    tier: str
    deadline: datetime
    has_work: bool


class _Step(NamedTuple):
    at: datetime
    due_at: datetime
    item: _Silent
    rung: Rung
    released: bool = False

    def order(self) -> tuple[datetime, datetime, UUID]:
        """As the sweep carries them out."""
        return self.at, self.due_at, self.item.pk


@dataclass(frozen=True, slots=True)
class _Known:
    """How far the items of a campaign have come: escalations by item and rung, actions by item, kind and instant."""

    escalated: Mapping[tuple[UUID, str], datetime]
    actions: Mapping[tuple[UUID, str, datetime], tuple[str, datetime | None, UUID | None]]

    @property
    def begun(self) -> set[UUID]:
        """Items of which there is anything to know."""
        return {item for item, _rung in self.escalated} | {item for item, _kind, _due_at in self.actions}


def _steps(campaign: Campaign, start: datetime, until: datetime) -> Iterator[_Step]:
    """Everything that acts on a subject between the two instants, before the breaker has its say.

    The number of queries does not grow with the items.
    """
    if campaign.state != CampaignState.ACTIVE:
        return
    ladders = {tier: _ladder(campaign, tier) for tier in Tier.values}
    waiting = [item for tier, ladder in ladders.items() for item in _waiting(campaign, tier, ladder, until)]
    if not waiting:
        return
    known, settled = _known(campaign), _settled(campaign)
    begun = known.begun
    # Most have not begun to climb, and of those, all with one tier and deadline go the same way: walked once.
    same: dict[tuple[str, datetime, bool], list[_Step]] = {}
    for item in waiting:
        if item.pk in settled:
            continue
        if item.pk in begun:
            yield from _walk(item, ladders[item.tier], known, start, until)
            continue
        way = (item.tier, item.deadline, item.has_work)
        if way not in same:
            same[way] = list(_walk(item, ladders[item.tier], known, start, until))
        for step in same[way]:
            yield _Step(step.at, step.due_at, item, step.rung)


def _ladder(campaign: Campaign, tier: str) -> list[Rung]:
    return [rung for rung in rungs_of(campaign, tier) if rung.acts or rung.act == LadderStep.Act.ESCALATE]


def _walk(item: _Silent, ladder: Sequence[Rung], known: _Known, start: datetime, until: datetime) -> Iterator[_Step]:
    """One item up its ladder, as far as `until`."""
    before: tuple[Rung, datetime] | None = None
    for rung in ladder:
        due_at = rung.at(item.deadline)
        state, at, decided_by = "", known.escalated.get((item.pk, rung.name(item.deadline))), None
        if rung.acts:
            state, at, decided_by = known.actions.get((item.pk, rung.act, due_at), ("", None, None))
        if at is None:
            if state not in ("", State.PLANNED):
                return  # held, or declined: nothing follows from this deadline
            at = max(start, start if state else may_climb_at(rung, item.deadline, before))
            if at > until:
                return
            if rung.acts:
                yield _Step(at, due_at, item, rung, released=decided_by is not None)
            elif not item.has_work:
                continue  # nobody it could be taken from
        before = (rung, at)


def _waiting(campaign: Campaign, tier: str, ladder: Sequence[Rung], until: datetime) -> Iterator[_Silent]:
    """Silent items that reach an acting rung by then, and that no held action keeps where they are."""
    acting = [rung for rung in ladder if rung.acts]
    if not acting:
        return
    work = WorkItem.objects.filter(
        item=OuterRef("pk"), stage=OuterRef("stage"), state__in=UNSIGNED, created_at__lt=OuterRef("counted_from")
    )
    rows = (
        silent_items(campaign, tier)
        .filter(due_for(acting[0], until))
        .exclude(pk__in=held_back(campaign).values("item"))
        .order_by()
        .values_list("pk", "label", deadline(), Exists(work))
    )
    for pk, label, counted_from, has_work in rows.iterator(chunk_size=CHUNK):
        yield _Silent(pk, label, tier, counted_from, has_work)


def _known(campaign: Campaign) -> _Known:
    steps = LadderStep.objects.filter(
        work_item__item__campaign=campaign, work_item__item__state__in=OPEN_ITEM, act=LadderStep.Act.ESCALATE
    )
    escalated: dict[tuple[UUID, str], datetime] = {}
    for item, name, at in steps.order_by().values_list("work_item__item", "rung", "at").iterator(chunk_size=CHUNK):
        escalated[item, name] = max(at, escalated.get((item, name), at))
    actions = AutomaticAction.objects.filter(item__campaign=campaign, item__state__in=OPEN_ITEM)
    rows = actions.exclude(state=State.DROPPED).order_by()
    named = rows.values_list("item", "kind", "due_at", "state", "done_at", "decided_by")
    return _Known(
        escalated, {(item, kind, due): (state, done, by) for item, kind, due, state, done, by in named.iterator()}
    )


def _settled(campaign: Campaign) -> set[UUID]:
    """Items that what others signed decides, once the silent ones count as silent (`sign_off.settle_unanswered`)."""
    partly = list(
        Item.objects.filter(
            partly_signed(), pk__in=silent_items(campaign).values("pk"), state__in=SETTLING
        ).prefetch_related("refreshes")
    )
    seats = seats_of(partly)
    found = set()
    for item in partly:
        asked = seats[item.pk].get(item.stage, [])
        answers = [Answer(Outcome.NO_RESPONSE) if seat.taken else seat.answer(item) for seat in asked]
        if resolve(campaign.stages[item.stage - 1]["strategy"], item.tier, answers).value in VALID:
            found.add(item.pk)
    return found


def _behind_the_breaker(campaign: Campaign, steps: Sequence[_Step], start: datetime) -> list[Foreseen]:
    if not steps:
        return []
    limit = breaker_limit(campaign)
    lately_done = acted_within(campaign, start).values_list("done_at", flat=True)
    done: list[datetime] = sorted(at for at in lately_done if at is not None)
    stopped: set[UUID] = set()
    foreseen = []
    for step in steps:
        if step.item.pk in stopped:
            continue
        lately = bisect_right(done, step.at) - bisect_right(done, step.at - BREAKER_WINDOW)
        held = not step.released and lately >= limit
        if held:
            stopped.add(step.item.pk)
        elif not step.released:
            insort(done, step.at)
        foreseen.append(Foreseen(step.item.pk, step.item.label, step.item.tier, step.rung.act, step.at, held))
    return foreseen

"""Who was asked about an item in each stage, and what their answers come to.

A seat is one reviewer's share that nobody else took over: handed on within one work item, it stays the same seat;
escalated, the new work item takes the old one's place.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from registry.reviews.models import Decision, Item, WorkItem, WorkItemMove
from registry.reviews.outcome import VALID, Answer, Outcome, Resolution, most_cautious, resolve
from registry.reviews.states import ItemState, WorkItemState


@dataclass(frozen=True)
class Seat:
    """One reviewer's share of an item in a stage, with their signed answer once there is one."""

    work_item: WorkItem
    decision: Decision | None

    @property
    def taken(self) -> bool:
        """Somebody may still answer."""
        return self.work_item.state != WorkItemState.CLOSED

    def answer(self, item: Item) -> Answer:
        """What counts of it now. Whoever certified other facts than the item shows has not certified these.

        What they took away or limited still binds: it is the cautious side.
        """
        if self.taken:
            return Answer(Outcome.WAIT)
        if self.decision is None:
            return Answer(Outcome.NO_RESPONSE)
        value = Outcome(self.decision.value)
        outdated = item.state == ItemState.INVALIDATED or self.decision.evidence_hash != item.seen.evidence_hash
        if value is Outcome.CERTIFY and outdated:
            return Answer(Outcome.NO_RESPONSE)
        return Answer(value, frozenset(self.decision.kept), self.decision.until)

    def vacant(self, item: Item) -> bool:
        """Nobody may answer here any more, and what was answered decides nothing."""
        return not self.taken and self.answer(item).value not in VALID


Seats = dict[int, list[Seat]]
"""The seats of one item by stage; those who signed come first, in the order of their signatures."""


def seats_of(items: Iterable[Item]) -> dict[UUID, Seats]:
    """The seats of many items in three queries."""
    wanted = list(items)
    signed = {
        decision.work_item_id: decision
        for decision in Decision.objects.filter(work_item__item__in=wanted, signed_at__isnull=False)
    }
    replaced = WorkItemMove.objects.filter(
        work_item__item__in=wanted, kind=WorkItemMove.Kind.ESCALATED, to_reviewer__isnull=False
    )
    gone = set(replaced.values_list("work_item", flat=True))
    seats: dict[UUID, Seats] = {item.pk: defaultdict(list) for item in wanted}
    for work_item in WorkItem.objects.filter(item__in=wanted).select_related("reviewer").order_by("pk"):
        if work_item.pk not in gone:
            seat = Seat(work_item, signed.get(work_item.pk))
            seats[work_item.item_id][work_item.stage].append(seat)
    for stages in seats.values():
        for found in stages.values():
            found.sort(key=lambda seat: _instant(seat.decision))
    return seats


def _instant(decision: Decision | None) -> datetime:
    return datetime.max.replace(tzinfo=UTC) if decision is None else decision.signed_at or decision.decided_at


def resolution_of(item: Item, seats: Seats, stage: int) -> Resolution:
    """What the answers of one stage come to, by the strategy frozen at launch."""
    strategy = item.campaign.stages[stage - 1]["strategy"]
    return resolve(strategy, item.tier, [seat.answer(item) for seat in seats.get(stage, [])])


def over_all_stages(item: Item, seats: Seats) -> Resolution:
    """The most cautious of what the stages came to; a stage that decided nothing adds nothing."""
    found = [resolution_of(item, seats, stage) for stage in range(1, item.stage + 1)]
    return most_cautious([resolution for resolution in found if resolution.value in VALID])


def decisive(seats: Seats, resolution: Resolution) -> Decision:
    """The decision an outcome rests on: the last that says the same, else the last that decided anything."""
    given = [seat.decision for stage in seats.values() for seat in stage if seat.decision is not None]
    given.sort(key=_instant)
    valid = [decision for decision in given if decision.value in VALID] or given
    return ([decision for decision in valid if decision.value == resolution.value] or valid)[-1]


def asked_before(items: Iterable[Item]) -> dict[UUID, set[UUID]]:
    """For each item everybody who holds or held it in any stage, or stepped back from it: not to be asked again."""
    wanted = list(items)
    asked: dict[UUID, set[UUID]] = {item.pk: set() for item in wanted}
    for item_id, reviewer_id in WorkItem.objects.filter(item__in=wanted).values_list("item", "reviewer"):
        asked[item_id].add(reviewer_id)
    recused = WorkItemMove.objects.filter(work_item__item__in=wanted, kind=WorkItemMove.Kind.RECUSED)
    for item_id, reviewer_id in recused.values_list("work_item__item", "from_reviewer"):
        asked[item_id].add(reviewer_id)
    return asked

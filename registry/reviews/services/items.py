"""Items between launch and signature: in whose hands they are, and who gets them next."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from registry.accounts.models import User
from registry.audit.services import build_event, record_all
from registry.core import clock
from registry.core.actors import Actor
from registry.core.bulk import among
from registry.core.errors import Changed, Conflict, Invalid, NotIndependent, RegistryError
from registry.core.events import publish
from registry.core.independence import bars
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.reviews.assignment import Choice, next_reviewers, open_seats, replacements
from registry.reviews.events import ItemStuck
from registry.reviews.models import Campaign, Item, WorkItem, WorkItemMove
from registry.reviews.pools import may_review, possible_reviewers
from registry.reviews.seats import Seats, asked_before, seats_of
from registry.reviews.services.generation import admit, admit_all
from registry.reviews.services.moves import (
    close_work,
    locked_item,
    locked_items,
    locked_work_item,
    move_item,
    move_items,
)
from registry.reviews.services.notices import tell_of_hand_over, tell_of_stuck
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


@dataclass(frozen=True)
class Candidates:
    """Whom an item may be handed to. `barred` are others who review, each with the reason against them.

    Who holds it now is in neither.
    """

    able: Sequence[User]
    barred: Sequence[tuple[User, str]]


def candidates_for(item: Item) -> Candidates:
    """Everybody who reviews, sorted by whether they may get this item; the same rules as `unfit`, asked once."""
    asked = asked_before([item])[item.pk]
    held = item.work_items.exclude(state=WorkItemState.CLOSED)
    holding = set(held.values_list("reviewer", flat=True))
    stakes: dict[UUID, list[str]] = defaultdict(list)
    for reason, person in item.interested.items():
        if person is not None:
            stakes[person].append(reason)
    able, barred = [], []
    for user in possible_reviewers().exclude(pk__in=holding).order_by("name", "pk"):
        if user.pk in stakes:
            barred.append((user, _(" and ").join(stakes[user.pk])))
        elif user.pk in asked:
            barred.append((user, _("had this item already")))
        elif may_review(user, item.kind):
            able.append(user)
    return Candidates(able, barred)


def hand_over(actor: Actor, work_item: WorkItem, to: User, kind: WorkItemMove.Kind, because: str, note: str) -> None:
    """Put the same work item into other hands; who had it first stays known. The caller holds item and work item."""
    item, before = work_item.item, work_item.reviewer
    work_item.decisions.filter(signed_at=None).delete()
    if work_item.state == WorkItemState.RESPONDED:
        WORK_ITEM.move(work_item, WorkItemState.OPEN, field="state")
    work_item.reviewer, work_item.chosen_because = to, because[:300]
    work_item.first_shown_at = work_item.evidence_opened_at = None
    work_item.save()
    admit(item.subject, [to])
    _note_move(actor, work_item, kind, before, to, note)
    if item.state == ItemState.DECIDED:
        move_item(actor, item, ItemState.IN_REVIEW, because=kind)


def _note_move(
    actor: Actor, work_item: WorkItem, kind: WorkItemMove.Kind, before: User, to: User | None, note: str
) -> None:
    _write_moves(actor, [WorkItemMove(work_item=work_item, kind=kind, from_reviewer=before, to_reviewer=to, note=note)])


def _note_moves(actor: Actor, kind: WorkItemMove.Kind, moved: Sequence[tuple[WorkItem, WorkItem | None, str]]) -> None:
    """`(the work item that ended, the one in its place, why)` of many."""
    rows = [
        WorkItemMove(
            work_item=before,
            kind=kind,
            from_reviewer=before.reviewer,
            to_reviewer=after.reviewer if after else None,
            note=note,
        )
        for before, after, note in moved
    ]
    _write_moves(actor, rows)


def _write_moves(actor: Actor, rows: Sequence[WorkItemMove]) -> None:
    for row in rows:
        row.by, row.at = actor.user, clock.now()
    WorkItemMove.objects.bulk_create(rows, batch_size=500)
    record_all(
        [
            build_event(
                actor=actor,
                act=f"work_item.{row.kind}",
                subject=row.work_item.item,
                data={
                    "from": str(row.from_reviewer_id),
                    "to": str(row.to_reviewer_id) if row.to_reviewer_id else None,
                    "note": row.note,
                },
            )
            for row in rows
        ]
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
    lead = _("%(name)s handed this on to you.") % {"name": actor.user or actor.label}
    tell_of_hand_over([work_item], to, lead, note.strip())
    return work_item


def _require_unsigned(work_item: WorkItem) -> None:
    if work_item.state == WorkItemState.CLOSED:
        raise Conflict("This item is signed or handed on already.")


@transaction.atomic
def recuse_work_item(
    *, actor: Actor, work_item: WorkItem, reason: str, expected_version: str | None = None
) -> WorkItem:
    """Step back from an item: a conflict of interest is an answer too. Somebody independent gets it.

    With nobody left its work item is CLOSED, and the campaign's owner is told: the item is ESCALATED then, unless
    others still have it.
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
        lead = _("Somebody stepped back from it, so you are asked.")
        tell_of_hand_over([work_item], choice.reviewer, lead)
    return work_item


@transaction.atomic
def escalate(actor: Actor, work_item: WorkItem, *, because: str) -> WorkItem | None:
    """Take one work item from whoever did not answer, as `escalate_all` does with many.

    None when nobody is left. Raises `Conflict` when the work item is closed already.
    """
    require(actor, "reviews.manage_campaign", work_item.item.campaign)
    work_item = locked_work_item(work_item.pk)
    _require_unsigned(work_item)
    return escalate_all(actor, [work_item], because=lambda _work_item: because)[work_item.pk]


@transaction.atomic
def escalate_all(
    actor: Actor, work_items: Sequence[WorkItem], *, because: Callable[[WorkItem], str]
) -> dict[UUID, WorkItem | None]:
    """Whoever had these did not answer: take them and ask the next independent people, in work items of theirs.

    By work item the new one, None where nobody is left: its item is then ESCALATED, unless somebody else still has
    it, and the campaign's owner is told and may assign somebody. Who is late loses their unsigned draft. The caller
    holds the rows, which are open, with their items and reviewers. The number of statements does not grow with them.
    """
    for campaign in {work_item.item.campaign for work_item in work_items}:
        require(actor, "reviews.manage_campaign", campaign)
    close_work(work_items)
    items = {work_item.item_id: work_item.item for work_item in work_items}
    made: dict[UUID, WorkItem | None] = {}
    for stage in sorted({item.stage for item in items.values()}):
        group = [item for item in items.values() if item.stage == stage]
        places: dict[UUID, list[WorkItem]] = {item.pk: [] for item in group}
        for work_item in work_items:
            if work_item.item_id in places:
                places[work_item.item_id].append(work_item)
        for found in replacements(group, stage=stage, vacant=places).values():
            made |= {place.pk: _asked(place, choice) if choice else None for place, choice in found}
    asked = [work_item for work_item in made.values() if work_item is not None]
    WorkItem.objects.bulk_create(asked, batch_size=500)
    _admit_to(asked)
    moved = [(work_item, made[work_item.pk], because(work_item)) for work_item in work_items]
    _note_moves(actor, WorkItemMove.Kind.ESCALATED, moved)
    _settle_states(
        actor, items, {work_item.item_id for work_item in asked}, {each[0].item_id: each[2] for each in moved}
    )
    return made


def _asked(place: WorkItem, choice: Choice) -> WorkItem:
    """The unsaved work item of whoever is asked in the place of another."""
    return _seat(place.item, choice, place.side)


def _seat(item: Item, choice: Choice, side: str) -> WorkItem:
    """An unsaved work item in the item's present stage."""
    return WorkItem(
        item=item,
        stage=item.stage,
        side=side,
        reviewer=choice.reviewer,
        original_reviewer=choice.meant,
        chosen_because=choice.because[:300],
    )


def _admit_to(asked: Sequence[WorkItem]) -> None:
    """Who reviews these may see what they are about."""
    reviewers: dict[str, dict[UUID, list[User]]] = defaultdict(lambda: defaultdict(list))
    for work_item in asked:
        reviewers[work_item.item.kind][work_item.item.subject_pk].append(work_item.reviewer)
    for kind, people in reviewers.items():
        admit_all(kind, list(people), partial(dict, people))


def _settle_states(actor: Actor, items: Mapping[UUID, Item], found: Collection[UUID], said: Mapping[UUID, str]) -> None:
    """The items' own state once somebody dropped out: back in review where somebody was `found`, else in nobody's
    hands, unless others still have it."""
    held = WorkItem.objects.filter(item__in=among(items)).exclude(state=WorkItemState.CLOSED)
    waited_for = set(held.values_list("item", flat=True))
    dropped = [item for pk, item in items.items() if pk in found or pk not in waited_for]
    stuck = [item for item in dropped if item.state not in (ItemState.ESCALATED, ItemState.PENDING)]
    move_items(actor, stuck, ItemState.ESCALATED, said=lambda item: {"because": said[item.pk]})
    move_items(actor, [item for item in dropped if item.pk in found], ItemState.IN_REVIEW)
    for item in dropped:
        if item.pk not in found:
            publish(ItemStuck(item_id=item.pk))


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
    """The item's own state once somebody dropped out: back in review, or in nobody's hands.

    Where nobody takes the place, whoever runs the campaign is told in the same transaction.
    """
    if not found and item.work_items.exclude(state=WorkItemState.CLOSED).exists():
        tell_of_stuck(item)
        return
    if item.state not in (ItemState.ESCALATED, ItemState.PENDING):
        move_item(actor, item, ItemState.ESCALATED, because=because)
    if found:
        move_item(actor, item, ItemState.IN_REVIEW)
    else:
        tell_of_stuck(item)


def open_work(item: Item, choice: Choice, *, side: str = "") -> WorkItem:
    """A work item in the item's present stage; whoever reviews it may see what it is about."""
    work_item = _seat(item, choice, side)
    work_item.save(force_insert=True)
    admit(item.subject, [choice.reviewer])
    return work_item


@transaction.atomic
def assign_reviewer(*, actor: Actor, item: Item, to: User, note: str = "") -> WorkItem:
    """Ask a named person, who must be independent, about an item that lacks a reviewer, beside whoever has it already.

    An item keeps waiting until as many have it as its stage asks for (`missing_reviewers`).
    """
    require(actor, "reviews.manage_campaign", item.campaign)
    refuse_secrets({"note": note})
    item = locked_item(item.pk)
    _require_waiting(item)
    _require_fit(to, item)
    return _ask_by_name(actor, [item], to, note)[0]


@dataclass(frozen=True)
class Assigned:
    """What became of assigning one person to several items: whom they were given, and what they were refused."""

    work_items: Sequence[WorkItem]
    refused: Sequence[tuple[Item, str]]


ASSIGNED_AT_ONCE = 500


@transaction.atomic
def assign_reviewers(
    *, actor: Actor, campaign: Campaign, items: Collection[UUID], to: User, note: str = ""
) -> Assigned:
    """The same for several items of a campaign at once, each asked by itself whether `to` may decide on it.

    Those they may not have are told with the reason; the others are theirs. What `actor` may not see is not among
    them. Raises `Invalid` when there is none.
    """
    require(actor, "reviews.manage_campaign", campaign)
    refuse_secrets({"note": note})
    if len(items) > ASSIGNED_AT_ONCE:
        raise Invalid(fields={"items": [f"At most {ASSIGNED_AT_ONCE} items at once."]})
    rows = locked_items(campaign.items.visible_to(actor).filter(pk__in=items).values_list("pk", flat=True))
    if not rows:
        raise Invalid(fields={"items": ["Choose at least one item."]})
    asked, fit, refused = asked_before(rows), [], []
    for item in rows:
        try:
            _require_waiting(item)
        except Conflict as conflict:
            refused.append((item, conflict.message))
            continue
        if refusal := unfit(to, item, asked[item.pk]):
            refused.append((item, refusal.message))
        else:
            fit.append(item)
    return Assigned(_ask_by_name(actor, fit, to, note), refused)


def _require_waiting(item: Item) -> None:
    if item.state not in (ItemState.PENDING, ItemState.ESCALATED):
        raise Conflict(f"This item is {item.get_state_display().lower()}; it does not wait for a reviewer.")


def _ask_by_name(actor: Actor, items: Sequence[Item], to: User, note: str) -> list[WorkItem]:
    """Work items of `to` for these, which wait for a reviewer and which they may have. The caller holds the rows."""
    if not items:
        return []
    because = f"Chosen by {actor.user or actor.label}. {note}".strip()
    left = open_seats(items)
    seats = seats_of(items)
    places = {item.pk: next(iter(_vacant(item, seats[item.pk])), None) for item in items}
    made = []
    for item in items:
        place = places[item.pk]
        side = place.side if place else next(iter(left[item.pk]), "")
        made.append(_seat(item, Choice(to, because), side))
    WorkItem.objects.bulk_create(made, batch_size=500)
    _admit_to(made)
    moved = [(place, asked, because) for asked in made if (place := places[asked.item_id]) is not None]
    _note_moves(actor, WorkItemMove.Kind.ESCALATED, moved)
    complete = [item for item in items if item.state == ItemState.ESCALATED or len(left[item.pk]) <= 1]
    move_items(actor, complete, ItemState.IN_REVIEW, said=lambda _item: {"reviewer": str(to.pk), "note": note})
    short = [item for item in items if item.state == ItemState.PENDING]
    record_all(
        [
            build_event(
                actor=actor,
                act="item.reviewer_added",
                subject=item,
                data={"reviewer": str(to.pk), "note": note, "missing": len(left[item.pk]) - 1},
            )
            for item in short
        ]
    )
    lead = _("%(name)s chose you to decide on it.") % {"name": actor.user or actor.label}
    tell_of_hand_over(made, to, lead, note)
    return made


def missing_reviewers(item: Item) -> int:
    """How many more people its stage asks for before the item can be decided; 0 when it does not wait for any."""
    if item.state != ItemState.PENDING:
        return 0
    return len(open_seats([item])[item.pk])


def _vacant(item: Item, seats: Seats) -> list[WorkItem]:
    """Places of the present stage that nobody holds and nobody's answer fills."""
    return [seat.work_item for seat in seats.get(item.stage, []) if seat.vacant(item)]


def find_reviewers(actor: Actor, items: Sequence[Item]) -> int:
    """Look again for reviewers of items that lack one; the caller holds the rows. Returns how many found somebody.

    Where fewer are found than the stage asks for, the item goes on waiting. Who is asked hears of it if the campaign
    runs already.
    """
    found = 0
    asked: dict[User, list[WorkItem]] = defaultdict(list)
    seats = seats_of(items)
    for item in items:
        made = _fill(actor, item, _vacant(item, seats[item.pk]), "Looked for a reviewer again.")
        for _place, work_item in made:
            asked[work_item.reviewer].append(work_item)
        if made and not missing_reviewers(item):
            move_item(actor, item, ItemState.IN_REVIEW)
        found += bool(made)
    for reviewer, theirs in asked.items():
        tell_of_hand_over(theirs, reviewer, _("Nobody independent was left for it before, so you are asked."))
    return found

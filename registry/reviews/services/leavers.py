"""When somebody leaves: their reviews go to others, their absences end, they stand in for nobody, the concerned hear.

Everything here looks at the present state, so that the sweep finds what a lost event did not tell.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.accounts.models import User
from registry.audit.services import record
from registry.catalog import services as catalog
from registry.catalog.models import Proposal, Server
from registry.core import clock
from registry.core.actors import Actor
from registry.core.bulk import among, parts_of
from registry.core.permissions import require
from registry.reviews.assignment import replacements
from registry.reviews.models import Delegation, Item, WorkItem, WorkItemMove
from registry.reviews.services.items import escalate_all, hand_over
from registry.reviews.services.letters import write_letter
from registry.reviews.services.moves import locked_items
from registry.reviews.services.notices import tell_of_hand_over
from registry.reviews.silence import UNSIGNED
from registry.reviews.states import OPEN_ITEM, CampaignState, ItemState
from registry.trust.departures import Unanswered, threatened

LEAVERS = Actor.system("reviews of people who left")
CHUNK = 200
NAMED = 12
"""So many things a letter names; the rest it counts."""
LAST_CALL = timedelta(days=3)


# --- Reviews ---------------------------------------------------------------------------------------------


def replace_leavers(*, user_id: UUID | None = None, actor: Actor = LEAVERS) -> int:
    """Give what people who left were asked to review to the next independent reviewers. Returns how many moved.

    By the same rules as at launch. Where nobody is left, the campaign's owner is told, as with every other vacancy.
    Their unsigned drafts go: nobody signs for them.
    """
    require(actor, "reviews.manage_campaign")
    left = WorkItem.objects.filter(
        reviewer__is_active=False,
        state__in=UNSIGNED,
        item__state__in=OPEN_ITEM,
        item__campaign__state__in=[CampaignState.STAGED, CampaignState.ACTIVE],
    )
    if user_id is not None:
        left = left.filter(reviewer=user_id)
    items = left.order_by("item").values_list("item", flat=True).distinct()
    return sum(_replace(actor, part) for part in parts_of(items, CHUNK))


@transaction.atomic
def _replace(actor: Actor, item_ids: Sequence[UUID]) -> int:
    items = {item.pk: item for item in locked_items(item_ids) if item.state in OPEN_ITEM}
    held = WorkItem.objects.select_for_update(of=("self",)).filter(item__in=among(items), state__in=UNSIGNED)
    orphaned = []
    # Asked again under the lock: somebody may have come back, or handed it on, a moment ago.
    for row in held.filter(reviewer__is_active=False).prefetch_related("reviewer").order_by("pk"):
        row.item = items[row.item_id]
        orphaned.append(row)
    staged = [row for row in orphaned if row.item.state == ItemState.PENDING]
    running = [row for row in orphaned if row.item.state != ItemState.PENDING]
    moved = _hand_on(actor, staged)
    running += [row for row in staged if row not in moved]
    made = escalate_all(actor, running, because=_because) if running else {}
    new = defaultdict(list)
    for work_item in made.values():
        if work_item is not None:
            new[work_item.reviewer].append(work_item)
    for reviewer, got in new.items():
        tell_of_hand_over(got, reviewer, _("Whoever was asked before you has left."))
    return len(orphaned)


def _because(work_item: WorkItem) -> str:
    return _("%(name)s has left.") % {"name": work_item.reviewer.name}


def _hand_on(actor: Actor, work_items: Sequence[WorkItem]) -> list[WorkItem]:
    """Before a campaign starts the seats are only passed on: its items do not begin because somebody left."""
    moved = []
    for stage in sorted({row.item.stage for row in work_items}):
        group = [row for row in work_items if row.item.stage == stage]
        vacant: dict[UUID, list[WorkItem]] = defaultdict(list)
        for row in group:
            vacant[row.item_id].append(row)
        about: list[Item] = list({row.item_id: row.item for row in group}.values())
        for found in replacements(about, stage=stage, vacant=vacant).values():
            for row, choice in found:
                if choice is not None:
                    because = _because(row)
                    hand_over(actor, row, choice.reviewer, WorkItemMove.Kind.REASSIGNED, choice.because, because)
                    moved.append(row)
    return moved


def end_delegations_of_leavers(*, user_id: UUID | None = None, actor: Actor = LEAVERS) -> int:
    """Nobody stands in for whoever left, and whoever left stands in for nobody. Returns how many ended."""
    require(actor, "reviews.delegate")
    gone = Q(delegator__is_active=False) | Q(delegate__is_active=False)
    rows = Delegation.objects.filter(gone, ended_at=None, ends_on__gte=clock.today())
    if user_id is not None:
        rows = rows.filter(Q(delegator=user_id) | Q(delegate=user_id))
    return sum(_end_delegation(actor, pk) for pk in list(rows.order_by("pk").values_list("pk", flat=True)))


@transaction.atomic
def _end_delegation(actor: Actor, pk: UUID) -> bool:
    row = Delegation.objects.select_for_update(of=("self",)).select_related("delegator", "delegate").get(pk=pk)
    if row.ended_at is not None or (row.delegator.is_active and row.delegate.is_active):
        return False
    row.ended_at = clock.now()
    row.save(update_fields=["ended_at"])
    gone = row.delegate if row.delegator.is_active else row.delegator
    record(
        actor=actor,
        act="delegation.ended",
        subject=row,
        data={"delegator": str(row.delegator_id), "reason": f"{gone} left."},
    )
    return True


def release_stand_ins(*, user_id: UUID | None = None, actor: Actor = LEAVERS) -> int:
    """Note which deputies, and people who ran servers, left, and write to who answers for them. Returns how many."""
    require(actor, "catalog.keep_vacancies")
    servers = catalog.with_stand_ins_who_left(user_id).order_by("pk")
    return sum(_release(actor, server) for server in list(servers))


@transaction.atomic
def _release(actor: Actor, server: Server) -> int:
    gone = catalog.release_stand_ins(actor=actor, server=server)
    server.refresh_from_db(fields=["owner", "deputy"])
    here = next((each for each in (server.owner, server.deputy) if each is not None and each.is_active), None)
    for part, left in gone:
        if here is not None:
            write_letter(
                key=f"stand-in {part} {server.pk} {left.pk} {left.left_at or left.created_at:%Y%m%d%H%M%S}",
                template="stand_in",
                to=here,
                subject=_("%(server)s: %(name)s has left") % {"server": server.label, "name": left.name},
                context={
                    "server": server,
                    "left": left,
                    "deputy": part == "deputy",
                    "stays": server.deputy_id == left.pk,
                    "url": settings.BASE_URL + reverse("catalog:server", args=[server.pk]),
                },
            )
    return len(gone)


# --- Letters ---------------------------------------------------------------------------------------------


@transaction.atomic
def ask_successor(*, former_owner_id: UUID, successor_id: UUID) -> bool:
    """Write to somebody who is asked to take over what was another's; one letter for all of it."""
    asked = list(
        Proposal.objects.waiting()
        .filter(vacancy__former_owner=former_owner_id, successor=successor_id)
        .select_related("successor", "vacancy__former_owner", "vacancy__server", "vacancy__system", "vacancy__agent")
        .order_by("-pk")
    )
    if not asked:
        return False
    person, left = asked[0].successor, asked[0].vacancy.former_owner
    subject = ngettext(
        "Do you take over %(n)d thing of %(name)s?", "Do you take over %(n)d things of %(name)s?", len(asked)
    )
    return write_letter(
        key=f"succession {asked[0].pk} {person.pk}",
        template="succession",
        to=person,
        subject=subject % {"n": len(asked), "name": left.name},
        context={
            "left": left,
            "back": left == person,
            "things": [str(each.vacancy.thing) for each in asked[:NAMED]],
            "more": max(len(asked) - NAMED, 0),
            "note": asked[0].note,
            "url": settings.BASE_URL + reverse("catalog:succession"),
        },
    )


def announce_rest(*, now: datetime) -> int:
    """Write to whoever depends on trust that will rest: when somebody leaves, and once more shortly before.

    Returns how many letters were written. The same departure is told once, whatever ran twice.
    """
    threats: dict[tuple[User, User, bool], list[Unanswered]] = defaultdict(list)
    for each in threatened():
        soon = each.rests_at - now <= LAST_CALL
        for person in _concerned(each):
            threats[person, each.left, soon].append(each)
    return sum(_announce(person, left, soon, them) for (person, left, soon), them in threats.items())


def _concerned(threat: Unanswered) -> Sequence[User]:
    """Who can still do something: the people of both ends and whoever asked; the leaver's manager; else security."""
    row = threat.relationship
    other_end = getattr(row, "agent", None) or getattr(row, "system", None)
    named = [row.server.owner, row.server.deputy, getattr(other_end, "owner", None), row.requested_by]
    named.append(threat.left.manager)
    here = {person.pk: person for person in named if person is not None and person.is_active}
    return list(here.values()) or list(_security())


def _security() -> Iterable[User]:
    return User.objects.filter(roles__contains=["security"], is_active=True).order_by("pk")


@transaction.atomic
def _announce(person: User, left: User, soon: bool, threats: Sequence[Unanswered]) -> bool:
    first = min(each.rests_at for each in threats)
    subject = ngettext(
        "%(n)d trust relationship rests from %(day)s, unless somebody takes over from %(name)s",
        "%(n)d trust relationships rest from %(day)s, unless somebody takes over from %(name)s",
        len(threats),
    )
    return write_letter(
        key=f"rest {left.pk} {left.left_at:%Y%m%d%H%M} {'soon' if soon else 'first'} {person.pk}",
        template="rest",
        to=person,
        subject=subject % {"n": len(threats), "day": f"{first:%d %B}", "name": left.name},
        context={
            "left": left,
            "first": first,
            "things": [str(each.relationship) for each in threats[:NAMED]],
            "more": max(len(threats) - NAMED, 0),
            "url": settings.BASE_URL + reverse("catalog:holdings", args=[left.pk]),
        },
    )

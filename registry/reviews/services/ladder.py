"""The no-response ladder: what the clock does when nobody signs, and the circuit breaker that stops it from doing much.

Every rung is a row before it has an effect, and every effect is one transaction, so a sweep may be killed anywhere and
the next one goes on. What acts on a subject is planned first (`AutomaticAction`), then carried out one by one behind
the campaign's row lock, which is what makes the breaker count right. Nothing here is attributed to a person
(invariant 8): the actor is the ladder, a second person who lets it go on is named beside it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _

from registry.audit.services import record
from registry.catalog.models import Tier
from registry.core import clock
from registry.core.actors import Actor
from registry.core.bulk import Sql, among, insert_select, parts_of
from registry.core.errors import RegistryError
from registry.core.ids import new_id
from registry.core.permissions import require
from registry.reviews.cadence import Rung, may_climb_at
from registry.reviews.facts import FOR_MANY
from registry.reviews.models import AutomaticAction, Campaign, Item, LadderStep, WorkItem
from registry.reviews.outcome import Outcome
from registry.reviews.services import certificates, remediation
from registry.reviews.services.actions import LADDER
from registry.reviews.services.campaigns import advance_campaign
from registry.reviews.services.items import escalate_all
from registry.reviews.services.letters import write_letter
from registry.reviews.services.moves import close_work, locked_campaign, locked_item, locked_items, move_item
from registry.reviews.services.notices import in_charge_of
from registry.reviews.services.sign_off import settle_unanswered
from registry.reviews.silence import (
    UNSIGNED,
    acted_within,
    before_in,
    breaker_limit,
    climbed,
    due_for,
    held_back,
    held_before,
    instant,
    may_follow,
    partly_signed,
    rungs_of,
    silent_items,
    unsigned_work,
)
from registry.reviews.states import (
    AUTOMATIC_ACTION,
    OPEN_ITEM,
    AutomaticActionState,
    CampaignState,
    ItemState,
    WorkItemState,
)

log = structlog.get_logger(__name__)
Act = LadderStep.Act
State = AutomaticActionState
PENDING = (State.PLANNED, State.HELD)

CHUNK = 500


def sweep_ladders(*, now: datetime, actor: Actor = LADDER) -> int:
    """Climb every rung that has come, in every running campaign. Returns how many automatic actions were carried out.

    Safe to run twice, at the same time, or again after it was killed. One campaign that fails holds up no other.
    """
    require(actor, "reviews.manage_campaign")
    running = Campaign.objects.filter(state=CampaignState.ACTIVE).exclude(kind=Campaign.Kind.INTAKE)
    done, failures = 0, []
    for campaign in running.order_by("due_at", "pk"):
        try:
            _drop_stale(actor, campaign)
            _escalate_due(actor, campaign, now)
            _plan_due(actor, campaign, now)
            done += carry_out_actions(campaign_id=campaign.pk, now=now, actor=actor)
        except Exception as failure:
            failure.add_note(f"while the ladder climbed in campaign {campaign.pk}")
            failures.append(failure)
    if failures:
        raise ExceptionGroup("the ladder could not climb everywhere", failures)
    return done


# --- Escalation ------------------------------------------------------------------------------------------


def _escalate_due(actor: Actor, campaign: Campaign, now: datetime) -> None:
    """In parts of one transaction each; a part that cannot go is taken item by item, so that one holds up no other."""
    failures = []
    for tier in Tier.values:
        for rung in rungs_of(campaign, tier):
            if rung.act == Act.ESCALATE:
                due = unsigned_work(campaign, tier).filter(due_for(rung, now), held_before(rung))
                items = due.exclude(climbed(rung)).order_by("item").values_list("item", flat=True).distinct()
                for part in parts_of(items, CHUNK):
                    failures += _escalate_one_by_one_if_need_be(actor, part, rung, now)
    if failures:
        raise ExceptionGroup("these could not be escalated", failures)


def _escalate_one_by_one_if_need_be(
    actor: Actor, item_ids: Sequence[UUID], rung: Rung, now: datetime
) -> list[Exception]:
    try:
        _escalate_items(actor, item_ids, rung, now)
        return []
    except Exception as failure:
        if len(item_ids) == 1:
            failure.add_note(f"while item {item_ids[0]} was escalated")
            return [failure]
    return [each for pk in item_ids for each in _escalate_one_by_one_if_need_be(actor, [pk], rung, now)]


@transaction.atomic
def _escalate_items(actor: Actor, item_ids: Sequence[UUID], rung: Rung, now: datetime) -> None:
    """Who did not answer loses these items to somebody independent, who has until the ladder's next rung.

    Looked at once more behind the locks. The number of statements does not grow with the items.
    """
    items = {
        item.pk: item
        for item in locked_items(item_ids)
        if item.campaign.state == CampaignState.ACTIVE and item.state in OPEN_ITEM and now >= rung.at(item.deadline)
    }
    deadlines = {pk: item.deadline for pk, item in items.items()}
    held = WorkItem.objects.select_for_update(of=("self",)).filter(item__in=among(items), state__in=UNSIGNED)
    known = set(LadderStep.objects.filter(work_item__item__in=among(items)).values_list("work_item", "rung"))
    waiting = []
    for work_item in held.prefetch_related("reviewer").order_by("pk"):
        work_item.item = item = items[work_item.item_id]
        deadline = deadlines[item.pk]
        missed_it = work_item.stage == item.stage and work_item.created_at < rung.at(deadline)
        if missed_it and (work_item.pk, rung.name(deadline)) not in known:
            waiting.append(work_item)
    asked = escalate_all(
        actor, waiting, because=lambda late: _("%(name)s did not answer in time.") % {"name": late.reviewer.name}
    )
    LadderStep.objects.bulk_create(
        LadderStep(
            work_item=late,
            rung=rung.name(deadlines[late.item_id]),
            act=rung.act,
            at=now,
            detail=f"{late.reviewer} → {after.reviewer if (after := asked[late.pk]) else _('nobody is left')}"[:300],
        )
        for late in waiting
    )
    _give_until_next([items[pk] for pk in {late.item_id for late in waiting}], deadlines, rung, now)


def _give_until_next(items: Sequence[Item], deadlines: Mapping[UUID, datetime], rung: Rung, now: datetime) -> None:
    """Answers are taken again until the ladder acts next."""
    given: dict[tuple[datetime, datetime], list[UUID]] = defaultdict(list)
    for item in items:
        deadline = deadlines[item.pk]
        following = next(each for each in rungs_of(item.campaign, item.tier) if each.day > rung.day and each.acts)
        item.due_at = item.ladder_until = may_climb_at(following, deadline, (rung, now))
        item.ladder_from = deadline
        given[item.due_at, deadline].append(item.pk)
    for (until, deadline), pks in given.items():
        Item.objects.filter(pk__in=among(pks)).update(
            due_at=until, ladder_until=until, ladder_from=deadline, version=F("version") + 1, updated_at=clock.now()
        )


# --- Planning what acts on subjects ----------------------------------------------------------------------


def _plan_due(actor: Actor, campaign: Campaign, now: datetime) -> None:
    for tier in Tier.values:
        ladder = rungs_of(campaign, tier)
        for rung in ladder:
            if rung.acts:
                due = _unplanned(campaign, tier, rung, now)
                # What others signed decides it, where that is enough.
                for item in list(due.filter(partly_signed()).order_by("pk")):
                    settle_unanswered(actor, item)
                _plan(due.filter(may_follow(before_in(ladder, rung), rung, now)), rung)


def _unplanned(campaign: Campaign, tier: str, rung: Rung, now: datetime) -> QuerySet[Any]:
    """Silent items whose rung has come by the calendar and is not planned yet."""
    actions = AutomaticAction.objects.filter(item=OuterRef("pk")).exclude(state=State.DROPPED)
    return (
        silent_items(campaign, tier)
        .filter(due_for(rung, now))
        .annotate(rung_at=instant(rung))
        .exclude(Exists(actions.filter(state__in=PENDING)))
        .exclude(Exists(actions.filter(kind=rung.act, due_at=OuterRef("rung_at"))))
    )


@transaction.atomic
def _plan(due: QuerySet[Any], rung: Rung) -> None:
    """Write down what has to be done to these items, in one statement: a rung comes for 100,000 at the same instant."""
    with connection.cursor() as cursor:
        cursor.execute(FOR_MANY)
    sql, params = due.order_by().values_list("pk", "rung_at").query.sql_with_params()
    insert_select(
        AutomaticAction,
        {
            # Ids follow time; the last digits count.
            "id": Sql(f"('{str(new_id())[:-8]}' || lpad(to_hex(row_number() OVER (ORDER BY item)), 8, '0'))::uuid"),
            "item_id": Sql("item"),
            "kind": str(rung.act),
            "due_at": Sql("rung_at"),
        },
        Sql(f"({sql}) AS due(item, rung_at) ORDER BY item ON CONFLICT DO NOTHING", params),
    )


# --- Carrying out ----------------------------------------------------------------------------------------


def carry_out_actions(*, campaign_id: UUID, now: datetime, actor: Actor = LADDER) -> int:
    """Do what is planned in a campaign, each in its own transaction, until the breaker trips. Returns how many."""
    require(actor, "reviews.manage_campaign")
    done, failed = 0, set[UUID]()
    while (found := _next_planned(campaign_id, failed)) is not None:
        try:
            for item in Item.objects.filter(partly_signed(), automatic_actions=found):
                settle_unanswered(actor, item)
            done += _carry_out(actor, campaign_id, found, now)
        except RegistryError as error:
            # A subject in a state nobody foresaw must not keep the others from their rung; the next sweep tries again.
            log.warning("automatic_action_failed", action_id=str(found), error=error.code, reason=error.message)
            failed.add(found)
    return done


def _next_planned(campaign_id: UUID, failed: Iterable[UUID]) -> UUID | None:
    planned = AutomaticAction.objects.filter(item__campaign=campaign_id, state=State.PLANNED).exclude(pk__in=failed)
    return planned.order_by("due_at", "item").values_list("pk", flat=True).first()


@transaction.atomic
def _carry_out(actor: Actor, campaign_id: UUID, action_id: UUID, now: datetime) -> bool:
    """One planned action: done, held back by the breaker with all others, or dropped because it is not needed."""
    campaign = locked_campaign(campaign_id)
    item = locked_item(AutomaticAction.objects.values_list("item", flat=True).get(pk=action_id))
    action = AutomaticAction.objects.select_for_update(of=("self",)).get(pk=action_id)
    action.item = item
    if action.state != State.PLANNED:
        return False
    if why := _no_longer_needed(campaign, action):
        _finish(actor, action, State.DROPPED, because=why)
        advance_campaign(actor, campaign)
        return False
    if action.decided_by_id is None and acted_within(campaign, now).count() >= breaker_limit(campaign):
        _hold(actor, campaign, action, now)
        return False
    _act(actor, action, now)
    advance_campaign(actor, campaign)
    return True


def _no_longer_needed(campaign: Campaign, action: AutomaticAction) -> str:
    """Why an action is not carried out; empty when it is due as planned."""
    item = action.item
    if campaign.state != CampaignState.ACTIVE or item.state not in OPEN_ITEM:
        return _("The item is no longer under review.")
    if _rung_of(action) is None:
        return _("The deadline was moved.")
    if not silent_items(campaign).filter(pk=item.pk).exists():
        return _("It was answered.")
    return ""


def _rung_of(action: AutomaticAction) -> Rung | None:
    ladder = rungs_of(action.item.campaign, action.item.tier)
    deadline = action.item.deadline
    return next((each for each in ladder if each.act == action.kind and each.at(deadline) == action.due_at), None)


def _act(actor: Actor, action: AutomaticAction, now: datetime) -> None:
    item, rung = action.item, cast(Rung, _rung_of(action))
    because = _("Nobody answered in %(campaign)s by %(day)s.") % {
        "campaign": item.campaign,
        "day": f"{item.deadline:%Y-%m-%d %H:%M} UTC",
    }
    if action.kind == AutomaticAction.Kind.SUSPEND:
        action.suspended = remediation.cut(actor, item, because, mode="suspend")
    elif action.kind == AutomaticAction.Kind.REVOKE:
        remediation.cut(actor, item, because, mode="revoke")
    action.done_at = now
    _finish(actor, action, State.DONE)
    LadderStep.objects.bulk_create(
        [
            LadderStep(work_item=work_item, rung=rung.name(item.deadline), act=rung.act, at=now)
            for work_item in item.work_items.filter(stage=item.stage, state__in=UNSIGNED)
        ],
        ignore_conflicts=True,
    )
    if any(each.acts and each.day > rung.day for each in rungs_of(item.campaign, item.tier)):
        _give_until_next([item], {item.pk: item.deadline}, rung, now)
    else:
        _let_lapse(actor, item, because)


def _let_lapse(actor: Actor, item: Item, because: str) -> None:
    """The last rung: nobody answered, so nothing is certified. Gateways see it at once."""
    certificates.clear(actor=actor, kind=item.kind, subject=item.subject, because=because)
    close_work(item.work_items.exclude(state=WorkItemState.CLOSED))
    item.outcome = Outcome.NO_RESPONSE
    move_item(actor, item, ItemState.LAPSED, outcome=item.outcome, because=because)


def _drop_stale(actor: Actor, campaign: Campaign) -> None:
    """What waits for a second person although it is not needed any more would keep the item from its next rung."""
    held = AutomaticAction.objects.filter(item__campaign=campaign, state=State.HELD)
    for pk in list(held.exclude(pk__in=held_back(campaign).values("pk")).values_list("pk", flat=True)):
        with transaction.atomic():
            item = locked_item(AutomaticAction.objects.values_list("item", flat=True).get(pk=pk))
            action = AutomaticAction.objects.select_for_update(of=("self",)).get(pk=pk)
            action.item = item
            if action.state == State.HELD:
                _finish(actor, action, State.DROPPED, because=_no_longer_needed(campaign, action))


def _hold(actor: Actor, campaign: Campaign, action: AutomaticAction, now: datetime) -> None:
    """The breaker trips: everything still planned waits for a second person, and the campaign's owner hears it once."""
    items = AutomaticAction.objects.filter(item__campaign=campaign)
    first = not items.filter(state=State.HELD).exists()
    held = items.filter(state=State.PLANNED, decided_by=None).update(
        state=State.HELD, version=F("version") + 1, updated_at=clock.now()
    )
    limit = breaker_limit(campaign)
    record(actor=actor, act="campaign.actions_held", subject=campaign, data={"held": held, "limit": limit, "hours": 24})
    if first:
        for person in in_charge_of(campaign):
            write_letter(
                key=f"held {action.pk} {person.pk}",
                template="held",
                to=person,
                campaign=campaign,
                subject=_("%(campaign)s: automatic actions wait for a second person") % {"campaign": campaign.name},
                context={
                    "held": held,
                    "limit": limit,
                    "url": settings.BASE_URL + reverse("reviews:actions", args=[campaign.pk]),
                },
            )


def _finish(actor: Actor, action: AutomaticAction, state: AutomaticActionState, *, because: str = "") -> None:
    AUTOMATIC_ACTION.move(action, state, field="state")
    action.reason = action.reason or because
    action.save()
    record(
        actor=actor,
        act=f"automatic_action.{state}",
        subject=action.item,
        data={
            "action": str(action.pk),
            "kind": action.kind,
            "due_at": action.due_at,
            "suspended": action.suspended,
            "released_by": str(action.decided_by_id) if action.decided_by_id else None,
            "because": because,
        },
    )

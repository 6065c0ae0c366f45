"""The no-response ladder: what the clock does when nobody signs, and the circuit breaker that stops it from doing much.

Every rung is a row before it has an effect, and every effect is one transaction, so a sweep may be killed anywhere and
the next one goes on. What acts on a subject is planned first (`AutomaticAction`), then carried out one by one behind
the campaign's row lock, which is what makes the breaker count right. Nothing here is attributed to a person
(invariant 8): the actor is the ladder, a second person who lets it go on is named beside it.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import cast
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef
from django.urls import reverse
from django.utils.translation import gettext as _

from registry.audit.services import record
from registry.catalog.models import Tier
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import RegistryError
from registry.core.permissions import require
from registry.reviews.cadence import Rung, may_climb_at
from registry.reviews.models import AutomaticAction, Campaign, Item, LadderStep
from registry.reviews.outcome import Outcome
from registry.reviews.services import certificates, remediation
from registry.reviews.services.actions import LADDER
from registry.reviews.services.campaigns import advance_campaign
from registry.reviews.services.items import escalate
from registry.reviews.services.letters import write_letter
from registry.reviews.services.moves import close_work, locked_campaign, locked_item, move_item
from registry.reviews.services.reminders import in_charge_of
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
    may_be_planned,
    partly_signed,
    rungs_of,
    silent_items,
    unsigned_work,
    when_climbed,
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

CHUNK = 1000


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
    for tier in Tier.values:
        for rung in rungs_of(campaign, tier):
            if rung.act == Act.ESCALATE:
                due = unsigned_work(campaign, tier).filter(due_for(rung, now), held_before(rung))
                items = due.exclude(climbed(rung)).order_by("item").values_list("item", flat=True)
                for item_id in list(items.distinct()):
                    _escalate_item(actor, item_id, rung, now)


@transaction.atomic
def _escalate_item(actor: Actor, item_id: UUID, rung: Rung, now: datetime) -> None:
    """Who did not answer loses the item to somebody independent, who has until the ladder's next rung."""
    item = locked_item(item_id)
    deadline = item.deadline
    if item.campaign.state != CampaignState.ACTIVE or item.state not in OPEN_ITEM or now < rung.at(deadline):
        return
    waiting = list(
        item.work_items.select_for_update(of=("self",))
        .filter(stage=item.stage, state__in=UNSIGNED, created_at__lt=rung.at(deadline))
        .exclude(ladder_steps__rung=rung.name(deadline))
        .select_related("reviewer")
        .order_by("pk")
    )
    for work_item in waiting:
        work_item.item = item
        before = work_item.reviewer
        after = escalate(actor, work_item, because=_("%(name)s did not answer in time.") % {"name": before.name})
        LadderStep.objects.create(
            work_item_id=work_item.pk,
            rung=rung.name(deadline),
            act=rung.act,
            at=now,
            detail=f"{before} → {after.reviewer if after else _('nobody is left')}"[:300],
        )
    if waiting:
        _give_until_next(item, deadline, rung, now)


def _give_until_next(item: Item, deadline: datetime, rung: Rung, now: datetime) -> None:
    """Answers are taken again until the ladder acts next."""
    following = next(each for each in rungs_of(item.campaign, item.tier) if each.day > rung.day and each.acts)
    item.due_at = item.ladder_until = may_climb_at(following, deadline, (rung, now))
    item.ladder_from = deadline
    item.save(update_fields=["due_at", "ladder_until", "ladder_from"])


# --- Planning what acts on subjects ----------------------------------------------------------------------


def _plan_due(actor: Actor, campaign: Campaign, now: datetime) -> None:
    for tier in Tier.values:
        ladder = rungs_of(campaign, tier)
        for rung in ladder:
            if rung.acts:
                for found in _candidates(campaign, tier, rung, now):
                    _plan(actor, campaign, ladder, rung, found, now)


def _candidates(campaign: Campaign, tier: str, rung: Rung, now: datetime) -> Iterator[Sequence[Item]]:
    """Silent items whose rung has come by the calendar and is not planned yet, in chunks."""
    actions = AutomaticAction.objects.filter(item=OuterRef("pk")).exclude(state=State.DROPPED)
    due = (
        silent_items(campaign, tier)
        .filter(due_for(rung, now))
        .alias(rung_at=instant(rung))
        .exclude(Exists(actions.filter(state__in=PENDING)))
        .exclude(Exists(actions.filter(kind=rung.act, due_at=OuterRef("rung_at"))))
        .only("pk", "due_at", "ladder_from", "ladder_until")
        .order_by("pk")
    )
    last: UUID | None = None
    while found := list((due.filter(pk__gt=last) if last else due)[:CHUNK]):
        yield found
        last = found[-1].pk


def _plan(
    actor: Actor, campaign: Campaign, ladder: Sequence[Rung], rung: Rung, items: Sequence[Item], now: datetime
) -> None:
    """Write down what has to be done to these items; for each, what came before it must be far enough in the past."""
    settled = {
        item.pk
        for item in Item.objects.filter(partly_signed(), pk__in=[item.pk for item in items]).order_by("pk")
        if settle_unanswered(actor, item)
    }
    before = before_in(ladder, rung)
    climbed_at = when_climbed(items, before) if before else {}
    planned = [
        AutomaticAction(item=item, kind=rung.act, due_at=rung.at(item.deadline))
        for item in items
        if item.pk not in settled and may_be_planned(item, rung, before, climbed_at, now)
    ]
    AutomaticAction.objects.bulk_create(planned, ignore_conflicts=True)


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
        _give_until_next(item, item.deadline, rung, now)
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

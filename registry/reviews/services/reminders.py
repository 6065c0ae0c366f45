"""Mails to people who still have something to decide or to sign: how long they have, why they get it, one link.

A rung is a `LadderStep`; it is written in one transaction with the letter that tells of it, so that neither exists
without the other and both exist once (invariant 14). Several rungs at once, because the worker slept, are one letter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Max, Q, QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.accounts.models import Team, User
from registry.audit.services import record
from registry.catalog.models import Tier
from registry.core import clock
from registry.core.actors import Actor
from registry.core.canonical import digest
from registry.core.errors import Conflict
from registry.core.permissions import require
from registry.reviews.cadence import REASON_REQUIRED, Rung
from registry.reviews.models import Campaign, Item, LadderStep, Letter, Template, WorkItem
from registry.reviews.queries import missed_runs
from registry.reviews.services.delegations import stand_in
from registry.reviews.services.letters import write_letter
from registry.reviews.services.notices import managers, tell_of_stuck
from registry.reviews.silence import climbed, due_for, held_before, rungs_of, unsigned_work
from registry.reviews.states import CampaignState, WorkItemState

POSTMAN = Actor.system("reminders")
Act = LadderStep.Act


def send_reminders(*, now: datetime, actor: Actor = POSTMAN) -> int:
    """Climb every rung that only tells people something. Returns how many letters were written.

    Running it again, or twice at the same time, writes nothing twice.
    """
    require(actor, "reviews.manage_campaign")
    written = 0
    for campaign in Campaign.objects.filter(state=CampaignState.ACTIVE).order_by("due_at", "pk"):
        for reviewer_id in _to_be_told(campaign, now):
            written += _climb(actor, campaign, reviewer_id, now)
    return written


def _to_be_told(campaign: Campaign, now: datetime) -> list[UUID]:
    """Reviewers with at least one unsigned item on a rung they were not told of."""
    found: set[UUID] = set()
    for tier in Tier.values:
        for rung in _telling(campaign, tier):
            due = _unsigned(campaign, now).filter(_reaches(rung), due_for(rung, now), item__tier=tier)
            found.update(due.exclude(climbed(rung)).order_by().values_list("reviewer", flat=True).distinct())
    return sorted(found)


def _unsigned(campaign: Campaign, now: datetime) -> QuerySet[WorkItem]:
    """What may still be answered, in the hands of somebody who still works here."""
    return unsigned_work(campaign).filter(item__due_at__gte=now, reviewer__is_active=True)


@dataclass(frozen=True)
class _Telling(Rung):
    """A rung that tells people something: a reminder, or word to whoever the item was passed on to."""

    passed_on: bool = False


def _telling(campaign: Campaign, tier: str) -> list[_Telling]:
    return [
        _Telling(rung.day, Act.REMIND if rung.act == Act.ESCALATE else rung.act, rung.act == Act.ESCALATE)
        for rung in rungs_of(campaign, tier)
        if not rung.acts
    ]


def _reaches(rung: _Telling) -> Q:
    """Work items such a rung is about: those that were there when it came, or those the ladder has passed on."""
    return Q(item__ladder_until=F("item__due_at")) if rung.passed_on else held_before(rung)


@dataclass(frozen=True)
class _Due:
    """A work item and the names of the rungs that have come for it; `deputy` when one of them tells the deputy."""

    work_item: WorkItem
    rungs: Mapping[str, _Telling]

    @property
    def deputy(self) -> bool:
        return any(rung.act == Act.DEPUTY for rung in self.rungs.values())

    @property
    def passed_on(self) -> bool:
        return any(rung.passed_on for rung in self.rungs.values())


def _due(campaign: Campaign, reviewer_id: UUID, now: datetime) -> list[_Due]:
    """The reviewer's unsigned items with the rungs that have come and were not climbed; locked."""
    rows = list(
        _unsigned(campaign, now)
        .filter(reviewer=reviewer_id)
        .select_related("item", "reviewer")
        .defer("item__snapshot")
        .select_for_update(of=("self",), skip_locked=True)
        .order_by("pk")
    )
    steps = set(LadderStep.objects.filter(work_item__in=rows).values_list("work_item", "rung"))
    telling = {tier: _telling(campaign, tier) for tier in Tier.values}
    found = []
    for row in rows:
        deadline = row.item.deadline
        rungs = {
            rung.name(deadline): rung
            for rung in telling[row.item.tier]
            if now >= rung.at(deadline)
            and (deadline != row.item.due_at if rung.passed_on else row.created_at < rung.at(deadline))
            and (row.pk, rung.name(deadline)) not in steps
        }
        if rungs:
            found.append(_Due(row, rungs))
    return found


@transaction.atomic
def _climb(actor: Actor, campaign: Campaign, reviewer_id: UUID, now: datetime) -> int:
    """One letter about all of a reviewer's items whose rung has come, and one to their deputy if a rung says so."""
    due = _due(campaign, reviewer_id, now)
    if not due:
        return 0
    LadderStep.objects.bulk_create(
        [
            LadderStep(work_item=each.work_item, rung=name, act=rung.act, at=now)
            for each in due
            for name, rung in each.rungs.items()
        ],
        batch_size=2000,
    )
    reviewer = due[0].work_item.reviewer
    occasion = digest([[str(each.work_item.pk), sorted(each.rungs)] for each in due])[:32]
    written = int(
        _remind(campaign, reviewer, [each.work_item for each in due], occasion, any(e.passed_on for e in due))
    )
    covered = [each.work_item for each in due if each.deputy]
    deputy = _deputy_of(reviewer, timezone.localdate(now)) if covered else None
    if deputy is not None:
        written += write_letter(
            key=f"deputy {campaign.pk} {reviewer.pk} {occasion}",
            template="deputy",
            to=deputy,
            campaign=campaign,
            subject=_("%(name)s has not answered in %(campaign)s") % {"name": reviewer.name, "campaign": campaign.name},
            context={**_facts(covered), "reviewer": reviewer, "url": _url("reviews:campaign", campaign)},
        )
    record(
        actor=actor,
        act="reviewer.reminded",
        subject=campaign,
        data={
            "reviewer": str(reviewer.pk),
            "items": len(due),
            "rungs": sorted({f"{rung.day:+d} {rung.act}" for each in due for rung in each.rungs.values()}),
            "deputy": str(deputy.pk) if deputy else None,
        },
    )
    return written


def _remind(
    campaign: Campaign, reviewer: User, work_items: Sequence[WorkItem], occasion: str, passed_on: bool = False
) -> bool:
    subject = ngettext(
        "%(count)d review waits for you in %(campaign)s", "%(count)d reviews wait for you in %(campaign)s",
        len(work_items),
    )  # fmt: skip
    return write_letter(
        key=f"remind {campaign.pk} {reviewer.pk} {occasion}",
        template="reminder",
        to=reviewer,
        campaign=campaign,
        subject=subject % {"count": len(work_items), "campaign": campaign.name},
        context={**_facts(work_items), "passed_on": passed_on, "url": _url("reviews:workbench", campaign)},
    )


def _facts(work_items: Sequence[WorkItem]) -> dict[str, Any]:
    """What a mail says about these: how many, how many are only unsigned, and until when."""
    due = min(work_item.item.due_at for work_item in work_items)
    # A rung comes to the minute, often at midnight: what is three days away then is not "in two days".
    days = max(1, round((due - clock.now()) / timedelta(days=1)))
    return {
        "count": len(work_items),
        "drafted": sum(work_item.state == WorkItemState.RESPONDED for work_item in work_items),
        "high": sum(work_item.item.tier in REASON_REQUIRED for work_item in work_items),
        "due": due,
        "days_left": 0 if timezone.localdate(due) == clock.today() else days,
    }


def _url(name: str, campaign: Campaign) -> str:
    return f"{settings.BASE_URL}{reverse(name, args=[campaign.pk])}"


def _deputy_of(reviewer: User, today: date) -> User | None:
    """Who stands in for a reviewer: whoever they named, else their team's lead. It gives them no right to decide."""
    if named := stand_in(reviewer, today):
        return named
    led = Team.objects.filter(members=reviewer, lead__is_active=True).exclude(lead=reviewer)
    team = led.select_related("lead").order_by("pk").first()
    return team.lead if team else None


@transaction.atomic
def remind_reviewer(*, actor: Actor, campaign: Campaign, reviewer: User) -> int:
    """Write to one reviewer now, at most once a day. Returns how many items the mail is about."""
    require(actor, "reviews.manage_campaign", campaign)
    if campaign.state != CampaignState.ACTIVE:
        raise Conflict(f"This campaign is {campaign.get_state_display().lower()}; nobody has to be reminded.")
    work_items = list(
        unsigned_work(campaign)
        .filter(reviewer=reviewer, reviewer__is_active=True)
        .select_related("item")
        .defer("item__snapshot")
    )
    if not work_items:
        raise Conflict(f"{reviewer} has nothing left to decide here.")
    reminded = last_reminded(campaign).get(reviewer.pk)
    if reminded is not None and timezone.localdate(reminded) >= clock.today():
        raise Conflict(f"{reviewer} was reminded today already.")
    _remind(campaign, reviewer, work_items, f"by hand {clock.today()}")
    record(
        actor=actor,
        act="reviewer.reminded",
        subject=campaign,
        data={"reviewer": str(reviewer.pk), "items": len(work_items), "rungs": ["by hand"], "deputy": None},
    )
    return len(work_items)


def last_reminded(campaign: Campaign) -> dict[UUID, datetime]:
    """When each reviewer was last reminded in a campaign."""
    letters = Letter.objects.filter(campaign=campaign, key__startswith="remind ")
    return dict(letters.order_by().values_list("to").annotate(Max("written_at")))


# --- What a campaign needs from whoever runs it ----------------------------------------------------------


@transaction.atomic
def tell_owner(*, item_id: UUID) -> bool:
    """Tell whoever runs a campaign that nobody independent is left for an item; once per time it gets stuck."""
    item = Item.objects.select_related("campaign__owner").get(pk=item_id)
    return tell_of_stuck(item)


# --- Missed runs (invariant 20) --------------------------------------------------------------------------


def tell_missed_runs(*, today: date, actor: Actor = POSTMAN) -> int:
    """Tell the owner and the campaign managers of each planned run that did not start, once. Returns of how many."""
    require(actor, "reviews.manage_templates")
    return sum(_tell_missed(actor, run.template.pk, today) for run in missed_runs(today))


@transaction.atomic
def _tell_missed(actor: Actor, template_id: UUID, today: date) -> bool:
    template = (
        Template.objects.select_for_update(of=("self",), skip_locked=True)
        .filter(pk=template_id, next_run_on__lt=today)
        .select_related("owner")
        .first()
    )
    if template is None or template.missed_told_on == template.next_run_on:
        return False
    planned = template.missed_told_on = template.next_run_on
    template.save(update_fields=["missed_told_on"])
    people = {person.pk: person for person in [template.owner, *managers()] if person.is_active}
    for person in people.values():
        write_letter(
            key=f"missed {template.pk} {planned} {person.pk}",
            template="missed",
            to=person,
            subject=_("%(template)s did not start on %(day)s") % {"template": template.name, "day": planned},
            context={
                "template": template,
                "planned": planned,
                "url": settings.BASE_URL + reverse("reviews:launch", args=[template.pk]),
            },
        )
    record(
        actor=actor,
        act="template.run_missed",
        subject=template,
        data={"planned": planned, "because": template.run_failed_because, "told": sorted(map(str, people))},
    )
    return True

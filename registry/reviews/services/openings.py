"""Whoever has to decide hears that it waits for them: when a campaign starts, when its next stage opens, when a change
or a registration asks for a single review.

The campaign's row says which stage its reviewers were told of (`told_stage`), and is marked in one transaction with
their letters: both or neither, however often a sweep or a message asks. What people hear of one after the other while
it runs (handed on, stepped back from, reminded) is told elsewhere.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, Max, Min, Q
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.accounts.models import User
from registry.audit.services import build_event, record_all
from registry.catalog.models import Tier
from registry.core.actors import Actor
from registry.core.bulk import among
from registry.core.canonical import digest
from registry.core.permissions import require
from registry.reviews.desk import SECONDS_PER_ITEM
from registry.reviews.models import Campaign, Letter, WorkItem
from registry.reviews.services.letters import compose, write_letters
from registry.reviews.services.stages import left_behind
from registry.reviews.states import OPEN_ITEM, CampaignState, WorkItemState

POSTMAN = Actor.system("openings")
AT_ONCE = 200
"""Campaigns told of in one transaction; a change that touches everything opens more."""
NAMED = 12
"""So many single reviews a letter names; the rest it counts."""


@dataclass(frozen=True)
class Opened:
    """What one person has to decide in one campaign's present stage. `due` is the first deadline of it."""

    campaign: Campaign
    items: int
    critical: int
    due: datetime
    last_due: datetime

    @property
    def stage(self) -> str:
        """Which of several stages it is; empty where there is one."""
        if len(self.campaign.stages) < 2:
            return ""
        words = {"n": self.campaign.stage, "m": len(self.campaign.stages)}
        name = self.campaign.stages[self.campaign.stage - 1].get("name")
        return (_("Stage %(n)d of %(m)d") % words) + (f": {name}" if name else "")


def tell_reviewers(*, actor: Actor = POSTMAN) -> int:
    """Write to the reviewers of every stage that has opened and was not told of. Returns how many letters.

    A campaign that people launched has a letter of its own for each reviewer. Single reviews that started since the
    last call share one: a change that calls for five of them is no five mails.
    """
    require(actor, "reviews.manage_campaign")
    written = 0
    while (told := _tell_some(actor)) is not None:
        written += told
    return written


@transaction.atomic
def _tell_some(actor: Actor) -> int | None:
    campaigns = {
        campaign.pk: campaign
        for campaign in Campaign.objects.select_for_update(of=("self",), skip_locked=True)
        .filter(~left_behind(), state=CampaignState.ACTIVE, told_stage__lt=F("stage"))
        .order_by("pk")[:AT_ONCE]
    }
    if not campaigns:
        return None
    theirs: dict[Any, list[Opened]] = defaultdict(list)
    for reviewer, campaign, *facts in _asked(campaigns):
        theirs[reviewer].append(Opened(campaigns[campaign], *facts))
    people = User.objects.in_bulk(theirs)
    letters = [letter for pk, opened in sorted(theirs.items()) for letter in _letters(people[pk], opened)]
    written = write_letters(letters)
    Campaign.objects.filter(pk__in=among(campaigns)).update(told_stage=F("stage"))
    reviewers = {pk: sum(row.campaign.pk == pk for rows in theirs.values() for row in rows) for pk in campaigns}
    record_all(
        [
            build_event(
                actor=actor,
                act="campaign.reviewers_told",
                subject=campaign,
                data={"stage": campaign.stage, "reviewers": reviewers[pk]},
            )
            for pk, campaign in campaigns.items()
        ]
    )
    return written


def _asked(campaigns: dict[Any, Campaign]) -> list[tuple[Any, ...]]:
    """`(reviewer, campaign, items, critical ones, first and last deadline)`: one count, however many items."""
    rows = WorkItem.objects.filter(
        item__campaign__in=list(campaigns),
        stage=F("item__campaign__stage"),
        state=WorkItemState.OPEN,
        item__state__in=OPEN_ITEM,
        reviewer__is_active=True,
    )
    return list(
        rows.order_by()
        .values_list("reviewer", "item__campaign")
        .annotate(
            n=Count("pk"),
            critical=Count("pk", filter=Q(item__tier=Tier.CRITICAL)),
            due=Min("item__due_at"),
            last_due=Max("item__due_at"),
        )
    )


def _letters(reviewer: User, opened: Sequence[Opened]) -> list[Letter]:
    """One for each campaign that people launched, one for all single reviews; the nearest deadline first."""
    ordered = sorted(opened, key=lambda row: (row.due, row.campaign.pk))
    launched = [row for row in ordered if row.campaign.kind == Campaign.Kind.PERIODIC]
    single = [row for row in ordered if row.campaign.kind != Campaign.Kind.PERIODIC]
    return [_letter(reviewer, [row]) for row in launched] + ([_letter(reviewer, single)] if single else [])


def _letter(reviewer: User, rows: Sequence[Opened]) -> Letter:
    items, first = sum(row.items for row in rows), rows[0]
    alone = len(rows) == 1
    words = {"n": items, "name": first.campaign.name, "day": date_format(timezone.localtime(first.due), "l j F")}
    if alone:
        subject = ngettext(
            "%(n)d review waits for you until %(day)s: %(name)s",
            "%(n)d reviews wait for you until %(day)s: %(name)s",
            items,
        )
    else:
        subject = _("%(n)d reviews wait for you, the first until %(day)s")
    path = reverse("reviews:workbench", args=[first.campaign.pk]) if alone else reverse("reviews:inbox")
    occasion = digest(sorted([str(row.campaign.pk), row.campaign.stage] for row in rows))[:32]
    return compose(
        key=f"opened {reviewer.pk} {occasion}",
        template="opened",
        to=reviewer,
        campaign=first.campaign if alone else None,
        subject=subject % words,
        context={
            "rows": rows[:NAMED],
            "more": max(len(rows) - NAMED, 0),
            "alone": alone,
            "items": items,
            "critical": sum(row.critical for row in rows),
            "minutes": max(1, round(items * SECONDS_PER_ITEM / 60)),
            "first": first,
            "several_deadlines": first.due != max(row.last_due for row in rows),
            "url": settings.BASE_URL + path,
        },
    )

"""Mails to people who still have something to decide: how long they have, why they get it, one link."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.accounts.models import User
from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict
from registry.core.permissions import require
from registry.reviews.models import Campaign, Item, WorkItem
from registry.reviews.states import OPEN_ITEM, CampaignState, WorkItemState

POSTMAN = Actor.system("reminders")
RUNGS = (7, 3, 1, 0)
"""Days before the deadline on which undecided reviewers hear from us."""


def rung_on(due: date, today: date) -> date | None:
    """The day of the rung that applies on `today`, None before the first and after the deadline.

    A rung that was missed (the worker slept) is made up for until the next one.
    """
    left = (due - today).days
    reached = [days for days in RUNGS if days >= left]
    return due - timedelta(days=min(reached)) if reached and left >= 0 else None


def send_reminders(*, today: date, actor: Actor = POSTMAN) -> int:
    """Remind everybody with undecided items whose rung has come. Running it again sends nothing twice."""
    require(actor, "reviews.manage_campaign")
    sent = 0
    for campaign in Campaign.objects.filter(state=CampaignState.ACTIVE, due_at__gte=clock.now()).order_by("due_at"):
        rung = rung_on(campaign.due_at.date(), today)
        if rung is None:
            continue
        waiting = _undecided(campaign).exclude(reminded_on__gte=rung)
        for reviewer_id in list(waiting.order_by("reviewer").values_list("reviewer", flat=True).distinct()):
            sent += _remind(actor, campaign, reviewer_id, today, rung) > 0
    return sent


@transaction.atomic
def remind_reviewer(*, actor: Actor, campaign: Campaign, reviewer: User) -> int:
    """Write to one reviewer now, at most once a day. Returns how many items the mail is about."""
    require(actor, "reviews.manage_campaign", campaign)
    if campaign.state != CampaignState.ACTIVE:
        raise Conflict(f"This campaign is {campaign.get_state_display().lower()}; nobody has to be reminded.")
    today = clock.today()
    if not _undecided(campaign).filter(reviewer=reviewer).exists():
        raise Conflict(f"{reviewer} has nothing left to decide here.")
    count = _remind(actor, campaign, reviewer.pk, today, today)
    if not count:
        raise Conflict(f"{reviewer} was reminded today already.")
    return count


def _undecided(campaign: Campaign) -> Any:
    return WorkItem.objects.filter(
        item__campaign=campaign, item__state__in=OPEN_ITEM, state=WorkItemState.OPEN, reviewer__is_active=True
    )


@transaction.atomic
def _remind(actor: Actor, campaign: Campaign, reviewer_id: UUID, today: date, rung: date) -> int:
    """One mail about all of a reviewer's undecided items, noted in the same transaction: sent at least once."""
    rows: Sequence[WorkItem] = list(
        _undecided(campaign)
        .filter(reviewer=reviewer_id)
        .exclude(reminded_on__gte=rung)
        .select_related("item", "reviewer")
        .select_for_update(of=("self",), skip_locked=True)
        .order_by("pk")
    )
    if not rows:
        return 0
    WorkItem.objects.filter(pk__in=[row.pk for row in rows]).update(reminded_on=today)
    high = sum(row.item.tier in ("critical", "high") for row in rows)
    subject = ngettext(
        "%(count)d review waits for you in %(campaign)s", "%(count)d reviews wait for you in %(campaign)s", len(rows)
    ) % {"count": len(rows), "campaign": campaign.name}
    _send(
        "reminder",
        rows[0].reviewer,
        subject,
        {
            "campaign": campaign,
            "count": len(rows),
            "high": high,
            "days_left": (campaign.due_at.date() - today).days,
            "url": settings.BASE_URL + reverse("reviews:workbench", args=[campaign.pk]),
        },
    )
    record(
        actor=actor,
        act="reviewer.reminded",
        subject=campaign,
        data={"reviewer": str(reviewer_id), "items": len(rows), "rung": rung},
    )
    return len(rows)


def tell_owner(*, item_id: UUID) -> bool:
    """Tell a campaign's owner that nobody independent is left for an item."""
    item = Item.objects.select_related("campaign__owner").get(pk=item_id)
    owner = item.campaign.owner
    if owner is None or not owner.is_active:
        return False
    _send(
        "stuck",
        owner,
        _("%(item)s needs a reviewer") % {"item": item.label},
        {
            "campaign": item.campaign,
            "item": item,
            "url": settings.BASE_URL + reverse("reviews:campaign", args=[item.campaign_id]),
        },
    )
    return True


def _send(template: str, to: User, subject: str, context: dict[str, Any]) -> None:
    context = {**context, "person": to, "base_url": settings.BASE_URL}
    message = EmailMultiAlternatives(
        subject=subject,
        body=render_to_string(f"reviews/mail/{template}.txt", context),
        to=[to.email],
        # Out-of-office replies to a registry help nobody.
        headers={"Auto-Submitted": "auto-generated"},
    )
    message.attach_alternative(render_to_string(f"reviews/mail/{template}.html", context), "text/html")
    message.send()

"""The life of a campaign: launch, gate, activation, signature, completion, cancellation."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F

from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.canonical import digest
from registry.core.errors import Conflict, Invalid
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.reviews.cadence import end_of_day
from registry.reviews.models import (
    Campaign,
    Decision,
    Item,
    SignOff,
    WorkItem,
)
from registry.reviews.queries import open_remediations
from registry.reviews.states import CAMPAIGN, OPEN_ITEM, CampaignState, ItemState, WorkItemState

LONGEST_EXTENSION = timedelta(days=90)


def locked_campaign(campaign_id: UUID) -> Campaign:
    fresh: Campaign = Campaign.objects.select_for_update(of=("self",)).get(pk=campaign_id)
    return fresh


def move_campaign(actor: Actor, campaign: Campaign, after: CampaignState, **data: Any) -> None:
    """Check, set and save the state with its evidence; the caller holds the row."""
    before = campaign.state
    CAMPAIGN.move(campaign, after, field="state")
    campaign.save()
    record(actor=actor, act=f"campaign.{after}", subject=campaign, data={"before": before, **data})


# --- Launch ----------------------------------------------------------------------------------------------


# --- Gate and activation ---------------------------------------------------------------------------------


@transaction.atomic
def extend_campaign(*, actor: Actor, campaign: Campaign, until: date, reason: str) -> Campaign:
    """Give reviewers more time. Late decisions are refused, so this is the honest way to accept them."""
    require(actor, "reviews.manage_campaign", campaign)
    refuse_secrets({"reason": reason})
    campaign = locked_campaign(campaign.pk)
    if campaign.state != CampaignState.ACTIVE:
        raise Conflict(f"This campaign is {campaign.get_state_display().lower()}; its deadline no longer matters.")
    errors = {}
    due_at = end_of_day(until)
    if due_at <= max(campaign.due_at, clock.now()):
        errors["until"] = ["Choose a day after the present deadline."]
    elif due_at > clock.now() + LONGEST_EXTENSION:
        errors["until"] = [f"At most {LONGEST_EXTENSION.days} days from today: a review without a deadline is none."]
    if not reason.strip():
        errors["reason"] = ["Say why reviewers need more time."]
    if errors:
        raise Invalid(fields=errors)
    before, campaign.due_at = campaign.due_at, due_at
    campaign.save()
    campaign.items.filter(state__in=OPEN_ITEM).update(due_at=due_at)
    # A later deadline starts the reminders anew.
    WorkItem.objects.filter(item__campaign=campaign, state=WorkItemState.OPEN).update(reminded_on=None)
    record(
        actor=actor,
        act="campaign.extended",
        subject=campaign,
        data={"before": before, "after": due_at, "reason": reason.strip()},
    )
    return campaign


# --- Signature, completion, cancellation -----------------------------------------------------------------


def advance_campaign(actor: Actor, campaign: Campaign) -> None:
    """ACTIVE → SIGN_OFF once nothing is open. The caller holds the row."""
    if campaign.state == CampaignState.ACTIVE and not campaign.items.filter(state__in=OPEN_ITEM).exists():
        move_campaign(actor, campaign, CampaignState.SIGN_OFF)


@transaction.atomic
def close_campaign(*, actor: Actor, campaign: Campaign, statement: str, auth_method: str) -> Campaign:
    """Sign the campaign as a whole: every item has its outcome, what was taken away now has to be verified."""
    require(actor, "reviews.close_campaign", campaign)
    refuse_secrets({"statement": statement})
    campaign = locked_campaign(campaign.pk)
    CAMPAIGN.check(campaign.state, CampaignState.REMEDIATING)
    if not statement.strip():
        raise Invalid(fields={"statement": ["Say what you sign."]})
    if actor.user is None:
        raise Conflict("Only a named person signs a campaign.")
    roots = list(
        campaign.sign_offs.filter(kind=SignOff.Kind.REVIEWER).order_by("id").values_list("decisions_root", flat=True)
    )
    signature = SignOff.objects.create(
        kind=SignOff.Kind.CAMPAIGN,
        campaign=campaign,
        reviewer=actor.user,
        decisions_root=digest({"population": campaign.population_hash, "sign_offs": roots}),
        decision_count=Decision.objects.filter(sign_off__campaign=campaign).count(),
        statement=statement.strip(),
        auth_method=auth_method,
        at=clock.now(),
    )
    move_campaign(actor, campaign, CampaignState.REMEDIATING, sign_off=str(signature.pk), root=signature.decisions_root)
    complete_if_remediated(actor, campaign)
    return campaign


def complete_if_remediated(actor: Actor, campaign: Campaign) -> None:
    """REMEDIATING → COMPLETED once every remediation is verified (invariant 11). The caller holds the row."""
    if campaign.state == CampaignState.REMEDIATING and not open_remediations(campaign).exists():
        campaign.completed_at = clock.now()
        move_campaign(actor, campaign, CampaignState.COMPLETED)


@transaction.atomic
def cancel_campaign(*, actor: Actor, campaign: Campaign, reason: str) -> Campaign:
    """Stop a campaign. Everything is kept; what was signed stays signed; open items are freed for another campaign."""
    require(actor, "reviews.manage_campaign", campaign)
    refuse_secrets({"reason": reason})
    campaign = locked_campaign(campaign.pk)
    if not reason.strip():
        raise Invalid(fields={"reason": ["Say why the campaign is cancelled."]})
    campaign.state_reason = reason.strip()
    move_campaign(actor, campaign, CampaignState.CANCELLED, reason=campaign.state_reason)
    close_items(campaign, ItemState.CANCELLED)
    return campaign


def close_items(campaign: Campaign, state: ItemState) -> int:
    """End every open item of a campaign without an outcome; unsigned drafts go with them."""
    open_items = list(
        Item.objects.select_for_update(of=("self",))
        .filter(campaign=campaign, state__in=OPEN_ITEM)
        .order_by("pk")
        .values_list("pk", flat=True)
    )
    Decision.objects.filter(work_item__item__in=open_items, signed_at=None).delete()
    WorkItem.objects.filter(item__in=open_items).exclude(state=WorkItemState.CLOSED).update(
        state=WorkItemState.CLOSED, version=F("version") + 1, updated_at=clock.now()
    )
    return Item.objects.filter(pk__in=open_items).update(state=state, version=F("version") + 1, updated_at=clock.now())

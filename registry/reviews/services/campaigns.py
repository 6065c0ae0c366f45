"""The life of a campaign once it runs: more time, next stage, signature, completion, acceptance, cancellation."""

from collections.abc import Iterable
from datetime import date, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Count, F
from django.utils.translation import gettext as _

from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.canonical import digest
from registry.core.errors import Conflict, Invalid, NotIndependent
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.core.step_up import require_recent
from registry.reviews.cadence import end_of_day
from registry.reviews.models import (
    Campaign,
    Decision,
    ExceptionRecord,
    Item,
    Remediation,
    SignOff,
    Verification,
    WorkItem,
)
from registry.reviews.services.moves import locked_campaign, move_campaign
from registry.reviews.services.stages import begin_next_stage, under_review
from registry.reviews.states import (
    CAMPAIGN,
    ITEM,
    OPEN_ITEM,
    SETTLED,
    CampaignState,
    ItemState,
    RemediationState,
    WorkItemState,
)

ENGINE = Actor.system("campaign engine")
LONGEST_EXTENSION = timedelta(days=90)


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
    campaign.items.filter(state__in=OPEN_ITEM).update(due_at=due_at, ladder_from=None, ladder_until=None)
    record(
        actor=actor,
        act="campaign.extended",
        subject=campaign,
        data={"before": before, "after": due_at, "reason": reason.strip()},
    )
    return campaign


# --- Stage by stage --------------------------------------------------------------------------------------


def advance_campaign(actor: Actor, campaign: Campaign) -> None:
    """Go on as soon as nothing is under review: to the next stage, else to the signature of the campaign's owner.

    What no owner signs (an intake, a micro-certification) goes on to its completion. The caller holds the row.
    """
    if campaign.state != CampaignState.ACTIVE or under_review(campaign):
        return
    if campaign.items.filter(state__in=OPEN_ITEM).exists():
        if campaign.stage < len(campaign.stages):
            begin_next_stage(actor, campaign)
        return
    move_campaign(actor, campaign, CampaignState.SIGN_OFF)
    if campaign.kind != Campaign.Kind.PERIODIC:
        move_campaign(ENGINE, campaign, CampaignState.REMEDIATING)
        complete_if_remediated(ENGINE, campaign)


def settle_campaigns(*, campaign_ids: Iterable[UUID] | None = None, actor: Actor = ENGINE) -> int:
    """Let campaigns go on that wait for nothing any more, because an item vanished or lapsed. Returns how many did.

    Without ids: all that run, which is how a sweep makes up for what got lost.
    """
    require(actor, "reviews.manage_campaign")
    running = Campaign.objects.filter(state__in=[CampaignState.ACTIVE, CampaignState.REMEDIATING]).order_by("pk")
    if campaign_ids is not None:
        running = running.filter(pk__in=list(campaign_ids))
    return sum(_settle(actor, pk) for pk in list(running.values_list("pk", flat=True)))


@transaction.atomic
def _settle(actor: Actor, campaign_id: UUID) -> bool:
    campaign = locked_campaign(campaign_id)
    before = (campaign.state, campaign.stage)
    advance_campaign(actor, campaign)
    complete_if_remediated(actor, campaign)
    return (campaign.state, campaign.stage) != before


# --- Signature, completion, acceptance, cancellation -----------------------------------------------------


@transaction.atomic
def close_campaign(*, actor: Actor, campaign: Campaign, statement: str, auth_method: str) -> Campaign:
    """Sign the campaign as a whole: every item has its outcome, what was taken away now has to be verified."""
    require(actor, "reviews.close_campaign", campaign)
    require_recent(actor, _("Close a campaign"))
    refuse_secrets({"statement": statement})
    campaign = locked_campaign(campaign.pk)
    CAMPAIGN.check(campaign.state, CampaignState.REMEDIATING)
    signature = _sign_whole(actor, campaign, SignOff.Kind.CAMPAIGN, statement, auth_method)
    move_campaign(actor, campaign, CampaignState.REMEDIATING, sign_off=str(signature.pk), root=signature.decisions_root)
    complete_if_remediated(actor, campaign)
    return campaign


def complete_if_remediated(actor: Actor, campaign: Campaign) -> None:
    """REMEDIATING → COMPLETED once every remediation is verified, or COMPLETED_WITH_EXCEPTIONS (invariant 11).

    The caller holds the row. Whoever reads the result sees in its name whether something that was to go has stayed.
    """
    if campaign.state != CampaignState.REMEDIATING:
        return
    made = Remediation.objects.filter(item__campaign=campaign)
    count = {row["state"]: row["n"] for row in made.order_by().values("state").annotate(n=Count("pk"))}
    if not count.keys() <= set(SETTLED):
        return
    stayed = sum(number for state, number in count.items() if state != RemediationState.VERIFIED)
    campaign.completed_at = clock.now()
    after = CampaignState.COMPLETED_WITH_EXCEPTIONS if stayed else CampaignState.COMPLETED
    move_campaign(actor, campaign, after, remediations=count)


@transaction.atomic
def accept_campaign(*, actor: Actor, campaign: Campaign, statement: str, auth_method: str) -> Campaign:
    """An auditor signs that the completed campaign can be relied upon. Nobody accepts what they took part in.

    Raises `NotIndependent` naming the part.
    """
    require(actor, "reviews.accept_campaign", campaign)
    require_recent(actor, _("Accept a campaign"))
    refuse_secrets({"statement": statement})
    campaign = locked_campaign(campaign.pk)
    CAMPAIGN.check(campaign.state, CampaignState.ACCEPTED)
    if parts := _parts_in(campaign, actor.user_id):
        raise NotIndependent(f"{campaign} must be accepted by somebody else: {actor.label} {' and '.join(parts)}.")
    signature = _sign_whole(actor, campaign, SignOff.Kind.AUDITOR, statement, auth_method)
    move_campaign(actor, campaign, CampaignState.ACCEPTED, sign_off=str(signature.pk), root=signature.decisions_root)
    return campaign


def _parts_in(campaign: Campaign, user_id: UUID | None) -> list[str]:
    """What a person did in a campaign that keeps them from accepting it, as words."""
    remediations = Remediation.objects.filter(item__campaign=campaign)
    decided = Decision.objects.filter(work_item__item__campaign=campaign, work_item__reviewer=user_id)
    confirmed = Verification.objects.filter(remediation__in=remediations, by=user_id)
    excepted = ExceptionRecord.objects.filter(remediation__in=remediations, approver=user_id)
    parts = {
        "owns it": user_id is not None and campaign.owner_id == user_id,
        "owned it": user_id is not None and campaign.interim_for_id == user_id,
        "decided in it": decided.exists(),
        "signed in it": campaign.sign_offs.filter(reviewer=user_id).exists(),
        "confirmed a remediation of it": confirmed.exists(),
        "approved an exception in it": excepted.exists(),
    }
    return [words for words, holds in parts.items() if holds]


def _sign_whole(actor: Actor, campaign: Campaign, kind: SignOff.Kind, statement: str, auth_method: str) -> SignOff:
    """A signature under everything that was signed before it: the population and all earlier signatures."""
    if not statement.strip():
        raise Invalid(fields={"statement": ["Say what you sign."]})
    if actor.user is None:
        raise Conflict("Only a named person signs a campaign.")
    roots = list(campaign.sign_offs.order_by("id").values_list("decisions_root", flat=True))
    return SignOff.objects.create(
        kind=kind,
        campaign=campaign,
        reviewer=actor.user,
        stage=campaign.stage,
        decisions_root=digest({"population": campaign.population_hash, "sign_offs": roots}),
        decision_count=Decision.objects.filter(sign_off__campaign=campaign).count(),
        statement=statement.strip(),
        auth_method=auth_method,
        at=clock.now(),
    )


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
        .values_list("pk", "state")
    )
    for before in {before for _pk, before in open_items}:
        ITEM.check(before, state)
    ids = [pk for pk, _before in open_items]
    Decision.objects.filter(work_item__item__in=ids, signed_at=None).delete()
    WorkItem.objects.filter(item__in=ids).exclude(state=WorkItemState.CLOSED).update(
        state=WorkItemState.CLOSED, version=F("version") + 1, updated_at=clock.now()
    )
    return Item.objects.filter(pk__in=ids).update(state=state, version=F("version") + 1, updated_at=clock.now())

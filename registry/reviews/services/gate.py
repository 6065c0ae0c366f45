"""What people do about a campaign that its launch gate keeps staged: find reviewers, look at the facts again, say why
it may start, start it.

An item without an independent reviewer is not among what can be waived: somebody has to be found for it. Whoever opens
the gate, by hand or in passing, asks it the same question: the facts are compared as they are at that moment, because
items that wait for a reviewer are not watched for changes before they have one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.models import Record
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.core.step_up import require_recent
from registry.reviews.gate import gate, moved_items, ownerless, without_reviewer
from registry.reviews.models import Campaign, GapWaiver
from registry.reviews.services.items import find_reviewers
from registry.reviews.services.launch import open_campaign, try_to_open
from registry.reviews.services.moves import locked_campaign, locked_items
from registry.reviews.services.watch import check_items
from registry.reviews.states import CAMPAIGN, OPEN_ITEM, CampaignState

CHUNK = 1_000
_MISSING: Mapping[str, Callable[[Campaign], Sequence[Record]]] = {
    GapWaiver.Gap.MISSING_OWNER: ownerless,
    GapWaiver.Gap.MOVED_FACTS: moved_items,
}


def waive_gap(*, actor: Actor, campaign: Campaign, gap: str, reason: str) -> GapWaiver:
    """Let a campaign start although things in it have no active owner, or although facts moved since the launch.

    Covers what is missing at this moment and nothing that comes later. Whoever decides still sees it on the item, and
    moved facts have to be confirmed before anything is decided on them. Opens the campaign if that was all it lacked.
    """
    require(actor, "reviews.waive_gap", campaign)
    require_recent(actor, _("Waive what the launch gate found"))
    refuse_secrets({"reason": reason})
    with transaction.atomic():
        waiver = _waive(actor, _staged(campaign), gap, reason)
    # Its own question to the gate: what moved since the page was read is not covered, and keeps it staged.
    _open_if_it_may(actor, campaign)
    return waiver


def _waive(actor: Actor, campaign: Campaign, gap: str, reason: str) -> GapWaiver:
    errors = {}
    if gap not in _MISSING:
        errors["gap"] = ["Only missing owners and moved facts can be waived; a missing reviewer has to be found."]
    if not reason.strip():
        errors["reason"] = ["Say why the campaign may start like this, and what happens about it."]
    if errors:
        raise Invalid(fields=errors)
    if actor.user is None:
        raise Conflict("Only a named person waives what the launch gate found.")
    waived = {pk for waiver in campaign.gap_waivers.filter(gap=gap) for pk in waiver.covers}
    left = [thing.pk for thing in _MISSING[gap](campaign) if thing.pk not in waived]
    if not left:
        raise Conflict("There is nothing of this kind to waive any more.")
    waiver = GapWaiver.objects.create(
        campaign=campaign, gap=gap, covers=left, reason=reason.strip(), waived_by=actor.user
    )
    record(
        actor=actor,
        act="campaign.gap_waived",
        subject=campaign,
        data={"gap": gap, "covers": [str(pk) for pk in left], "reason": waiver.reason},
    )
    return waiver


def recheck_campaign(*, actor: Actor, campaign: Campaign) -> int:
    """Compare every item of a staged campaign with the present facts, and open it if nothing is in the way.

    Returns how many items moved: their facts changed, or what they are about is gone.
    """
    require(actor, "reviews.manage_campaign", campaign)
    with transaction.atomic():
        _staged(campaign)
    return _open_if_it_may(actor, campaign)


def activate_campaign(*, actor: Actor, campaign: Campaign) -> Campaign:
    """Open a staged campaign for its reviewers. Raises `Conflict` with every reason the launch gate has against it."""
    require(actor, "reviews.manage_campaign", campaign)
    _compare(actor, campaign)
    with transaction.atomic():
        fresh = locked_campaign(campaign.pk)
        CAMPAIGN.check(fresh.state, CampaignState.ACTIVE)
        if problems := gate(fresh).problems:
            raise Conflict(" ".join(problems))
        return open_campaign(actor, fresh)


def retry_assignment(*, actor: Actor, campaign: Campaign) -> int:
    """Look for reviewers again after people or the pool changed; open the campaign if that was all it lacked.

    Returns how many items found a reviewer.
    """
    require(actor, "reviews.manage_campaign", campaign)
    with transaction.atomic():
        fresh = locked_campaign(campaign.pk)
        if fresh.state not in (CampaignState.STAGED, CampaignState.ACTIVE):
            raise Conflict(f"This campaign is {fresh.get_state_display().lower()}; nothing waits for a reviewer.")
        found = find_reviewers(actor, locked_items(without_reviewer(fresh).values_list("pk", flat=True)))
    # Only now are the facts compared: an item has a reviewer before it can be told that they moved.
    _open_if_it_may(actor, campaign)
    return found


def _open_if_it_may(actor: Actor, campaign: Campaign) -> int:
    """Compare, then open what still waits at the gate, if it may. Returns how many items moved."""
    moved = _compare(actor, campaign)
    with transaction.atomic():
        fresh = locked_campaign(campaign.pk)
        if fresh.state == CampaignState.STAGED:
            try_to_open(actor, fresh)
    return moved


def _compare(actor: Actor, campaign: Campaign) -> int:
    """Every item of a campaign at the gate against the facts of this moment, in transactions of its own: what moved
    is kept, also where the gate then refuses. Returns how many moved.

    An intake and a micro-certification have no such gate: they start at once, and an item whose facts move is shown
    with the new ones before anybody decides.
    """
    state = Campaign.objects.values_list("state", flat=True).get(pk=campaign.pk)
    if campaign.kind != Campaign.Kind.PERIODIC or state != CampaignState.STAGED:
        return 0
    started, moved = clock.now(), 0
    for item_ids in _chunks(campaign):
        moved += check_items(item_ids=item_ids)
    with transaction.atomic():
        fresh = locked_campaign(campaign.pk)
        if fresh.state == CampaignState.STAGED:
            fresh.facts_checked_at = started
            fresh.save(update_fields=["facts_checked_at"])
            record(actor=actor, act="campaign.facts_checked", subject=fresh, data={"moved": moved})
    return moved


def _staged(campaign: Campaign) -> Campaign:
    """The campaign's row, held, while it waits at the gate."""
    fresh = locked_campaign(campaign.pk)
    if fresh.state != CampaignState.STAGED:
        raise Conflict(f"This campaign is {fresh.get_state_display().lower()}; it does not wait at the launch gate.")
    return fresh


def _chunks(campaign: Campaign) -> Iterator[list[UUID]]:
    last = None
    while True:
        rows = campaign.items.filter(state__in=OPEN_ITEM).order_by("pk")
        chunk = list((rows.filter(pk__gt=last) if last else rows).values_list("pk", flat=True)[:CHUNK])
        if not chunk:
            return
        yield chunk
        last = chunk[-1]

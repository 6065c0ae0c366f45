"""Facts that move under a review or under a certificate: items are invalidated, certificates end."""

from collections.abc import Iterable
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from registry.catalog.models import Server
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Changed, Conflict
from registry.core.independence import require_decider, require_independent
from registry.core.permissions import require
from registry.reviews.facts import collect, evidence_of
from registry.reviews.models import Campaign, Certificate, Decision, Item, ItemRefresh, SubjectKind, WorkItem
from registry.reviews.population import KIND_ORDER
from registry.reviews.services import certificates
from registry.reviews.services.campaigns import advance_campaign, locked_campaign, move_campaign
from registry.reviews.services.certificates import MIRROR
from registry.reviews.services.items import locked_work_item, move_item, require_open
from registry.reviews.states import OPEN_ITEM, WORK_ITEM, CampaignState, ItemState, WorkItemState

WATCH = Actor.system("facts under review")


_REVIEWED = (ItemState.IN_REVIEW, ItemState.DECIDED)


CHUNK = 200


@transaction.atomic
def check_items(*, item_ids: Iterable[UUID], actor: Actor = WATCH) -> int:
    """Compare open items with the present facts: vanished ones become OBSOLETE, changed ones INVALIDATED.

    Drafts on changed facts are discarded. Returns how many items moved.
    """
    require(actor, "reviews.manage_campaign")
    moved, campaigns = 0, set()
    items = list(
        Item.objects.select_for_update(of=("self",))
        .filter(pk__in=list(item_ids), state__in=OPEN_ITEM)
        .select_related("campaign")
        .prefetch_related("refreshes")
        .order_by("pk")
    )
    for kind in KIND_ORDER:
        part = [item for item in items if item.kind == kind]
        evidence = collect(kind, [item.subject_pk for item in part]) if part else {}
        for item in part:
            now = evidence[item.subject_pk]
            if not now.in_place or (
                item.campaign.kind == Campaign.Kind.INTAKE and now.subject.lifecycle != "submitted"
            ):
                _discard_drafts(item)
                item.work_items.exclude(state=WorkItemState.CLOSED).update(state=WorkItemState.CLOSED)
                move_item(actor, item, ItemState.OBSOLETE)
                campaigns.add(item.campaign_id)
                moved += 1
            elif item.state in _REVIEWED and now.fingerprint != item.seen.fingerprint:
                _discard_drafts(item)
                move_item(actor, item, ItemState.INVALIDATED, seen=item.seen.fingerprint, now=now.fingerprint)
                moved += 1
    for campaign_id in sorted(campaigns):
        campaign = locked_campaign(campaign_id)
        if campaign.kind == Campaign.Kind.INTAKE and campaign.state in (CampaignState.STAGED, CampaignState.ACTIVE):
            campaign.state_reason = "The registration was withdrawn."
            move_campaign(actor, campaign, CampaignState.CANCELLED, reason=campaign.state_reason)
        else:
            advance_campaign(actor, campaign)
    return moved


def _discard_drafts(item: Item) -> None:
    Decision.objects.filter(work_item__item=item, signed_at=None).delete()
    for work_item in item.work_items.filter(state=WorkItemState.RESPONDED):
        WORK_ITEM.move(work_item, WorkItemState.OPEN, field="state")
        work_item.save(update_fields=["state"])


def recheck(*, kind: str, id: UUID) -> int:
    """A server, agent, system, grant or connection changed: look at the items and certificates that rest on it."""
    servers = Server.objects.filter(
        {
            "server": Q(pk=id),
            "agent": Q(grants__agent=id),
            "system": Q(connections__system=id),
            "grant": Q(grants=id),
            "connection": Q(connections=id),
        }[kind]
    )
    ids = list(servers.values_list("pk", flat=True).distinct())
    about = Q(server__in=ids) | Q(grant__server__in=ids) | Q(connection__server__in=ids)
    items = Item.objects.filter(about, state__in=OPEN_ITEM).values_list("pk", flat=True)
    moved = check_items(item_ids=list(items))
    return moved + end_stale_certificates(server_ids=ids)


def sweep_items() -> int:
    """Every open item against the present facts, for events that got lost."""
    moved, last = 0, None
    while True:
        rows = Item.objects.filter(state__in=OPEN_ITEM).order_by("pk")
        chunk = list((rows.filter(pk__gt=last) if last else rows).values_list("pk", flat=True)[:CHUNK])
        if not chunk:
            return moved
        moved += check_items(item_ids=chunk)
        last = chunk[-1]


def confirm_facts(*, actor: Actor, work_item: WorkItem, evidence_hash: str) -> ItemRefresh:
    """The reviewer has seen the changed facts and goes on: stored beside the snapshot, never over it.

    `evidence_hash` is the one of the new evidence. Raises `Changed` when the facts moved once more.
    """
    require_decider(actor, "reviews.decide", work_item)
    # Nobody may have noticed the change yet but the page that shows it.
    check_items(item_ids=[work_item.item_id])
    return _confirm(actor=actor, work_item=work_item, evidence_hash=evidence_hash)


@transaction.atomic
def _confirm(*, actor: Actor, work_item: WorkItem, evidence_hash: str) -> ItemRefresh:
    work_item = locked_work_item(work_item.pk)
    require_decider(actor, "reviews.decide", work_item)
    item = work_item.item
    require_open(item)
    require_independent(actor, item)
    if item.state != ItemState.INVALIDATED:
        raise Conflict("Nothing changed that you have not seen.")
    now = evidence_of(item.subject)
    if now.evidence_hash != evidence_hash:
        raise Changed("The facts changed once more. Look at them again.")
    refresh = ItemRefresh.objects.create(
        item=item,
        snapshot=now.snapshot,
        fingerprint=now.fingerprint,
        evidence_hash=now.evidence_hash,
        seen_by=actor.user,
        at=clock.now(),
    )
    move_item(actor, item, ItemState.IN_REVIEW, fingerprint=now.fingerprint, evidence_hash=now.evidence_hash)
    return refresh


# --- Certificates ----------------------------------------------------------------------------------------


def end_stale_certificates(*, server_ids: Iterable[UUID] | None = None, actor: Actor = MIRROR) -> int:
    """End certificates whose time is over, whose facts changed or whose subject is gone. Returns how many ended.

    With `server_ids` only what rests on those servers.
    """
    require(actor, "reviews.manage_campaign")
    valid = Certificate.objects.filter(ended_at=None).order_by("pk")
    if server_ids is not None:
        ids = list(server_ids)
        valid = valid.filter(Q(server__in=ids) | Q(grant__server__in=ids) | Q(connection__server__in=ids))
    ended, last = 0, None
    while True:
        chunk = list((valid.filter(pk__gt=last) if last else valid).values_list("pk", flat=True)[:CHUNK])
        if not chunk:
            return ended
        ended += _end_stale(actor, chunk)
        last = chunk[-1]


@transaction.atomic
def _end_stale(actor: Actor, pks: list[UUID]) -> int:
    rows = list(Certificate.objects.select_for_update(of=("self",)).filter(pk__in=pks, ended_at=None).order_by("pk"))
    now, ended = clock.now(), 0
    for kind in SubjectKind.values:
        part = [certificate for certificate in rows if certificate.kind == kind]
        evidence = collect(kind, [certificate.subject_pk for certificate in part]) if part else {}
        for certificate in part:
            present = evidence[certificate.subject_pk]
            if not present.in_place:
                certificates.end(actor, certificate, "What it certified is no longer in place.")
                certificates.mirror(present.subject, None)
            elif present.fingerprint != certificate.fingerprint:
                certificates.end(actor, certificate, "The certified facts changed.")
                certificates.mirror(present.subject, None)
            elif certificate.certified_until <= now:
                # The date stays on the thing: it shows since when the certification has lapsed.
                certificates.end(actor, certificate, "Its time was over.")
            else:
                continue
            ended += 1
    return ended

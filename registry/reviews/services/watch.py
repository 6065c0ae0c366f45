"""Facts that move under a review or under a certificate: items are invalidated, certificates end."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.urls import reverse
from django.utils.translation import ngettext

from registry.accounts.models import User
from registry.core import clock
from registry.core.actors import Actor
from registry.core.bulk import among, parts_of
from registry.core.canonical import digest
from registry.core.errors import Changed, Conflict
from registry.core.independence import require_decider, require_independent
from registry.core.permissions import require
from registry.reviews.comparison import changes
from registry.reviews.drift import Drift, Touched, drifted_certificates, drifted_items, touched_by, touched_since
from registry.reviews.facts import collect, evidence_of, freeze
from registry.reviews.models import Campaign, Certificate, Decision, Item, ItemRefresh, Trigger, WorkItem
from registry.reviews.models.subjects import NAMES
from registry.reviews.services import certificates
from registry.reviews.services.campaigns import settle_campaigns
from registry.reviews.services.certificates import MIRROR
from registry.reviews.services.items import require_open
from registry.reviews.services.letters import write_letter
from registry.reviews.services.moves import (
    close_work,
    locked_campaign,
    locked_items,
    locked_work_item,
    move_campaign,
    move_item,
    move_items,
)
from registry.reviews.services.triggers import MOST_DETAIL, raise_triggers
from registry.reviews.services.unfinished import leave_unfinished
from registry.reviews.states import OPEN_ITEM, WORK_ITEM, CampaignState, ItemState, WorkItemState

WATCH = Actor.system("facts under review")
CHUNK = 2000
LOOK_BACK = timedelta(minutes=2)
"""How far the frequent sweep looks back: several times its interval, for rows that were committed late."""
NAMED = 12
"""So many items a letter names; the rest it counts."""


# --- Items -----------------------------------------------------------------------------------------------


def check_items(*, item_ids: Iterable[UUID], actor: Actor = WATCH) -> int:
    """Compare open items with the present facts: vanished ones become OBSOLETE, changed ones INVALIDATED.

    Drafts on changed facts are discarded, and whoever holds the items is told. Returns how many items moved.
    """
    return _settle_items(actor, Q(pk__in=list(item_ids)))


def sweep_items() -> int:
    """Every open item against the present facts, for events that got lost."""
    started = clock.now()
    moved = _settle_items(WATCH, None)
    # What waits at the launch gate is as fresh as this look.
    staged = Campaign.objects.filter(state=CampaignState.STAGED, facts_checked_at__lt=started)
    staged.update(facts_checked_at=started)
    return moved


def _settle_items(actor: Actor, scope: Q | None) -> int:
    require(actor, "reviews.manage_campaign")
    moved = 0
    freed: set[UUID] = set()
    for chunk in parts_of([drift.id for drift in drifted_items(scope)], CHUNK):
        count, campaigns = _move_drifted(actor, chunk)
        moved += count
        freed |= campaigns
    _let_go_on(actor, freed)
    return moved


@transaction.atomic
def _move_drifted(actor: Actor, ids: Sequence[UUID]) -> tuple[int, set[UUID]]:
    """Move what has drifted, looked at once more behind its locks. How many, and whose campaigns lost an item."""
    items = {item.pk: item for item in locked_items(ids) if item.state in OPEN_ITEM}
    drifted = {drift.id: drift for drift in drifted_items(Q(pk__in=list(items)))}
    gone = [items[pk] for pk, drift in drifted.items() if drift.gone]
    changed = [items[pk] for pk, drift in drifted.items() if not drift.gone]
    held = list(
        WorkItem.objects.filter(item__in=drifted).exclude(state=WorkItemState.CLOSED).select_related("reviewer")
    )
    close_work([work_item for work_item in held if drifted[work_item.item_id].gone])
    move_items(actor, gone, ItemState.OBSOLETE)
    kept = [work_item for work_item in held if not drifted[work_item.item_id].gone]
    _take_back_answers(kept)
    move_items(
        actor,
        changed,
        ItemState.INVALIDATED,
        said=lambda item: {"seen": item.seen.fingerprint, "now": drifted[item.pk].fingerprint},
    )
    _tell_reviewers(items, kept, drifted)
    return len(drifted), {item.campaign_id for item in gone}


def _take_back_answers(work_items: Sequence[WorkItem]) -> None:
    """Unsigned answers on facts that moved; the caller holds the items. Their words stay, for the new facts."""
    drafts = Decision.objects.filter(work_item__in=work_items, signed_at=None)
    leave_unfinished(drafts)
    drafts.delete()
    answered = [work_item for work_item in work_items if work_item.state == WorkItemState.RESPONDED]
    for work_item in answered:
        WORK_ITEM.move(work_item, WorkItemState.OPEN, field="state")
    WorkItem.objects.filter(pk__in=[work_item.pk for work_item in answered]).update(
        state=WorkItemState.OPEN, version=F("version") + 1, updated_at=clock.now()
    )


def _tell_reviewers(items: Mapping[UUID, Item], held: Sequence[WorkItem], drifted: Mapping[UUID, Drift]) -> None:
    """One letter to each reviewer of a running campaign about all their items that moved at once.

    The occasion is the items with their new facts: the same change is told once, the next one again.
    """
    concerned: dict[tuple[Campaign, User], list[Item]] = defaultdict(list)
    for work_item in held:
        item = items[work_item.item_id]
        if item.campaign.state == CampaignState.ACTIVE and work_item.reviewer.is_active:
            concerned[item.campaign, work_item.reviewer].append(item)
    for (campaign, reviewer), theirs in concerned.items():
        theirs.sort(key=lambda item: item.label)
        occasion = digest(sorted([str(item.pk), drifted[item.pk].fingerprint] for item in theirs))
        subject = ngettext(
            "The facts of %(count)d review changed in %(campaign)s",
            "The facts of %(count)d reviews changed in %(campaign)s",
            len(theirs),
        )
        write_letter(
            key=f"changed {reviewer.pk} {occasion}",
            template="changed",
            to=reviewer,
            campaign=campaign,
            subject=subject % {"count": len(theirs), "campaign": campaign.name},
            context={
                "labels": [item.label for item in theirs[:NAMED]],
                "more": max(len(theirs) - NAMED, 0),
                "count": len(theirs),
                "url": settings.BASE_URL + reverse("reviews:workbench", args=[campaign.pk]),
            },
        )


def _let_go_on(actor: Actor, campaign_ids: Iterable[UUID]) -> None:
    """After the items, in transactions of their own: everybody locks a campaign before its items."""
    freed = sorted(campaign_ids)
    intakes = Campaign.objects.filter(pk__in=freed, kind=Campaign.Kind.INTAKE)
    for pk in list(intakes.values_list("pk", flat=True)):
        _cancel_intake(actor, pk)
    if freed:
        settle_campaigns(campaign_ids=freed)


@transaction.atomic
def _cancel_intake(actor: Actor, campaign_id: UUID) -> None:
    campaign = locked_campaign(campaign_id)
    if campaign.state in (CampaignState.STAGED, CampaignState.ACTIVE):
        campaign.state_reason = "The registration was withdrawn."
        move_campaign(actor, campaign, CampaignState.CANCELLED, reason=campaign.state_reason)


# --- Occasions -------------------------------------------------------------------------------------------


def recheck(*, kind: str, id: UUID) -> int:
    """A server, agent, system, grant or connection changed: look at the items and certificates that rest on it."""
    return _recheck(touched_by(kind, id))


def sweep_touched() -> int:
    """Recheck what rests on rows that moved lately, for events that got lost; returns how much moved.

    Cheap enough to run often: certification ends within a minute of a change, whatever became of its message.
    """
    return _recheck(touched_since(clock.now() - LOOK_BACK))


def _recheck(touched: Touched) -> int:
    if not touched:
        return 0
    return _settle_items(WATCH, touched.items) + end_stale_certificates(touched=touched)


# --- The reviewer goes on ---------------------------------------------------------------------------------


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
        **freeze(now),
        seen_by=actor.user,
        at=clock.now(),
    )
    move_item(actor, item, ItemState.IN_REVIEW, fingerprint=now.fingerprint, evidence_hash=now.evidence_hash)
    return refresh


# --- Certificates ----------------------------------------------------------------------------------------


def end_stale_certificates(*, touched: Touched | None = None, actor: Actor = MIRROR) -> int:
    """End certificates whose time is over, whose facts changed or whose subject is gone. Returns how many ended.

    Changed facts call for a micro-certification of the subject (invariant 10). With `touched` only what rests on it.
    """
    require(actor, "reviews.manage_campaign")
    scope = touched.certificates if touched is not None else None
    over = Certificate.objects.filter(scope or Q(), ended_at=None, certified_until__lte=clock.now())
    stale = {drift.id for drift in drifted_certificates(scope)} | set(over.values_list("pk", flat=True))
    return sum(_end_stale(actor, chunk) for chunk in parts_of(sorted(stale), CHUNK))


@transaction.atomic
def _end_stale(actor: Actor, pks: Sequence[UUID]) -> int:
    """End what is stale, looked at once more behind its locks, in a number of statements that does not grow with it."""
    rows = list(
        Certificate.objects.select_for_update(of=("self",))
        .filter(pk__in=among(pks), ended_at=None)
        .prefetch_related(*NAMES.values())
        .order_by("pk")
    )
    now = clock.now()
    drifted = {drift.id: drift for drift in drifted_certificates(Q(pk__in=among([row.pk for row in rows])))}
    gone = [row for row in rows if row.pk in drifted and drifted[row.pk].gone]
    changed = [row for row in rows if row.pk in drifted and not drifted[row.pk].gone]
    over = [row for row in rows if row.pk not in drifted and row.certified_until <= now]
    words = _what_changed(changed)
    certificates.end_all(actor, gone, "What it certified is no longer in place.")
    certificates.end_all(actor, changed, "The certified facts changed.")
    # The date stays on the thing: it shows since when the certification has lapsed.
    certificates.end_all(actor, over, "Its time was over.")
    ended = [*gone, *changed]
    for kind in {row.kind for row in ended}:
        certificates.mirror_all(kind, {row.subject_pk: None for row in ended if row.kind == kind})
    raise_triggers(
        actor=actor,
        cause=Trigger.Cause.FACTS_CHANGED,
        subjects={(row.kind, row.subject_pk): words.get(row.pk, "") for row in changed},
    )
    return len(ended) + len(over)


def _what_changed(rows: Sequence[Certificate]) -> dict[UUID, str]:
    """In words, where the evidence that was certified is that of the signed item: the first changes of each."""
    found = {}
    signed = _signed_items(rows)
    for kind in {row.kind for row in rows}:
        part = {row.subject_pk: row for row in rows if row.kind == kind}
        present = collect(kind, part, subjects={pk: row.subject for pk, row in part.items()})
        for pk, row in part.items():
            seen = signed[row.decision_id].seen
            if seen.fingerprint == row.fingerprint:
                told = changes(seen.evidence, present[pk].evidence)
                found[row.pk] = "; ".join(str(change) for change in told)[:MOST_DETAIL]
    return found


def _signed_items(rows: Sequence[Certificate]) -> dict[UUID, Item]:
    """The items on which these certificates were decided, by decision, with no more than what their reviewers saw."""
    decisions = Decision.objects.filter(pk__in=among([row.decision_id for row in rows]))
    item_of = dict(decisions.values_list("pk", "work_item__item"))
    items = Item.objects.filter(pk__in=among(set(item_of.values()))).only("snapshot", "block", "fingerprint")
    by_id = {item.pk: item for item in items.prefetch_related("block", "refreshes__block")}
    return {decision: by_id[item] for decision, item in item_of.items()}

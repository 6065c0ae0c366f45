"""From the fixed population to items, chunk by chunk, so that a killed worker loses one chunk and nothing else.

`Campaign.processed` is the position of the last subject that is done; it moves in the transaction that writes the
chunk. Whoever comes next goes on from there with the same pool, the same order and the same loads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Count

from registry.accounts.models import User
from registry.audit.services import record
from registry.catalog import services as catalog
from registry.catalog.models import Server
from registry.core import clock
from registry.core.actors import Actor
from registry.core.canonical import digest
from registry.core.events import publish
from registry.core.permissions import require
from registry.reviews.assignment import Assigner, Choice, preference
from registry.reviews.events import CampaignLaunched
from registry.reviews.facts import Evidence, collect
from registry.reviews.models import Campaign, Item, PopulationEntry, WorkItem
from registry.reviews.population import KIND_ORDER, gate, open_items_elsewhere, owners_reached, subjects
from registry.reviews.services.campaigns import locked_campaign, move_campaign
from registry.reviews.services.launch import try_to_open
from registry.reviews.states import CampaignState, ItemState

CHUNK = 200
STALE_AFTER = timedelta(seconds=30)
GENERATOR = Actor.system("campaign launch")
_LOCK_CLASS = 7_301_002


def generate_items(*, campaign_id: UUID, actor: Actor = GENERATOR) -> bool:
    """Work through the population until it is done. False when another worker is on it, or nothing is left to do."""
    require(actor, "reviews.launch_campaign")
    while (advanced := _generate_chunk(campaign_id, actor)) is not None:
        if not advanced:
            return _stage(campaign_id, actor)
    return False


def fail_generation(*, campaign_id: UUID, reason: str, actor: Actor = GENERATOR) -> None:
    """Stop a launch that cannot go on, with words for the campaign's owner."""
    require(actor, "reviews.launch_campaign")
    with transaction.atomic():
        campaign = locked_campaign(campaign_id)
        if campaign.state == CampaignState.GENERATING:
            campaign.state_reason = reason[:2000]
            move_campaign(actor, campaign, CampaignState.GENERATION_FAILED, reason=campaign.state_reason)


def resume_generation(*, now: datetime) -> list[UUID]:
    """Enqueue launches that stopped moving: their message died with the worker, their rows did not."""
    stale = Campaign.objects.filter(state=CampaignState.GENERATING, progressed_at__lt=now - STALE_AFTER)
    found = list(stale.values_list("pk", flat=True))
    with transaction.atomic():
        for pk in found:
            publish(CampaignLaunched(campaign_id=pk))
    return found


@transaction.atomic
def _generate_chunk(campaign_id: UUID, actor: Actor) -> bool | None:
    """One chunk. True: go on; False: the population is done; None: not ours, or no longer generating."""
    with connection.cursor() as cursor:
        # Held for the chunk only, so that it also works behind a transaction-pooling proxy.
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, hashtext(%s))", [_LOCK_CLASS, str(campaign_id)])
        if not cursor.fetchone()[0]:
            return None
    campaign = Campaign.objects.get(pk=campaign_id)
    if campaign.state != CampaignState.GENERATING:
        return None
    entries = list(
        PopulationEntry.objects.filter(campaign=campaign, position__gt=campaign.processed).order_by("position")[:CHUNK]
    )
    if not entries:
        return False
    excluded: dict[int, str] = {}
    considered: list[_Considered] = []
    assigner = _assigner(campaign, entries)
    for kind in KIND_ORDER:
        part = [entry for entry in entries if entry.kind == kind]
        if part:
            considered += _consider(campaign, kind, part, assigner, excluded)
    items = [_item(campaign, each) for each in considered]
    Item.objects.bulk_create(items, ignore_conflicts=True)
    written = set(Item.objects.filter(pk__in=[item.pk for item in items]).values_list("pk", flat=True))
    work = []
    for item, each in zip(items, considered, strict=True):
        if item.pk not in written:
            # Another campaign opened an item for it between the look and the insert.
            excluded[each.entry.pk] = "It is reviewed in another campaign."
        elif each.choice is not None:
            reviewer = each.choice.reviewer
            work.append(
                WorkItem(
                    item=item,
                    reviewer=reviewer,
                    original_reviewer=reviewer,
                    chosen_because=each.choice.because[:300],
                )
            )
            admit(each.thing, [reviewer])
    WorkItem.objects.bulk_create(work)
    for entry in entries:
        if entry.pk in excluded:
            PopulationEntry.objects.filter(pk=entry.pk).update(excluded_because=excluded[entry.pk][:300])
    Campaign.objects.filter(pk=campaign.pk).update(processed=entries[-1].position, progressed_at=clock.now())
    record(
        actor=actor,
        act="campaign.items_generated",
        subject=campaign,
        data={
            "positions": [entries[0].position, entries[-1].position],
            "items": len(written),
            "excluded": len(excluded),
            "assignments": digest([[str(w.item.subject_pk), w.item.fingerprint, str(w.reviewer_id)] for w in work]),
        },
    )
    return True


@dataclass(frozen=True)
class _Considered:
    entry: PopulationEntry
    thing: Any
    evidence: Evidence
    choice: Choice | None


def _consider(
    campaign: Campaign, kind: str, entries: Sequence[PopulationEntry], assigner: Assigner, excluded: dict[int, str]
) -> list[_Considered]:
    """For each entry: an exclusion with its reason, or evidence and a reviewer."""
    ids = [entry.subject_pk for entry in entries]
    elsewhere = open_items_elsewhere(kind, ids, campaign)
    things = subjects(kind, ids)
    evidence = collect(kind, ids)
    considered = []
    for entry in entries:
        found, thing = evidence[entry.subject_pk], things[entry.subject_pk]
        if entry.subject_pk in elsewhere:
            excluded[entry.pk] = f"It is reviewed in {elsewhere[entry.subject_pk]}."
        elif not found.in_place:
            excluded[entry.pk] = "It ended after the launch."
        else:
            choice = assigner.choose(thing, kind=kind, subject=thing)
            considered.append(_Considered(entry, thing, found, choice))
    return considered


def _assigner(campaign: Campaign, entries: Sequence[PopulationEntry]) -> Assigner:
    """The pool and loads as fixed at launch, plus what this campaign has handed out so far."""
    stage = campaign.stages[0]
    pool_then = stage["pools"]["pool"]
    load = {UUID(pk): number for pk, number in pool_then}
    given = (
        WorkItem.objects.filter(item__campaign=campaign)
        .values("original_reviewer")
        .annotate(n=Count("pk"))
        .order_by()
        .values_list("original_reviewer", "n")
    )
    for reviewer, number in given:
        load[reviewer] = load.get(reviewer, 0) + number
    pool = User.objects.filter(pk__in=[pk for pk, _load in pool_then], is_active=True).in_bulk()
    return Assigner(pool, load, preference(stage["reviewer_rule"], _reached(campaign, entries)))


def _reached(campaign: Campaign, entries: Sequence[PopulationEntry]) -> dict[UUID, list[tuple[User, str]]]:
    if campaign.stages[0]["reviewer_rule"] != "system_owner":
        return {}
    servers = [entry.server_id for entry in entries if entry.server_id]
    granted = PopulationEntry.objects.filter(pk__in=[entry.pk for entry in entries], grant__isnull=False)
    return owners_reached([*servers, *granted.values_list("grant__server", flat=True)])


def _item(campaign: Campaign, each: _Considered) -> Item:
    entry, evidence = each.entry, each.evidence
    return Item(
        campaign=campaign,
        kind=entry.kind,
        **{f"{entry.kind}_id": entry.subject_pk},
        label=evidence.label[:320],
        snapshot=evidence.snapshot,
        fingerprint=evidence.fingerprint,
        evidence_hash=evidence.evidence_hash,
        tier=evidence.tier,
        due_at=campaign.due_at,
        state=ItemState.IN_REVIEW if each.choice else ItemState.PENDING,
    )


def admit(subject: Any, users: Sequence[User]) -> None:
    """Reviewers see what they review, also when it is confidential."""
    ends = (
        [subject] if isinstance(subject, Server) else [getattr(subject, e, None) for e in ("server", "agent", "system")]
    )
    for thing in ends:
        if thing is not None and thing.confidential:
            catalog.admit_viewers(actor=GENERATOR, thing=thing, users=users)


@transaction.atomic
def _stage(campaign_id: UUID, actor: Actor) -> bool:
    """GENERATING → STAGED with the population's hash, then ACTIVE if the launch gate lets it."""
    campaign = locked_campaign(campaign_id)
    if campaign.state != CampaignState.GENERATING:
        return False
    campaign.population_hash = population_hash(campaign)
    tied = gate(campaign)
    move_campaign(
        actor,
        campaign,
        CampaignState.STAGED,
        population_hash=campaign.population_hash,
        population=tied.population,
        items=tied.items,
        exclusions=tied.exclusions,
    )
    try_to_open(actor, campaign)
    return True


def population_hash(campaign: Campaign) -> str:
    """SHA-256 over every subject in scope in its order, and whether it became an item."""
    rows = PopulationEntry.objects.filter(campaign=campaign).order_by("position")
    values = rows.values_list("kind", "server", "grant", "connection", "excluded_because").iterator(chunk_size=5000)
    return digest(
        [[kind, str(server or grant or connection_), why] for kind, server, grant, connection_, why in values]
    )

"""What happens elsewhere that calls for a review: somebody left, a tier rose.

Everything here looks at the present state, so the sweep finds what a lost event did not tell.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Case, Exists, F, IntegerField, OuterRef, Prefetch, Q, Subquery, Value, When
from django.db.models.functions import Coalesce

from registry.audit.models import Event
from registry.audit.services import build_event, record_all
from registry.catalog.models import Agent, Server, Tier
from registry.catalog.states import Lifecycle, Standing
from registry.core import clock
from registry.core.actors import Actor
from registry.core.bulk import among, parts_of
from registry.core.permissions import require
from registry.reviews.cadence import MAXIMUM_DAYS, MICRO_DAYS, end_of_day
from registry.reviews.drift import drifted_certificates
from registry.reviews.models import Certificate, Item, SubjectKind, Trigger
from registry.reviews.models.subjects import NAMES
from registry.reviews.services import certificates
from registry.reviews.services.certificates import Issue, Shown
from registry.reviews.services.triggers import raise_triggers
from registry.reviews.states import OPEN_ITEM, CampaignState

WATCH = Actor.system("what calls for a review")
IN_SERVICE = (Lifecycle.ACTIVE, Lifecycle.SUSPENDED)
CHUNK = 2000


# --- Somebody left ---------------------------------------------------------------------------------------


def notice_departures(*, user_id: UUID | None = None, actor: Actor = WATCH) -> int:
    """Raise a trigger for every server and agent whose owner or deputy is no longer active, once per departure.

    With `user_id` only for what this person answered for. Returns how many were raised.
    """
    require(actor, "reviews.launch_campaign")
    roles = (
        (SubjectKind.SERVER, Server.objects.filter(lifecycle__in=IN_SERVICE), ("owner", "deputy")),
        (SubjectKind.AGENT, Agent.objects.filter(standing=Standing.ACTIVE), ("owner",)),
    )
    raised = 0
    for kind, things, parts in roles:
        for part in parts:
            # Their last deactivation; somebody who was never active is as gone as they have been from the start.
            left = Event.objects.filter(subject_type="user", subject_id=OuterRef(part), act="user.deactivated")
            known = Trigger.objects.filter(
                **{kind: OuterRef("pk")}, cause=Trigger.Cause.OWNER_LEFT, created_at__gte=OuterRef("left_at")
            )
            orphaned = (
                things.filter(**{f"{part}__is_active": False})
                .annotate(left_at=Coalesce(Subquery(left.order_by("-at").values("at")[:1]), f"{part}__created_at"))
                .exclude(Exists(known))
            )
            if user_id is not None:
                orphaned = orphaned.filter(**{part: user_id})
            gone = {
                (str(kind), pk): f"{name} ({part})"
                for pk, name in orphaned.order_by("pk").values_list("pk", f"{part}__name")
            }
            raised += len(raise_triggers(actor=actor, cause=Trigger.Cause.OWNER_LEFT, subjects=gone))
    return raised


# --- A tier rose -----------------------------------------------------------------------------------------


def rank(tier: str) -> Case:
    """`Tier.rank` in SQL of the column `tier`."""
    return Case(
        *(When(**{tier: each}, then=Value(each.rank)) for each in Tier), default=Value(0), output_field=IntegerField()
    )


@transaction.atomic
def notice_tier(*, server_id: UUID, before: str, actor: Actor = WATCH) -> bool:
    """A server's tier changed from `before`; True when it rose and therefore has to be reviewed."""
    require(actor, "reviews.launch_campaign")
    server = Server.objects.get(pk=server_id)
    if server.lifecycle not in IN_SERVICE or Tier(server.tier).rank <= Tier(before).rank:
        return False
    raised = _tiers_rose(actor, [(server.pk, before, server.tier)])
    apply_tiers(server_ids=[server.pk], actor=actor)
    return bool(raised)


def _tiers_rose(actor: Actor, servers: Iterable[tuple[UUID, str, str]]) -> int:
    """Call for the review of these `(id, tier before, tier now)`; what rests on them is shortened, not asked again."""
    subjects = {(str(SubjectKind.SERVER), pk): f"{before} → {now}" for pk, before, now in servers}
    return len(raise_triggers(actor=actor, cause=Trigger.Cause.TIER_ROSE, subjects=subjects))


def sweep_tiers(*, actor: Actor = WATCH) -> int:
    """Servers that are certified for a lower tier than they have, for events that got lost; then `apply_tiers`."""
    require(actor, "reviews.launch_campaign")
    certified = Certificate.objects.filter(server=OuterRef("pk"), ended_at=None)
    told = Trigger.objects.filter(
        server=OuterRef("pk"),
        cause=Trigger.Cause.TIER_ROSE,
        created_at__gte=OuterRef("signed_at"),
        detail__endswith=OuterRef("tier"),
    )
    risen = (
        Server.objects.filter(lifecycle__in=IN_SERVICE)
        .annotate(
            certified_tier=Subquery(certified.values("decision__work_item__item__tier")[:1]),
            signed_at=Subquery(certified.values("decision__signed_at")[:1]),
        )
        .annotate(rank_then=rank("certified_tier"), rank_now=rank("tier"))
        .filter(rank_then__gt=0, rank_now__gt=F("rank_then"))
        .exclude(Exists(told))
    )
    raised = _tiers_rose(actor, risen.values_list("pk", "certified_tier", "tier"))
    return raised + apply_tiers(actor=actor)


def apply_tiers(*, server_ids: Sequence[UUID] | None = None, actor: Actor = WATCH) -> int:
    """No certificate outlasts what its tier allows, no open item waits longer. Returns how many were brought forward.

    A certificate may have been given when the tier was lower; nothing but a review extends one, but a tier that
    rises shortens what is left of it.
    """
    require(actor, "reviews.manage_campaign")
    return _shorten_certificates(actor, server_ids) + _hasten_items(actor, server_ids)


def _shorten_certificates(actor: Actor, server_ids: Sequence[UUID] | None) -> int:
    shortened = 0
    for tier in Tier:
        # Signatures certify to the end of a day.
        latest = end_of_day(clock.today() + timedelta(days=MAXIMUM_DAYS[tier]))
        about = Q(server__tier=tier) | Q(grant__server__tier=tier) | Q(connection__server__tier=tier)
        rows = Certificate.objects.filter(about, ended_at=None, certified_until__gt=latest)
        if server_ids is not None:
            ids = list(server_ids)
            rows = rows.filter(Q(server__in=ids) | Q(grant__server__in=ids) | Q(connection__server__in=ids))
        for part in parts_of(rows.order_by("pk").values_list("pk", flat=True), CHUNK):
            shortened += _shorten(actor, part, tier, latest)
    return shortened


@transaction.atomic
def _shorten(actor: Actor, pks: Sequence[UUID], tier: Tier, latest: datetime) -> int:
    """Certificates of the same facts by the same decisions, for less time, in the place of these."""
    rows = list(
        Certificate.objects.select_for_update(of=("self",))
        .filter(pk__in=among(pks), ended_at=None, certified_until__gt=latest)
        .prefetch_related(*NAMES.values())
        .select_related("decision")
        .order_by("pk")
    )
    # What drifted ends altogether, which is the other sweep's business.
    drifted = {drift.id for drift in drifted_certificates(Q(pk__in=among([row.pk for row in rows])))}
    held = [row for row in rows if row.pk not in drifted]
    certificates.end_all(actor, held, f"Its tier is {tier} now: at most {MAXIMUM_DAYS[tier]} days are left of it.")
    certificates.issue_all(
        actor, [Issue(row.kind, Shown(row.subject, row.fingerprint), latest, row.decision) for row in held]
    )
    return len(held)


def _hasten_items(actor: Actor, server_ids: Sequence[UUID] | None) -> int:
    waiting = (
        Item.objects.filter(state__in=OPEN_ITEM, rests_on__isnull=False)
        .annotate(rank_then=rank("tier"), rank_now=rank("rests_on__tier"))
        .filter(rank_now__gt=F("rank_then"))
    )
    if server_ids is not None:
        waiting = waiting.filter(rests_on__in=list(server_ids))
    pks = waiting.order_by("pk").values_list("pk", flat=True)
    return sum(_hasten(actor, part) for part in parts_of(pks, CHUNK))


@transaction.atomic
def _hasten(actor: Actor, item_ids: Sequence[UUID]) -> int:
    """Open items of a higher tier than when they were made: the tier's ladder, and no more time than it gives."""
    rows = Item.objects.select_for_update(of=("self",)).filter(pk__in=among(item_ids), state__in=OPEN_ITEM)
    # Apart from the items: they share their campaign and their servers, which are large rows.
    found = rows.defer("snapshot").prefetch_related("campaign", Prefetch("rests_on", Server.objects.only("tier")))
    events, hastened = [], defaultdict(list)
    for item in found.order_by("pk"):
        tier = Tier(item.rests_on.tier if item.rests_on is not None else item.tier)
        if tier.rank <= Tier(item.tier).rank:
            continue
        before, due_before = item.tier, item.due_at
        item.tier = tier
        if item.campaign.state == CampaignState.ACTIVE:
            soonest = end_of_day(clock.today() + timedelta(days=MICRO_DAYS[tier]))
            if soonest < item.deadline:
                item.due_at, item.ladder_from, item.ladder_until = soonest, None, None
        hastened[item.tier, item.due_at, item.ladder_from, item.ladder_until].append(item.pk)
        data = {
            "tier": [before, tier],
            "due_at": [due_before, item.due_at],
            "reason": f"The tier rose from {before} to {tier}.",
        }
        events.append(build_event(actor=actor, act="item.tier_rose", subject=item, data=data))
    for (tier, due_at, ladder_from, ladder_until), pks in hastened.items():
        Item.objects.filter(pk__in=among(pks)).update(
            tier=tier, due_at=due_at, ladder_from=ladder_from, ladder_until=ladder_until,
            version=F("version") + 1, updated_at=clock.now(),
        )  # fmt: skip
    record_all(events)
    return len(events)

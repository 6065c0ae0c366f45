"""What the launch gate has against the start of a staged campaign (RECERTIFICATION section 3a)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.catalog.models import Agent, Server
from registry.core import clock
from registry.core.actors import Actor
from registry.core.permissions import allows
from registry.reviews.assignment import seats_of_stage
from registry.reviews.drift import drifted_items, touched_since
from registry.reviews.models import Campaign, GapWaiver, Item, PopulationEntry, SubjectKind, TemplateStage, WorkItem
from registry.reviews.population import population_hash
from registry.reviews.states import OPEN_ITEM, ItemState, WorkItemState
from registry.trust.models import seen_by

REGISTRY = Actor.system("launch gate")
FRESH_FOR = timedelta(hours=1)
"""How long a comparison of the frozen facts with the present ones holds; the sweep repeats it every few minutes."""
_NO_ACTIVE_OWNER = Q(owner=None) | Q(owner__is_active=False)


@dataclass(frozen=True)
class Gate:
    """Why a staged campaign is not active yet; empty `problems` when it may start.

    Things that block are counted in full, and named as far as a page has room and its reader may see them. What was
    waived is not among them.
    """

    items: int
    exclusions: int
    population: int
    hash_holds: bool
    without_reviewer: list[Item]
    """Those that lack somebody, each with how many have it (`holding`)."""
    without_reviewer_count: int
    without_anybody_count: int
    """Of those, the ones in nobody's hands."""
    asked: int
    """How many people the stage asks about an item."""
    rules: list[str | Promise]
    """By which its reviewers were looked for, in their order."""
    ownerless: list[Server | Agent]
    ownerless_count: int
    moved: list[Item]
    moved_count: int
    hidden: int
    """How many things that block the reader may not see."""
    checked_at: datetime | None
    fresh: bool
    waivers: list[GapWaiver]

    @property
    def ties_out(self) -> bool:
        return self.items + self.exclusions == self.population

    @property
    def problems(self) -> list[str]:
        return list(self._problems())

    def _problems(self) -> Iterable[str]:
        if not self.items:
            yield _("Nothing is left to review: no subject in scope became an item.")
        if not self.ties_out:
            words = _("The counts do not tie out: %(items)d items and %(exclusions)d exclusions for %(all)d in scope.")
            yield words % {"items": self.items, "exclusions": self.exclusions, "all": self.population}
        if not self.hash_holds:
            yield _("The population is not the one whose hash was stored.")
        if count := self.without_anybody_count:
            yield ngettext(
                "%(n)d item has no eligible independent reviewer.",
                "%(n)d items have no eligible independent reviewer.",
                count,
            ) % {"n": count}
        if count := self.without_reviewer_count - self.without_anybody_count:
            yield ngettext(
                "%(n)d item has fewer independent reviewers than the %(asked)d that are asked for.",
                "%(n)d items have fewer independent reviewers than the %(asked)d that are asked for.",
                count,
            ) % {"n": count, "asked": self.asked}
        if count := self.ownerless_count:
            yield ngettext(
                "%(n)d server or agent in scope has no active owner.",
                "%(n)d servers and agents in scope have no active owner.",
                count,
            ) % {"n": count}
        if count := self.moved_count:
            yield ngettext(
                "The facts of %(n)d item moved since they were recorded.",
                "The facts of %(n)d items moved since they were recorded.",
                count,
            ) % {"n": count}
        if not self.fresh:
            yield _("The recorded facts were not compared with the present ones for more than an hour.")

    @property
    def passes(self) -> bool:
        return not self.problems


def gate(campaign: Campaign, shown: int = 20, *, hashed: str = "", reader: Actor = REGISTRY) -> Gate:
    """Complete, tied out, every item in independent hands, nobody's things named, and nothing out of date.

    Owners and freshness matter where people are called together on a day. A registration and a micro-certification
    start at once, the latter often because an owner has left: an item of theirs whose facts moved is shown with the new
    ones, which have to be confirmed before anything is decided on it. `hashed` is the population's hash when the caller
    computed it in this transaction. `reader` is who reads the names.
    """
    entries = PopulationEntry.objects.filter(campaign=campaign)
    stage = campaign.stages[campaign.stage - 1]
    orphaned = with_holders(without_reviewer(campaign))
    lacking = orphaned.aggregate(all=Count("pk"), nobody=Count("pk", filter=Q(holding=0)))
    periodic = campaign.kind == Campaign.Kind.PERIODIC
    waivers = list(campaign.gap_waivers.select_related("waived_by"))
    owners = _not_covered(ownerless(campaign) if periodic else [], waivers, GapWaiver.Gap.MISSING_OWNER)
    moved = _not_covered(moved_items(campaign) if periodic else [], waivers, GapWaiver.Gap.MOVED_FACTS)
    items = Item.objects.filter(campaign=campaign).visible_to(reader)
    seen = set(items.filter(pk__in=[item.pk for item in moved]).values_list("pk", flat=True)) if moved else set()
    orphans_seen = orphaned.filter(pk__in=items)
    # Whoever owns a campaign sees what is in it, as `Item.objects.visible_to` has it.
    owners_seen = owners if reader.is_person(campaign.owner_id) else nameable(owners, reader)
    moved_seen = [item for item in moved if item.pk in seen]
    named = [*owners_seen, *moved_seen]
    return Gate(
        items=campaign.items.count(),
        exclusions=entries.exclude(excluded_because="").count(),
        population=entries.count(),
        hash_holds=campaign.population_hash == (hashed or population_hash(campaign)),
        without_reviewer=list(
            orphans_seen.select_related("server", "grant__agent", "connection__system", "agent").defer("snapshot")[
                :shown
            ]
        )
        if lacking["all"]
        else [],
        without_reviewer_count=lacking["all"],
        without_anybody_count=lacking["nobody"],
        asked=len(seats_of_stage(stage)),
        rules=[TemplateStage.ReviewerRule(rule).label for rule in [stage["reviewer_rule"], *stage["fallback"]]],
        ownerless=owners_seen[:shown],
        ownerless_count=len(owners),
        moved=moved_seen[:shown],
        moved_count=len(moved),
        hidden=len(owners) + len(moved) - len(named) + (lacking["all"] and lacking["all"] - orphans_seen.count()),
        checked_at=campaign.facts_checked_at,
        fresh=not periodic or _fresh(campaign),
        waivers=waivers,
    )


def nameable(things: list[Any], reader: Actor) -> list[Any]:
    """Those of these servers and agents that may be named to `reader`, in their order."""
    if not things or allows(reader, "reviews.view_all"):
        return things
    seen = {
        pk
        for model in (Server, Agent)
        for pk in seen_by(reader, model)
        .filter(pk__in=[thing.pk for thing in things if isinstance(thing, model)])
        .values_list("pk", flat=True)
    }
    return [thing for thing in things if thing.pk in seen]


def _fresh(campaign: Campaign) -> bool:
    return campaign.facts_checked_at is not None and clock.now() - campaign.facts_checked_at <= FRESH_FOR


def _not_covered(things: Iterable[Any], waivers: Iterable[GapWaiver], gap: str) -> list[Any]:
    covered = {pk for waiver in waivers if waiver.gap == gap for pk in waiver.covers}
    return [thing for thing in things if thing.pk not in covered]


def without_reviewer(campaign: Campaign) -> QuerySet[Item]:
    """Open items that lack a reviewer: in nobody's hands, or with fewer people than their stage asks for."""
    return lacking_reviewers(campaign.items.all())


def lacking_reviewers(items: QuerySet[Item]) -> QuerySet[Item]:
    """Those of `items`, each with whether anybody has it (`held`)."""
    held = Exists(WorkItem.objects.filter(item=OuterRef("pk")).exclude(state=WorkItemState.CLOSED))
    waiting = Q(state=ItemState.PENDING) | Q(held=False, state=ItemState.ESCALATED)
    return items.annotate(held=held).filter(waiting)


def with_holders(items: QuerySet[Item]) -> QuerySet[Item]:
    """Each with the number of people who have it in its present stage."""
    held = WorkItem.objects.filter(item=OuterRef("pk"), stage=OuterRef("stage")).exclude(state=WorkItemState.CLOSED)
    number = held.order_by().values("item").annotate(n=Count("pk")).values("n")
    return items.annotate(holding=Coalesce(Subquery(number), 0))


def moved_items(campaign: Campaign) -> list[Item]:
    """Items whose facts are no longer those that were recorded: those found so far, and whatever the things that were
    touched since the last comparison show at this moment."""
    moved = Q(state=ItemState.INVALIDATED)
    if touched := touched_since(campaign.facts_checked_at or campaign.launched_at or campaign.created_at):
        drifted = drifted_items(Q(campaign=campaign) & touched.items)
        moved |= Q(pk__in=[drift.id for drift in drifted if not drift.gone])
    return list(campaign.items.filter(moved).defer("snapshot").order_by("pk"))


def ownerless(campaign: Campaign) -> list[Server | Agent]:
    """Servers and agents under review in this campaign that nobody active answers for."""
    reviewed = campaign.items.filter(state__in=OPEN_ITEM)
    servers = Server.objects.filter(_NO_ACTIVE_OWNER, pk__in=reviewed.filter(rests_on__isnull=False).values("rests_on"))
    gaining = reviewed.filter(kind=SubjectKind.GRANT).values("grant__agent")
    agents = Agent.objects.filter(
        _NO_ACTIVE_OWNER, Q(pk__in=gaining) | Q(pk__in=reviewed.filter(kind=SubjectKind.AGENT).values("agent"))
    )
    return [*servers.order_by("name", "pk"), *agents.order_by("name", "pk")]


def without_active_owner(kind: str, in_scope: QuerySet[Any]) -> list[Server | Agent]:
    """Of what is in scope of a launch, the servers and agents that nobody active answers for."""
    chosen = in_scope.order_by()
    found: list[Server | Agent] = []
    if kind == SubjectKind.AGENT:
        return list(chosen.filter(_NO_ACTIVE_OWNER))
    if kind == SubjectKind.GRANT:
        found += Agent.objects.filter(_NO_ACTIVE_OWNER, pk__in=chosen.values("agent"))
    servers = chosen.values("pk" if kind == SubjectKind.SERVER else "server")
    return [*found, *Server.objects.filter(_NO_ACTIVE_OWNER, pk__in=servers)]

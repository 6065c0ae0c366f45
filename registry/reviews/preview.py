"""What a launch would do at this moment: how much is in scope, who would get how many, what would keep it waiting."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from registry.accounts.models import User
from registry.catalog.models import Agent, Server, System
from registry.core.actors import Actor
from registry.core.bulk import among
from registry.core.permissions import allows
from registry.reviews.assignment import OWNS_CAMPAIGN, Assigner, named_by
from registry.reviews.barred import barred
from registry.reviews.gate import REGISTRY, nameable, without_active_owner
from registry.reviews.models import Item, SubjectKind, Template
from registry.reviews.pools import BUSY_ABOVE
from registry.reviews.population import REVIEWED, due_before, population
from registry.reviews.services.launch import freeze_stage
from registry.reviews.states import OPEN_ITEM
from registry.trust.models import seen_by

MOST = 2_000
"""Subjects tried out for the preview; beyond them it says so."""
SHOWN = 10


@dataclass(frozen=True)
class Share:
    """What one person would get. `barred` counts the things tried that they may not decide on."""

    reviewer: User
    items: int
    already: int
    barred: int
    weeks: float

    @property
    def busy(self) -> bool:
        return (self.items + self.already) / self.weeks > BUSY_ABOVE


@dataclass(frozen=True)
class Preview:
    counts: dict[str, int]
    elsewhere: int
    shares: list[Share]
    without: list[str]
    without_count: int
    """Subjects for which fewer people than asked were found; `without` names the first that the reader may see."""
    nobody_count: int
    """Those of them for which nobody was found."""
    asked: int
    ownerless: list[Any]
    ownerless_count: int
    tried: int

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def items(self) -> int:
        """What would be reviewed: everything in scope that no other campaign reviews."""
        return self.total - self.elsewhere

    @property
    def partial(self) -> bool:
        return self.tried < self.total


def preview(template: Template, reader: Actor = REGISTRY) -> Preview:
    """Runs the same assignment as a launch, without writing anything. Names only what `reader` may see: nobody owns
    the campaign before it is launched, whoever owns the template."""
    in_scope = population(template.kinds, template.scope, due_before=due_before(template))
    stage = freeze_stage(template.first_stage)
    assigner = Assigner.of(stage)
    tally = _Tally(assigner, template.owner_id, reader)
    for kind, queryset in in_scope:
        tally.try_out(kind, list(queryset.values_list("pk", flat=True)[: MOST - tally.tried]))
    ownerless = [thing for kind, queryset in in_scope for thing in without_active_owner(kind, queryset)]
    ownerless = sorted(set(ownerless), key=str)
    return Preview(
        counts={kind: queryset.count() for kind, queryset in in_scope},
        # All of them, however few are tried: what is launched and what is left out tie out with the scope.
        elsewhere=sum(_elsewhere(kind, queryset) for kind, queryset in in_scope),
        shares=tally.shares(weeks=max(stage["duration_days"] / 7, 1)),
        without=tally.without,
        without_count=tally.short,
        nobody_count=tally.nobody,
        asked=len(assigner.seats),
        ownerless=nameable(ownerless, reader)[:SHOWN],
        ownerless_count=len(ownerless),
        tried=tally.tried,
    )


def _elsewhere(kind: str, queryset: QuerySet[Any]) -> int:
    """How many of these an open item of any campaign is about."""
    return Item.objects.filter(
        **{"kind": kind, f"{kind}__in": queryset.order_by().values("pk")}, state__in=OPEN_ITEM
    ).count()


_ENDS: dict[str, dict[str, Any]] = {
    SubjectKind.SERVER: {"pk": Server},
    SubjectKind.GRANT: {"agent": Agent, "server": Server},
    SubjectKind.CONNECTION: {"server": Server, "system": System},
    SubjectKind.AGENT: {"pk": Agent},
}
"""What of a subject one has to see to be told its name."""


def _labels(kind: str, ids: Sequence[UUID], reader: Actor) -> list[str]:
    """What the first `SHOWN` of these subjects that `reader` may see are called."""
    seen = REVIEWED[kind].model.objects.filter(pk__in=among(ids))
    if not allows(reader, "reviews.view_all"):
        seen = seen.filter(**{f"{end}__in": seen_by(reader, model).values("pk") for end, model in _ENDS[kind].items()})
    named = set(seen.values_list("pk", flat=True))
    shown = [pk for pk in ids if pk in named][:SHOWN]
    ends = [end for end in _ENDS[kind] if end != "pk"]
    things = REVIEWED[kind].model.objects.select_related(*ends).in_bulk(shown)
    return [str(things[pk]) for pk in shown]


class _Tally:
    """Tries subjects out on an assigner and counts what came of it."""

    def __init__(self, assigner: Assigner, owner_id: UUID | None, reader: Actor) -> None:
        self.assigner, self.reader = assigner, reader
        self.owner_id = owner_id
        self.already = Counter(assigner.load)
        self.given: Counter[UUID] = Counter()
        self.barred: Counter[UUID] = Counter()
        self.without: list[str] = []
        self.short = self.nobody = self.tried = 0

    def try_out(self, kind: str, ids: Sequence[UUID]) -> None:
        self.tried += len(ids)
        open_now = Item.objects.filter(**{"kind": kind, f"{kind}__in": among(ids)}, state__in=OPEN_ITEM)
        taken = set(open_now.values_list(f"{kind}_id", flat=True))
        free = [pk for pk in ids if pk not in taken]
        named = named_by(kind, free, self.assigner.rules)
        self.assigner.learn(named.values())
        bars = barred(kind, free, among=self.assigner.people)
        short = []
        for pk in free:
            barred_here = {**bars.get(pk, {}), **({self.owner_id: [OWNS_CAMPAIGN]} if self.owner_id else {})}
            self.barred.update(barred_here.keys() & self.assigner.people.keys())
            choices = self.assigner.choose(kind, named=named.get(pk, {}), barred=barred_here)
            self.given.update(choice.reviewer.pk for choice in choices)
            if len(choices) < len(self.assigner.seats):
                short.append(pk)
                self.nobody += not choices
        self.short += len(short)
        if short and len(self.without) < SHOWN:
            self.without += _labels(kind, short, self.reader)[: SHOWN - len(self.without)]

    def shares(self, *, weeks: float) -> list[Share]:
        people = {pk for members in self.assigner.members.values() for pk in members} | self.given.keys()
        found = [
            Share(self.assigner.people[pk].user, self.given[pk], self.already[pk], self.barred[pk], weeks)
            for pk in people
            if pk in self.assigner.people
        ]
        return sorted(found, key=lambda share: (-share.items, share.reviewer.name, str(share.reviewer.pk)))

"""What a launch would do at this moment: how much is in scope, who would get how many, what nobody could review."""

from dataclasses import dataclass

from registry.accounts.models import User
from registry.reviews.assignment import Assigner, preference
from registry.reviews.models import Item, Template, TemplateStage
from registry.reviews.population import BUSY_ABOVE, open_load, owners_reached, population, reviewer_pool, subjects
from registry.reviews.states import OPEN_ITEM

MOST = 2000
"""Subjects tried out for the preview; beyond them it says so."""
CHUNK = 500


@dataclass(frozen=True)
class Share:
    reviewer: User
    items: int
    already: int

    @property
    def busy(self) -> bool:
        return self.items + self.already > BUSY_ABOVE


@dataclass(frozen=True)
class Preview:
    counts: dict[str, int]
    elsewhere: int
    shares: list[Share]
    without: list[str]
    without_count: int
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


def preview(template: Template) -> Preview:
    """Runs the same assignment as a launch, without writing anything."""
    in_scope = population(template.kinds, template.scope)
    counts = {kind: queryset.count() for kind, queryset in in_scope}
    pool = {user.pk: user for user in reviewer_pool(template.first_stage)}
    load = open_load(pool)
    people = dict(pool)
    given: dict[object, int] = {}
    assigner = Assigner(pool, dict(load))
    # All of them, however few are tried: what is launched and what is left out tie out with the scope.
    elsewhere = sum(
        Item.objects.filter(**{f"{kind}__in": queryset.order_by().values("pk")}, state__in=OPEN_ITEM)
        .values(f"{kind}_id")
        .distinct()
        .count()
        for kind, queryset in in_scope
    )
    tried = without_count = 0
    without: list[str] = []
    for kind, queryset in in_scope:
        ids = list(queryset.values_list("pk", flat=True)[: MOST - tried])
        for start in range(0, len(ids), CHUNK):
            things = subjects(kind, ids[start : start + CHUNK])
            if template.first_stage.reviewer_rule == TemplateStage.ReviewerRule.SYSTEM_OWNER:
                reached = owners_reached(getattr(thing, "server_id", thing.pk) for thing in things.values())
                assigner.prefer = preference(template.first_stage.reviewer_rule, reached)
            else:
                assigner.prefer = preference(template.first_stage.reviewer_rule, {})
            taken = set(
                Item.objects.filter(**{f"{kind}__in": list(things)}, state__in=OPEN_ITEM).values_list(
                    f"{kind}_id", flat=True
                )
            )
            for pk, thing in sorted(things.items()):
                tried += 1
                if pk in taken:
                    continue
                choice = assigner.choose(thing, kind=kind, subject=thing)
                if choice is None:
                    without_count += 1
                    if len(without) < 10:
                        without.append(str(thing))
                else:
                    people[choice.reviewer.pk] = choice.reviewer
                    given[choice.reviewer.pk] = given.get(choice.reviewer.pk, 0) + 1
    shares = [Share(user, given.get(pk, 0), load.get(pk, 0)) for pk, user in people.items()]
    shares.sort(key=lambda share: (-share.items, share.reviewer.name))
    return Preview(counts, elsewhere, shares, without, without_count, tried)

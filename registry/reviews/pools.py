"""Who may be asked to review, and how much they have to do already."""

from collections.abc import Iterable
from datetime import date
from uuid import UUID

from django.db.models import Count, QuerySet

from registry.accounts.models import User
from registry.reviews.absence import in_force
from registry.reviews.models import TemplateStage, WorkItem
from registry.reviews.states import OPEN_ITEM, WorkItemState

REVIEWING_ROLES = frozenset({"reviewer", "security"})

Rule = TemplateStage.ReviewerRule
POOL_RULES = (Rule.POOL, Rule.SECURITY, Rule.GROUP)
"""Rules that share work out among several people; the others name particular people for each subject."""

BUSY_ABOVE = 25
"""Nobody reviews more than this many items a week with care; the launch page warns above it."""


def may_review(user: User, kind: str) -> bool:
    """Servers are certified by reviewers and security, whose word also approves tools; the rest by any member.

    Never by somebody who is an auditor and nothing else: they accept the result, and nobody accepts their own work.
    """
    if not user.is_active or not user.roles or user.only_reads:
        return False
    return kind != "server" or not REVIEWING_ROLES.isdisjoint(user.roles)


def reviewer_pool(stage: TemplateStage | None) -> list[User]:
    """Who may be asked in a stage: its pool, else everybody who reviews. Nobody inactive."""
    chosen = stage.reviewers.filter(is_active=True) if stage is not None else User.objects.none()
    pool = list(chosen.order_by("pk"))
    if pool or (stage is not None and stage.reviewers.exists()):
        return pool
    # Security decides too, but is asked only where a template names it, or when no reviewer is there at all.
    everybody = User.objects.filter(is_active=True).order_by("pk")
    return list(everybody.filter(roles__contains=["reviewer"])) or list(everybody.filter(roles__contains=["security"]))


def rules_of(stage: TemplateStage) -> list[str]:
    """The rules of a stage in the order they are tried, and nobody beyond them.

    A rule that names particular people may well find nobody independent. Whom to ask then is its author's to say;
    without a word the item waits at the launch gate, by name.
    """
    return [str(rule) for rule in dict.fromkeys([stage.reviewer_rule, *stage.fallback])]


def pools(
    rules: Iterable[str], stage: TemplateStage | None, group: UUID | str | None = None
) -> dict[str, list[list[object]]]:
    """Who may be asked by each of `rules` that shares out, with what they have open: `{rule: [[id, open], …]}`.

    As JSON, because a campaign keeps it as it was at launch. `group` is the id of the team that `group` speaks of.
    """
    active = User.objects.filter(is_active=True).order_by("pk")
    people: dict[str, list[User]] = {}
    for rule in rules:
        if rule == Rule.POOL:
            people[rule] = reviewer_pool(stage)
        elif rule == Rule.SECURITY:
            people[rule] = list(active.filter(roles__contains=["security"]))
        elif rule == Rule.GROUP:
            people[rule] = list(active.filter(teams__pk=group)) if group else []
    load = open_load({user.pk for users in people.values() for user in users})
    return {rule: [[str(user.pk), load.get(user.pk, 0)] for user in users] for rule, users in people.items()}


def away(today: date) -> dict[UUID, UUID]:
    """Who is out of office today, and who stands in for them."""
    return dict(in_force(today).order_by("starts_on", "pk").values_list("delegator", "delegate"))


def open_load(users: Iterable[UUID]) -> dict[UUID, int]:
    """Open work items per person, over all campaigns."""
    counted = (
        WorkItem.objects.filter(reviewer__in=list(users), state=WorkItemState.OPEN, item__state__in=OPEN_ITEM)
        .values("reviewer")
        .annotate(n=Count("pk"))
    )
    return {row["reviewer"]: row["n"] for row in counted}


def possible_reviewers() -> QuerySet[User]:
    """Whom a campaign manager may name: everybody active who reviews."""
    return User.objects.filter(is_active=True, roles__overlap=sorted(REVIEWING_ROLES))

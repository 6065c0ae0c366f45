"""A campaign whose owner left is run by somebody who is here, at once and in the interim; so is its template.

Unlike what somebody owns in the catalog (`catalog.services.succession`), a campaign has a deadline and cannot wait for
a yes. Whoever is named may still have it cancelled or signed by another campaign manager, who may do all of that too.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.urls import reverse
from django.utils.translation import ngettext

from registry.accounts.models import Role, User
from registry.audit.services import record
from registry.core.actors import Actor
from registry.core.permissions import require
from registry.reviews.models import Campaign, Template, WorkItem
from registry.reviews.services.letters import write_letter
from registry.reviews.states import UNFINISHED

INTERIM = Actor.system("campaigns of people who left")
NAMED = 12
"""So many campaigns a letter names; the rest it counts."""
Run = Campaign | Template


def name_interim_owners(*, user_id: UUID | None = None, actor: Actor = INTERIM) -> int:
    """Give unfinished campaigns, and templates in use, of people who left to somebody who is here. Returns how many.

    The manager of who left comes before a campaign manager, and that one before an administrator; whoever reviews in
    a campaign never runs it. Where nobody is left it keeps its owner's name, its page says so, campaign managers are
    told what it needs (`notices.in_charge_of`), and the next sweep looks again.
    """
    require(actor, "reviews.manage_campaign")
    gone = User.objects.filter(is_active=False)
    if user_id is not None:
        gone = gone.filter(pk=user_id)
    owners = gone.filter(Exists(_campaigns(OuterRef("pk"))) | Exists(_templates(OuterRef("pk"))))
    return sum(_name_for(actor, pk) for pk in list(owners.order_by("pk").values_list("pk", flat=True)))


def _campaigns(owner: Any) -> QuerySet[Campaign]:
    return Campaign.objects.filter(owner=owner, state__in=UNFINISHED).order_by("pk")


def _templates(owner: Any) -> QuerySet[Template]:
    return Template.objects.filter(owner=owner, enabled=True).order_by("pk")


@transaction.atomic
def _name_for(actor: Actor, user_id: UUID) -> int:
    """All of one person's in one transaction, with the letters that tell of it: one to each who was named."""
    left = User.objects.select_related("manager").get(pk=user_id)
    runs: list[Run] = [
        *_templates(user_id).select_for_update(of=("self",)),
        *_campaigns(user_id).select_for_update(of=("self",)),
    ]
    given: dict[User, list[Run]] = defaultdict(list)
    for row in runs:
        reviewing = _reviewing(row)
        choice = next(((rule, person) for rule, person in _candidates(left) if person.pk not in reviewing), None)
        if choice is not None:
            _name(actor, row, left, *choice)
            given[choice[1]].append(row)
    for person, theirs in given.items():
        _tell(left, person, theirs)
    return sum(map(len, given.values()))


def _name(actor: Actor, row: Run, left: User, rule: str, person: User) -> None:
    row.owner = person
    if isinstance(row, Campaign):
        row.interim_for = left
    row.save()
    record(
        actor=actor,
        act=f"{row._meta.model_name}.interim_owner_named",
        subject=row,
        data={"before": str(left.pk), "after": str(person.pk), "rule": rule, "left_at": left.left_at},
    )


def _reviewing(row: Run) -> set[UUID]:
    """Who cannot run it because they answer in it, or did: nobody runs a campaign and decides in it."""
    if isinstance(row, Campaign):
        return set(WorkItem.objects.filter(item__campaign=row).values_list("reviewer", flat=True))
    return set(User.objects.filter(review_pools__template=row).values_list("pk", flat=True))


def _candidates(left: User) -> Iterator[tuple[str, User]]:
    """By the rule that names them; of several with one role, whoever runs the fewest campaigns."""
    manager = left.manager
    if manager is not None and manager.is_active and manager.roles and not manager.only_reads:
        yield "manager", manager
    running = Counter(Campaign.objects.filter(state__in=UNFINISHED).values_list("owner", flat=True))
    for role in (Role.CAMPAIGN_MANAGER, Role.ADMINISTRATOR):
        people: QuerySet[User] = User.objects.filter(is_active=True, roles__contains=[role])
        for person in sorted(people, key=lambda person: (running[person.pk], person.pk)):
            yield role, person


def _tell(left: User, person: User, runs: list[Run]) -> None:
    campaigns = [row for row in runs if isinstance(row, Campaign)]
    subject = ngettext(
        "%(n)d campaign of %(name)s is yours to run in the interim",
        "%(n)d campaigns of %(name)s are yours to run in the interim",
        len(runs),
    )
    here = reverse("reviews:campaign", args=[campaigns[0].pk]) if len(runs) == len(campaigns) == 1 else None
    write_letter(
        key=f"interim {left.pk} {runs[0].pk} {person.pk}",
        template="interim",
        to=person,
        subject=subject % {"n": len(runs), "name": left.name},
        context={
            "left": left,
            "names": [str(row) for row in runs[:NAMED]],
            "more": max(len(runs) - NAMED, 0),
            "url": settings.BASE_URL + (here or reverse("reviews:campaigns")),
        },
    )

"""What is in scope, who may review it, and what the launch gate has against a start."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.accounts.models import User
from registry.catalog.models import DataClass, Server
from registry.catalog.states import Lifecycle
from registry.reviews.assignment import REVIEWING_ROLES
from registry.reviews.models import (
    Campaign,
    Item,
    PopulationEntry,
    SubjectKind,
    TemplateStage,
    WorkItem,
)
from registry.reviews.states import OPEN_ITEM, ItemState, WorkItemState
from registry.trust.models import Connection, Grant
from registry.trust.states import HELD, Status

SCOPE_KEYS = ("tier", "environment", "team", "lifecycle", "status", "q")


KIND_ORDER = (SubjectKind.SERVER, SubjectKind.GRANT, SubjectKind.CONNECTION)


BUSY_ABOVE = 25
"""Nobody reviews more than this many items a week with care; the launch page warns above it."""


def population(kinds: Iterable[str], scope: Mapping[str, Any]) -> list[tuple[str, QuerySet[Any]]]:
    """What is in scope, per kind in a fixed order: by default everything active.

    `scope` speaks the language of the list pages; relationships follow the tier, environment and team of their server.
    """
    querysets: dict[str, QuerySet[Any]] = {
        SubjectKind.SERVER: _scoped(
            Server.objects.filter(lifecycle__in=scope.get("lifecycle") or [Lifecycle.ACTIVE]),
            scope,
            "",
            ("name", "title"),
        ),
        SubjectKind.GRANT: _scoped(
            Grant.objects.filter(status__in=scope.get("status") or [Status.ACTIVE]),
            scope,
            "server__",
            ("agent__name", "server__name", "server__title"),
        ),
        SubjectKind.CONNECTION: _scoped(
            Connection.objects.filter(status__in=scope.get("status") or [Status.ACTIVE]),
            scope,
            "server__",
            ("server__name", "server__title", "system__name"),
        ),
    }
    wanted = set(kinds)
    return [(kind, querysets[kind].order_by("pk")) for kind in KIND_ORDER if kind in wanted]


def _scoped(queryset: QuerySet[Any], scope: Mapping[str, Any], prefix: str, texts: Sequence[str]) -> QuerySet[Any]:
    for key in ("tier", "environment", "team"):
        if values := scope.get(key):
            queryset = queryset.filter(**{f"{prefix}{key}__in": values})
    for word in str(scope.get("q", "")).split():
        matches = Q()
        for text in texts:
            matches |= Q(**{f"{text}__icontains": word})
        queryset = queryset.filter(matches)
    return queryset


def count_in_scope(kinds: Iterable[str], scope: Mapping[str, Any]) -> dict[str, int]:
    return {kind: queryset.count() for kind, queryset in population(kinds, scope)}


def subjects(kind: str, ids: Iterable[UUID]) -> dict[UUID, Any]:
    """Subjects with everything that independence and reviewer rules look at."""
    match kind:
        case SubjectKind.SERVER:
            return Server.objects.select_related("team__lead").in_bulk(list(ids))
        case SubjectKind.GRANT:
            return Grant.objects.select_related("agent__server", "server__team__lead").in_bulk(list(ids))
    return Connection.objects.select_related("system__owner", "server__team__lead").in_bulk(list(ids))


def owners_reached(server_ids: Iterable[UUID]) -> dict[UUID, list[tuple[User, str]]]:
    """For each server the owners of the systems it reaches, the most sensitive data first."""
    rows = (
        Connection.objects.filter(server__in=list(server_ids), status__in=HELD, system__owner__isnull=False)
        .select_related("system__owner")
        .order_by("pk")
    )
    found: dict[UUID, list[tuple[User, str]]] = defaultdict(list)
    for connection in sorted(rows, key=lambda each: -DataClass(each.system.data_class).rank):
        found[connection.server_id].append((connection.system.owner, connection.system.name))
    return found


def open_items_elsewhere(kind: str, ids: Iterable[UUID], campaign: Campaign) -> dict[UUID, str]:
    """Subjects that another campaign already reviews, with its name."""
    rows = (
        Item.objects.filter(**{"kind": kind, f"{kind}__in": list(ids)}, state__in=OPEN_ITEM)
        .exclude(campaign=campaign)
        .values_list(f"{kind}_id", "campaign__name")
    )
    return dict(rows)


def reviewer_pool(stage: TemplateStage | None) -> list[User]:
    """Who may be asked in a stage: its pool, else everybody who reviews. Nobody inactive."""
    chosen = stage.reviewers.filter(is_active=True) if stage is not None else User.objects.none()
    pool = list(chosen.order_by("pk"))
    if pool or (stage is not None and stage.reviewers.exists()):
        return pool
    # Security decides too, but is asked only where a template names it, or when no reviewer is there at all.
    everybody = User.objects.filter(is_active=True).order_by("pk")
    return list(everybody.filter(roles__contains=["reviewer"])) or list(everybody.filter(roles__contains=["security"]))


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


@dataclass(frozen=True)
class Gate:
    """Why a staged campaign is not active yet; empty when it may start."""

    items: int
    exclusions: int
    population: int
    without_reviewer: list[Item]
    without_reviewer_count: int

    @property
    def ties_out(self) -> bool:
        return self.items + self.exclusions == self.population

    @property
    def problems(self) -> list[str]:
        found = []
        if not self.items:
            found.append(_("Nothing is left to review: no subject in scope became an item."))
        if not self.ties_out:
            found.append(
                _("The counts do not tie out: %(items)d items and %(exclusions)d exclusions for %(all)d in scope.")
                % {"items": self.items, "exclusions": self.exclusions, "all": self.population}
            )
        if count := self.without_reviewer_count:
            words = ngettext(
                "%(n)d item has no eligible independent reviewer.",
                "%(n)d items have no eligible independent reviewer.",
                count,
            )
            found.append(words % {"n": count})
        return found

    @property
    def passes(self) -> bool:
        return not self.problems


def gate(campaign: Campaign, shown: int = 20) -> Gate:
    """RECERTIFICATION section 3a: complete, tied out, and every item in somebody's hands."""
    entries = PopulationEntry.objects.filter(campaign=campaign)
    orphaned = without_reviewer(campaign)
    return Gate(
        items=campaign.items.count(),
        exclusions=entries.exclude(excluded_because="").count(),
        population=entries.count(),
        without_reviewer=list(orphaned.select_related("server", "grant__agent", "connection__system")[:shown]),
        without_reviewer_count=orphaned.count(),
    )


def without_reviewer(campaign: Campaign) -> QuerySet[Item]:
    """Open items in nobody's hands."""
    held = WorkItem.objects.filter(item=OuterRef("pk")).exclude(state=WorkItemState.CLOSED)
    return campaign.items.filter(~Exists(held), state__in=[ItemState.PENDING, ItemState.ESCALATED])

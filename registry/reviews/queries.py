"""Reads of recertification: who is in scope, who may review, what blocks, how far it is."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, Max, OuterRef, Prefetch, Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.accounts.models import User
from registry.catalog.models import DataClass, Server
from registry.catalog.states import Lifecycle
from registry.core.actors import Actor
from registry.reviews.assignment import REVIEWING_ROLES
from registry.reviews.facts import Json
from registry.reviews.models import (
    Campaign,
    Certificate,
    Decision,
    Item,
    PopulationEntry,
    Remediation,
    SubjectKind,
    TemplateStage,
    WorkItem,
)
from registry.reviews.states import OPEN_ITEM, CampaignState, ItemState, WorkItemState
from registry.trust.models import Connection, Grant
from registry.trust.states import HELD, Status

SCOPE_KEYS = ("tier", "environment", "team", "lifecycle", "status", "q")
KIND_ORDER = (SubjectKind.SERVER, SubjectKind.GRANT, SubjectKind.CONNECTION)
BUSY_ABOVE = 25
"""Nobody reviews more than this many items a week with care; the launch page warns above it."""


# --- Scope and population --------------------------------------------------------------------------------


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


# --- Reviewers -------------------------------------------------------------------------------------------


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


# --- The launch gate -------------------------------------------------------------------------------------


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


# --- Progress --------------------------------------------------------------------------------------------

OUTCOMES: tuple[tuple[str, str, str], ...] = (
    ("ok", "certified", "certify certify_until"),
    ("warn", "reduced", "certify_reduced"),
    ("danger", "revoked", "revoke"),
    ("warn", "returned", "return"),
    ("accent", "not sure", "not_decided"),
)


@dataclass(frozen=True)
class Progress:
    """Of a campaign, or of one reviewer's share. `by_value` counts the latest answer of each work item."""

    total: int
    by_value: Mapping[str, int]
    signed: int = 0

    @property
    def decided(self) -> int:
        return sum(self.by_value.values())

    @property
    def left(self) -> int:
        return max(self.total - self.decided, 0)

    @property
    def segments(self) -> list[tuple[str, int, str]]:
        rows = [(tone, sum(self.by_value.get(v, 0) for v in values.split()), label) for tone, label, values in OUTCOMES]
        return [*rows, ("idle", self.left, "to do")]


def progress(campaign: Campaign, reviewer_id: UUID | None = None) -> Progress:
    """Answers by value, signed or not. Items that vanished or were cancelled ask nobody anything."""
    items = campaign.items.exclude(state__in=[ItemState.OBSOLETE, ItemState.CANCELLED])
    decisions = Decision.objects.filter(work_item__item__in=items)
    if reviewer_id is None:
        total = items.count()
    else:
        decisions = decisions.filter(work_item__reviewer=reviewer_id)
        total = WorkItem.objects.filter(
            Q(state__in=[WorkItemState.OPEN, WorkItemState.RESPONDED]) | Q(decisions__isnull=False),
            item__in=items,
            reviewer=reviewer_id,
        ).count()
    # An escalated answer was not one: the next reviewer's counts.
    if reviewer_id is None:
        decisions = decisions.exclude(value=Decision.Value.NOT_DECIDED, signed_at__isnull=False)
    counted = decisions.values("value").annotate(
        n=Count("work_item__item", distinct=True), signed=Count("pk", filter=Q(signed_at__isnull=False))
    )
    rows = list(counted)
    return Progress(total, {row["value"]: row["n"] for row in rows}, sum(row["signed"] for row in rows))


def progress_of_many(campaigns: Sequence[Campaign]) -> dict[UUID, Progress]:
    """Progress of a page of campaigns in two queries."""
    items = Item.objects.filter(campaign__in=campaigns).exclude(state__in=[ItemState.OBSOLETE, ItemState.CANCELLED])
    totals = {row["campaign"]: row["n"] for row in items.values("campaign").annotate(n=Count("pk")).order_by()}
    values: dict[UUID, dict[str, int]] = defaultdict(dict)
    signed: dict[UUID, int] = defaultdict(int)
    decisions = (
        Decision.objects.filter(work_item__item__in=items)
        .exclude(value=Decision.Value.NOT_DECIDED, signed_at__isnull=False)
        .order_by()
    )
    for row in decisions.values("work_item__item__campaign", "value").annotate(
        n=Count("work_item__item", distinct=True), signed=Count("pk", filter=Q(signed_at__isnull=False))
    ):
        values[row["work_item__item__campaign"]][row["value"]] = row["n"]
        signed[row["work_item__item__campaign"]] += row["signed"]
    return {c.pk: Progress(totals.get(c.pk, 0), values[c.pk], signed[c.pk]) for c in campaigns}


@dataclass(frozen=True)
class ReviewerRow:
    """A reviewer's share of a campaign."""

    reviewer: User
    assigned: int
    decided: int
    signed: int
    last_decided_at: datetime | None
    last_reminded_on: Any

    @property
    def open(self) -> int:
        return self.assigned - self.decided


def reviewers_of(campaign: Campaign) -> list[ReviewerRow]:
    drafted = Exists(Decision.objects.filter(work_item=OuterRef("pk")))
    signed = Exists(Decision.objects.filter(work_item=OuterRef("pk"), signed_at__isnull=False))
    rows = (
        WorkItem.objects.filter(item__campaign=campaign)
        .annotate(has_decision=drafted, has_signed=signed)
        # A closed work item without an answer was handed on.
        .exclude(state=WorkItemState.CLOSED, has_decision=False)
        .values("reviewer")
        .annotate(
            assigned=Count("pk", distinct=True),
            decided=Count("pk", filter=Q(has_decision=True), distinct=True),
            signed=Count("pk", filter=Q(has_signed=True), distinct=True),
            last=Max("decisions__decided_at"),
            reminded=Max("reminded_on"),
        )
        .order_by()
    )
    people = User.objects.in_bulk([row["reviewer"] for row in rows])
    found = [
        ReviewerRow(
            people[row["reviewer"]], row["assigned"], row["decided"], row["signed"], row["last"], row["reminded"]
        )
        for row in rows
    ]
    return sorted(found, key=lambda row: (-row.open, row.reviewer.name))


# --- Inbox and workbench ---------------------------------------------------------------------------------

REVIEWABLE = (CampaignState.ACTIVE,)
SECONDS_PER_ITEM = 90


@dataclass(frozen=True)
class Inboxed:
    """One campaign in a reviewer's inbox."""

    campaign: Campaign
    open: int
    drafted: int
    high_risk: int
    invalidated: int

    @property
    def minutes(self) -> int:
        return max(1, round(self.open * SECONDS_PER_ITEM / 60))


def inbox(actor: Actor) -> list[Inboxed]:
    """Campaigns in which this person still has something to decide or to sign, the most urgent first."""
    if actor.user_id is None:
        return []
    rows = (
        WorkItem.objects.filter(
            reviewer=actor.user_id,
            state__in=[WorkItemState.OPEN, WorkItemState.RESPONDED],
            item__state__in=OPEN_ITEM,
            item__campaign__state__in=REVIEWABLE,
        )
        .order_by()
        .values("item__campaign")
        .annotate(
            open=Count("pk", filter=Q(state=WorkItemState.OPEN)),
            drafted=Count("pk", filter=Q(state=WorkItemState.RESPONDED)),
            high=Count("pk", filter=Q(state=WorkItemState.OPEN, item__tier__in=["critical", "high"])),
            invalidated=Count("pk", filter=Q(item__state=ItemState.INVALIDATED)),
        )
    )
    campaigns = Campaign.objects.select_related("owner").in_bulk([row["item__campaign"] for row in rows])
    found = [
        Inboxed(campaigns[row["item__campaign"]], row["open"], row["drafted"], row["high"], row["invalidated"])
        for row in rows
    ]
    return sorted(found, key=lambda each: (each.campaign.due_at, each.campaign.pk))


def inbox_count(actor: Actor) -> int:
    """Undecided items of this person: the number beside "My work"."""
    if actor.user_id is None:
        return 0
    return WorkItem.objects.filter(
        reviewer=actor.user_id,
        state=WorkItemState.OPEN,
        item__state__in=OPEN_ITEM,
        item__campaign__state__in=REVIEWABLE,
    ).count()


def queue(campaign: Campaign, actor: Actor) -> QuerySet[WorkItem]:
    """The actor's own work items of a campaign with their latest answer, in the order of the queue."""
    return (
        WorkItem.objects.filter(item__campaign=campaign, reviewer=actor.user_id)
        .exclude(item__state__in=[ItemState.OBSOLETE, ItemState.CANCELLED])
        # Closed without an answer: stepped back, and nobody else was found yet.
        .exclude(~Exists(Decision.objects.filter(work_item=OuterRef("pk"))), state=WorkItemState.CLOSED)
        .select_related(
            "item__server", "item__grant__server", "item__grant__agent", "item__connection__server",
            "item__connection__system",
        )
        .prefetch_related(Prefetch("decisions", queryset=Decision.objects.order_by("-decided_at")))
        .defer("item__snapshot")
        .order_by("item__id")
    )  # fmt: skip


def same_subject(item: Item) -> QuerySet[Item]:
    """Items about the same thing; versions of one relationship are one thing."""
    if item.kind == SubjectKind.SERVER:
        return Item.objects.filter(server=item.server_id)
    return Item.objects.filter(**{f"{item.kind}__lineage": item.subject.lineage})


def past_decisions(item: Item, limit: int = 5) -> list[Decision]:
    """Signed decisions on the same subject, newest first."""
    return list(
        Decision.objects.filter(work_item__item__in=same_subject(item), signed_at__isnull=False)
        .exclude(work_item__item=item)
        .select_related("work_item__reviewer", "work_item__item__campaign")
        .order_by("-signed_at")[:limit]
    )


CERTIFYING = (Decision.Value.CERTIFY, Decision.Value.CERTIFY_REDUCED, Decision.Value.CERTIFY_UNTIL)


def last_certified(item: Item) -> tuple[Json, datetime] | None:
    """The facts that were certified last, and when: the baseline of "what changed"."""
    decision = (
        Decision.objects.filter(work_item__item__in=same_subject(item), signed_at__isnull=False, value__in=CERTIFYING)
        .exclude(work_item__item=item)
        .select_related("work_item__item")
        .prefetch_related("work_item__item__refreshes")
        .order_by("-signed_at")
        .first()
    )
    if decision is None or decision.signed_at is None:
        return None
    return decision.work_item.item.seen.snapshot, decision.signed_at


def dependants(item: Item, limit: int = 8) -> tuple[list[Grant], int]:
    """Agents that lose function when a server is cut off."""
    if item.kind != SubjectKind.SERVER:
        return [], 0
    grants = (
        Grant.objects.filter(server=item.server_id, status=Status.ACTIVE)
        .select_related("agent")
        .order_by("agent__name")
    )
    return list(grants[:limit]), grants.count()


def valid_certificate(subject: Any) -> Certificate | None:
    kind = "server" if isinstance(subject, Server) else subject.kind
    return Certificate.objects.filter(**{kind: subject.pk}, ended_at=None).select_related("decision__sign_off").first()


def open_remediations(campaign: Campaign) -> QuerySet[Remediation]:
    return Remediation.objects.filter(item__campaign=campaign).exclude(state="verified")

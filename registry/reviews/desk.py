"""Reads of a reviewer at work: the inbox, and what surrounds one item. The queue has a module of its own."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, cast
from uuid import UUID

from django.db.models import Count, Q

from registry.accounts.models import User
from registry.catalog.models import Agent, Server
from registry.core import clock
from registry.core.actors import Actor
from registry.core.context import BADGE_MOST
from registry.core.errors import NotFound
from registry.reviews.facts import Json
from registry.reviews.models import (
    Campaign,
    Decision,
    Delegation,
    ExceptionRecord,
    Item,
    Remediation,
    SubjectKind,
    Trigger,
    WorkItem,
)
from registry.reviews.states import OPEN_ITEM, CampaignState, ItemState, WorkItemState
from registry.trust import queries as trust
from registry.trust.models import Connection, Grant

SUBJECTS = {
    "server": Server.objects.select_related("owner"),
    "grant": Grant.objects.select_related("agent__server", "server__owner"),
    "connection": Connection.objects.select_related("system", "server__owner"),
    "agent": Agent.objects.select_related("server"),
}
"""The subject with what independence and the page look at; read for its own kind only."""
REVIEWABLE = (CampaignState.ACTIVE,)
SECONDS_PER_ITEM = 90
MOMENT = timedelta(minutes=10)
"""How long the last answer is offered to be taken back from another item's page."""
CERTIFYING = (Decision.Value.CERTIFY, Decision.Value.CERTIFY_REDUCED, Decision.Value.CERTIFY_UNTIL)
CERTIFIED = (ItemState.CERTIFIED, ItemState.CERTIFIED_REDUCED, ItemState.CERTIFIED_UNTIL)


# --- Inbox -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inboxed:
    """One campaign in a reviewer's inbox."""

    campaign: Campaign
    open: int
    drafted: int
    high_risk: int
    invalidated: int
    cause: str = ""

    @property
    def minutes(self) -> int:
        return max(1, round(self.open * SECONDS_PER_ITEM / 60))

    @property
    def answered(self) -> bool:
        """Nothing is left but the signature."""
        return not self.open


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
    pks = [row["item__campaign"] for row in rows]
    campaigns = Campaign.objects.select_related("owner").in_bulk(pks)
    causes = _causes(pks)
    found = [
        Inboxed(
            campaigns[row["item__campaign"]],
            row["open"],
            row["drafted"],
            row["high"],
            row["invalidated"],
            causes.get(row["item__campaign"], ""),
        )
        for row in rows
    ]
    return sorted(found, key=lambda each: (each.campaign.due_at, each.campaign.pk))


def _causes(campaigns: Sequence[UUID]) -> dict[UUID, str]:
    """Why each micro-certification was opened, in a word; the first reason when there were several."""
    rows = (
        Trigger.objects.filter(campaign__in=campaigns).order_by("-created_at", "-id").values_list("campaign", "cause")
    )
    return {campaign: str(Trigger.Cause(cause).label) for campaign, cause in rows}


def inbox_count(actor: Actor) -> int:
    """Undecided items of this person, the number beside "My work", as far as it is drawn: every page asks for it."""
    if actor.user_id is None:
        return 0
    rows = WorkItem.objects.filter(
        reviewer=actor.user_id,
        state=WorkItemState.OPEN,
        item__state__in=OPEN_ITEM,
        item__campaign__state__in=REVIEWABLE,
    )
    # In the order of the reviewer's own index: a few are found there sooner than anywhere else.
    return rows.order_by("-item_id")[: BADGE_MOST + 1].count()


def to_close(actor: Actor) -> list[Campaign]:
    """Campaigns of this person that wait for their own signature under the whole."""
    if actor.user_id is None:
        return []
    waiting = Campaign.objects.visible_to(actor).filter(owner=actor.user_id, state=CampaignState.SIGN_OFF)
    return list(waiting.order_by("due_at", "pk"))


def standing_in(actor: Actor) -> list[Delegation]:
    """Whom this person stands in for today, whoever is longest away first."""
    if actor.user_id is None:
        return []
    today = clock.today()
    return list(
        Delegation.objects.filter(delegate=actor.user_id, starts_on__lte=today, ends_on__gte=today, ended_at=None)
        .select_related("delegator")
        .order_by("starts_on", "pk")
    )


def last_answer(campaign: Campaign, reviewer_id: UUID | None) -> Decision | None:
    """What this person answered last in a campaign and did not sign yet, if that was a moment ago.

    With what a page says of it and `review_version` names.
    """
    return (
        Decision.objects.filter(
            work_item__reviewer=reviewer_id,
            work_item__item__campaign=campaign,
            work_item__item__state__in=OPEN_ITEM,
            signed_at=None,
            decided_at__gt=clock.now() - MOMENT,
        )
        .select_related("work_item__item")
        .only(
            "value", "work_item__version", "work_item__item__version", "work_item__item__label", "work_item__item__kind"
        )
        .order_by("-decided_at")
        .first()
    )


# --- One item --------------------------------------------------------------------------------------------


def same_subject(item: Item, prefix: str = "") -> Q:
    """Items about the same thing, or rows whose item is found behind `prefix`; versions of one relationship are one
    thing.
    """
    if item.kind in (SubjectKind.SERVER, SubjectKind.AGENT):
        return Q(**{f"{prefix}{item.kind}": item.subject_pk})
    return Q(**{f"{prefix}{item.kind}__lineage": item.subject.lineage})


@dataclass(frozen=True)
class Past:
    """A signed answer of an earlier review. `dissents` when the review came out otherwise."""

    decision: Decision

    @property
    def item(self) -> Item:
        item: Item = self.decision.work_item.item
        return item

    @property
    def dissents(self) -> bool:
        outcome = self.item.outcome
        return bool(outcome) and self.decision.value not in (outcome, Decision.Value.NOT_DECIDED)


# Most subjects have no past. So it is asked first, in one column, whether there is any: what a page shows of it takes
# joins over half a dozen tables, which cost several times as much to ask for even when they find nothing.


def past_decisions(item: Item, limit: int = 5) -> list[Past]:
    """Signed answers on the same subject in earlier reviews, newest first."""
    earlier = list(Item.objects.filter(same_subject(item)).exclude(pk=item.pk).order_by().values_list("pk", flat=True))
    if not earlier:
        return []
    rows = (
        Decision.objects.filter(work_item__item__in=earlier, signed_at__isnull=False)
        .select_related("work_item__reviewer", "work_item__item__campaign")
        .defer("work_item__item__snapshot")
        .order_by("-signed_at", "-pk")
    )
    return [Past(decision) for decision in rows[:limit]]


def past_exceptions(item: Item, limit: int = 3) -> list[ExceptionRecord]:
    """When something that was to be taken away was left in place for a while: reason, approver, end."""
    cut = list(Remediation.objects.filter(same_subject(item, "item__")).order_by().values_list("pk", flat=True))
    if not cut:
        return []
    return list(
        ExceptionRecord.objects.filter(remediation__in=cut)
        .select_related("approver", "remediation__item__campaign")
        .defer("remediation__item__snapshot")
        .order_by("-created_at", "-pk")[:limit]
    )


def last_certified(item: Item) -> tuple[Json, datetime] | None:
    """The evidence that was certified last, and when: the baseline of "what changed"."""
    certifying = Decision.objects.filter(
        same_subject(item, "work_item__item__"),
        work_item__item__state__in=CERTIFIED,
        signed_at__isnull=False,
        value__in=CERTIFYING,
    )
    if item.state not in OPEN_ITEM:
        # What was certified since is not what this review compared with.
        certifying = certifying.filter(signed_at__lt=item.created_at)
    decision = (
        certifying.exclude(work_item__item=item)
        .select_related("work_item__item__block")
        .prefetch_related("work_item__item__refreshes__block")
        .order_by("-signed_at", "-pk")
        .first()
    )
    if decision is None or decision.signed_at is None:
        return None
    return decision.work_item.item.seen.evidence, decision.signed_at


@dataclass(frozen=True)
class Barred:
    """Somebody who could not be asked, and why."""

    user: User
    reasons: Sequence[str]


def could_not_be_asked(item: Item) -> list[Barred]:
    """Everybody with a stake in the item (invariant 3), by name."""
    reasons: dict[UUID, list[str]] = defaultdict(list)
    for bar, user_id in item.interested.items():
        if user_id is not None:
            reasons[user_id].append(bar)
    people = User.objects.filter(pk__in=reasons).order_by("name", "pk")
    return [Barred(user, reasons[user.pk]) for user in people]


@dataclass(frozen=True)
class Loss:
    """What one agent loses: systems by name it then no longer reaches, and those it still reaches another way."""

    name: str
    owner: str
    behalf_detail: str
    tools: int
    loses: Sequence[str]
    keeps: Sequence[str]


@dataclass(frozen=True)
class Consequences:
    """What breaks when the subject is cut, as far as the reader may see it; `hidden` counts the rest.

    For an agent `servers` and `systems` are what it can no longer reach. At most `NAMED` of each are named, worst
    first; `more` counts the others that may be seen.
    """

    agents: Sequence[Loss] = ()
    hidden: int = 0
    more: int = 0
    servers: Sequence[str] = field(default_factory=tuple)
    systems: Sequence[str] = field(default_factory=tuple)

    @property
    def count(self) -> int:
        return len(self.agents) + self.more + self.hidden


NAMED = 50


def consequences(actor: Actor, item: Item) -> Consequences:
    """Who loses what if the item is revoked, as of now. Nothing when it is no longer there to be cut."""
    questions = trust.ask(actor)
    try:
        if item.agent is not None:
            return _without_reach(questions, item.agent)
        impact = questions.impact(cast(Literal["server", "grant", "connection"], item.kind), item.subject_pk)
    except NotFound:
        return Consequences()
    seen = impact.counts["losing"] - impact.hidden["losing"]
    losing = impact.agents.page(limit=min(NAMED, seen)).rows if seen else ()
    names = trust.named(
        actor,
        [
            *(("agent", loss.id) for loss in losing),
            *(("grant", id) for loss in losing for id in loss.grants),
            *(("system", id) for loss in losing for id in (*loss.loses, *loss.keeps)[:NAMED]),
        ],
    )
    agents = [_loss(loss, names) for loss in losing if ("agent", loss.id) in names]
    return Consequences(agents=agents, hidden=impact.hidden["losing"], more=seen - len(losing))


def _loss(loss: trust.Loss, names: Mapping[trust.Ref, Mapping[str, Any]]) -> Loss:
    grants = [names["grant", id] for id in loss.grants if ("grant", id) in names]

    def called(ids: Sequence[UUID]) -> list[str]:
        return [names["system", id]["name"] for id in ids if ("system", id) in names]

    agent = names["agent", loss.id]
    return Loss(
        name=agent["name"],
        owner=agent["owner"] or "",
        behalf_detail=next((grant["behalf_detail"] for grant in grants if grant["behalf_detail"]), ""),
        tools=sum(len(grant["tools"]) for grant in grants),
        loses=called(loss.loses),
        keeps=called(loss.keeps),
    )


def _without_reach(questions: trust.Questions, agent: Agent) -> Consequences:
    """For an agent itself: all it reaches."""
    reach = questions.reach(agent.pk)
    servers, systems = reach.servers.page(limit=NAMED).rows, reach.systems.page(limit=NAMED).rows
    refs: list[trust.Ref] = [*(("server", row.id) for row in servers), *(("system", row.id) for row in systems)]
    names = trust.named(questions.actor, refs)
    return Consequences(
        servers=[names[ref]["title"] or names[ref]["name"] for ref in refs if ref[0] == "server" and ref in names],
        systems=[names[ref]["name"] for ref in refs if ref[0] == "system" and ref in names],
        hidden=sum(reach.hidden.values()),
    )

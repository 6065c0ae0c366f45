"""What waits for one person besides items to decide: acts in which others are stuck until they have acted.

Only what they may do: who has a stake in it is not asked. The number of queries grows neither with rows nor with
campaigns.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from django.core.cache import cache
from django.db.models import Count, Exists, Min, OuterRef, Q, QuerySet
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from registry.core.actors import Actor
from registry.reviews.barred import barred
from registry.reviews.gate import lacking_reviewers
from registry.reviews.models import (
    AutomaticAction,
    Campaign,
    Challenge,
    Decision,
    ExceptionRecord,
    Item,
    QualityVerdict,
    Remediation,
    SignOff,
    Verification,
)
from registry.reviews.permissions import CONFIRMERS, MANAGERS
from registry.reviews.services.quality import second_looks_for
from registry.reviews.states import AutomaticActionState, CampaignState, RemediationState

Row = TypeVar("Row")
REMEMBERED = 20
"""Seconds."""
SHOWN = 10
"""Of one sort; the pages behind the links show the rest."""


@dataclass(frozen=True)
class Waiting:
    """One act that waits. `since` is when it was asked for, `asked_by` who asked: empty where nobody in particular."""

    title: str
    detail: str | Promise
    url: str
    button: str | Promise
    icon: str
    since: datetime
    asked_by: str = ""


def waiting(actor: Actor) -> list[Waiting]:
    """Everything of this kind, the longest waiting first."""
    if actor.user_id is None:
        return []
    found = [
        *_second_looks(actor),
        *_in_nobodys_hands(actor),
        *(_exceptions(actor) if actor.has_role("security") else ()),
        *_objections(actor),
        *(_to_verify(actor) if actor.has_role("security") else ()),
        *_troubled(actor),
        *(_held_back(actor) if actor.has_role("security", "campaign_manager") else ()),
        *(_to_accept(actor) if actor.has_role("auditor") else ()),
    ]
    cache.set(_counted(actor), len(found), REMEMBERED)
    return sorted(found, key=lambda each: each.since)


def waiting_count(actor: Actor) -> int:
    """How many of these there are, the number beside "My work": every page asks for it, so it is remembered a moment.

    Whoever looks at the list itself renews it.
    """
    if actor.user_id is None:
        return 0
    known: int | None = cache.get(_counted(actor))
    return len(waiting(actor)) if known is None else known


def _counted(actor: Actor) -> str:
    return f"reviews.waiting.{actor.user_id}"


def _second_looks(actor: Actor) -> Iterator[Waiting]:
    asked = QualityVerdict.objects.visible_to(actor).exclude(reviewer=actor.user_id)
    if not actor.has_role(*CONFIRMERS):
        asked = asked.filter(campaign__owner=actor.user_id)
    for verdict in second_looks_for(actor, asked)[:SHOWN]:
        yield Waiting(
            title=verdict.campaign.name,
            detail=_("A second look at %(name)s's decisions") % {"name": verdict.reviewer.name},
            url=reverse("reviews:quality", args=[verdict.pk]),
            button=_("Look at them"),
            icon="users",
            since=verdict.at,
            asked_by=verdict.reviewer.name,
        )


def _in_nobodys_hands(actor: Actor) -> Iterator[Waiting]:
    """Items that lack a reviewer, of one's own campaigns; of those whose owner left, every manager's."""
    runs = Q(campaign__owner=actor.user_id)
    if actor.has_role(*MANAGERS):
        ownerless = Q(owner=None) | Q(owner__is_active=False)
        runs |= Q(campaign__in=Campaign.objects.visible_to(actor).filter(ownerless))
    items = lacking_reviewers(
        Item.objects.filter(runs, campaign__state__in=[CampaignState.STAGED, CampaignState.ACTIVE])
    )
    rows = (
        items.order_by()
        .values("campaign", "campaign__name")
        .annotate(
            nobodys=Count("pk", filter=Q(held=False)),
            short=Count("pk", filter=Q(held=True)),
            since=Min("updated_at"),
        )
    )
    for row in rows.order_by("since")[:SHOWN]:
        words = []
        if row["nobodys"]:
            words.append(
                ngettext(
                    "%(n)d item is in nobody's hands: name somebody",
                    "%(n)d items are in nobody's hands: name somebody for each",
                    row["nobodys"],
                )
                % {"n": row["nobodys"]}
            )
        if row["short"]:
            words.append(
                ngettext(
                    "%(n)d item has fewer reviewers than are asked for: name somebody",
                    "%(n)d items have fewer reviewers than are asked for: name somebody for each",
                    row["short"],
                )
                % {"n": row["short"]}
            )
        yield Waiting(
            title=row["campaign__name"],
            detail="; ".join(words),
            url=reverse("reviews:campaign", args=[row["campaign"]]),
            button=_("Find somebody"),
            icon="user-x",
            since=row["since"],
        )


def _exceptions(actor: Actor) -> Iterator[Waiting]:
    open_ones: QuerySet[ExceptionRecord] = ExceptionRecord.objects.visible_to(actor)
    rows = (
        open_ones.filter(approved_at=None, ended_at=None)
        .exclude(requested_by=actor.user_id)
        .exclude(Exists(_decided_by(actor, "remediation__item")))
        .select_related("remediation__item", "requested_by")
        .defer("remediation__item__snapshot")
        .order_by("created_at", "pk")[: 3 * SHOWN]
    )
    for row in _without_a_stake(actor, rows, lambda row: row.remediation.item)[:SHOWN]:
        yield Waiting(
            title=row.remediation.item.label,
            detail=_("An exception is asked for: %(why)s") % {"why": Truncator(row.reason).chars(120)},
            url=reverse("reviews:exception_decide", args=[row.pk]),
            button=_("Decide"),
            icon="timer",
            since=row.created_at,
            asked_by=row.requested_by.name,
        )


def _objections(actor: Actor) -> Iterator[Waiting]:
    open_ones: QuerySet[Challenge] = Challenge.objects.visible_to(actor)
    open_ones = open_ones.filter(upheld=None).exclude(by=actor.user_id)
    if not actor.has_role("security"):
        open_ones = open_ones.filter(remediation__item__campaign__owner=actor.user_id)
    rows = (
        open_ones.exclude(Exists(_decided_by(actor, "remediation__item")))
        .select_related("remediation__item", "by")
        .defer("remediation__item__snapshot")
        .order_by("created_at", "pk")[: 3 * SHOWN]
    )
    for row in _without_a_stake(actor, rows, lambda row: row.remediation.item)[:SHOWN]:
        yield Waiting(
            title=row.remediation.item.label,
            detail=_("Somebody objects: %(why)s") % {"why": Truncator(row.reason).chars(120)},
            url=reverse("reviews:challenge_decide", args=[row.pk]),
            button=_("Decide"),
            icon="messages-square",
            since=row.created_at,
            asked_by=row.by.name,
        )


def _to_verify(actor: Actor) -> Iterator[Waiting]:
    """What was taken away and waits for an independent look: one line for all, their list is one link away."""
    visible: QuerySet[Remediation] = Remediation.objects.visible_to(actor)
    rows = (
        visible.filter(state=RemediationState.VERIFYING)
        .exclude(Exists(_decided_by(actor, "item")))
        .select_related("item")
        .defer("item__snapshot")
        .order_by("updated_at", "pk")[: 10 * SHOWN]
    )
    mine = _without_a_stake(actor, rows, lambda row: row.item)
    if len(mine) == 1:
        yield Waiting(
            title=mine[0].item.label,
            detail=_("Taken away: somebody independent has to look whether it is gone"),
            url=reverse("reviews:remediation", args=[mine[0].pk]),
            button=_("Look at it"),
            icon="eye",
            since=mine[0].updated_at,
        )
    elif mine:
        words = ngettext(
            "%(n)d removal: somebody independent has to look whether it is gone",
            "%(n)d removals: somebody independent has to look whether they are gone",
            len(mine),
        )
        yield Waiting(
            title=_("Taken away"),
            detail=words % {"n": len(mine)},
            url=f"{reverse('reviews:remediations')}?state={mine[0].state}",
            button=_("Look at them"),
            icon="eye",
            since=mine[0].updated_at,
        )


def _troubled(actor: Actor) -> Iterator[Waiting]:
    """What did not go, or came back: whoever runs the campaign or looks after security has it carried out again, or
    asks for an exception. What an exception is asked for already waits for its approver."""
    visible: QuerySet[Remediation] = Remediation.objects.visible_to(actor)
    if not actor.has_role("security"):
        visible = visible.filter(item__campaign__owner=actor.user_id)
    asked = ExceptionRecord.objects.filter(remediation=OuterRef("pk"), approved_at=None, ended_at=None)
    rows = visible.filter(~Exists(asked)).order_by("updated_at", "pk").select_related("item").defer("item__snapshot")
    for state, one, words in _TROUBLE:
        found = list(rows.filter(state=state)[: SHOWN + 1])
        if len(found) == 1:
            yield Waiting(
                title=found[0].item.label,
                detail=one,
                url=reverse("reviews:remediation", args=[found[0].pk]),
                button=_("Look at it"),
                icon="rotate-ccw",
                since=found[0].updated_at,
            )
        elif found:
            yield Waiting(
                title=_("Taken away"),
                detail=words % {"n": f"{SHOWN}+" if len(found) > SHOWN else len(found)},
                url=f"{reverse('reviews:remediations')}?state={state}",
                button=_("Look at them"),
                icon="rotate-ccw",
                since=found[0].updated_at,
            )


_TROUBLE = (
    (
        RemediationState.NOT_VERIFIED,
        gettext_lazy("Not seen to be gone: have it carried out again, or ask for an exception"),
        gettext_lazy("%(n)s removals are not seen to be gone: have them carried out again, or ask for exceptions"),
    ),
    (
        RemediationState.REGRESSED,
        gettext_lazy("Seen again after it was gone: have it carried out again, or ask for an exception"),
        gettext_lazy("%(n)s were seen again after they were gone: have them carried out again, or ask for exceptions"),
    ),
)


def _held_back(actor: Actor) -> Iterator[Waiting]:
    visible: QuerySet[AutomaticAction] = AutomaticAction.objects.visible_to(actor)
    held = visible.filter(state=AutomaticActionState.HELD).order_by()
    rows = held.values("item__campaign", "item__campaign__name").annotate(n=Count("pk"), since=Min("due_at"))
    for row in rows.order_by("since")[:SHOWN]:
        words = ngettext(
            "%(n)d automatic action waits for a second person",
            "%(n)d automatic actions wait for a second person",
            row["n"],
        )
        yield Waiting(
            title=row["item__campaign__name"],
            detail=words % {"n": row["n"]},
            url=reverse("reviews:actions", args=[row["item__campaign"]]),
            button=_("Decide"),
            icon="flag",
            since=row["since"],
        )


def _to_accept(actor: Actor) -> Iterator[Waiting]:
    """Completed campaigns in which this auditor had no part."""
    me = actor.user_id
    campaign = OuterRef("pk")
    parts = (
        Exists(Decision.objects.filter(work_item__item__campaign=campaign, work_item__reviewer=me)),
        Exists(SignOff.objects.filter(campaign=campaign, reviewer=me)),
        Exists(Verification.objects.filter(remediation__item__campaign=campaign, by=me)),
        Exists(ExceptionRecord.objects.filter(remediation__item__campaign=campaign, approver=me)),
    )
    rows: QuerySet[Campaign] = Campaign.objects.visible_to(actor).filter(
        # Nobody accepts single reviews: those stand in the reports of their subjects.
        kind=Campaign.Kind.PERIODIC,
        state__in=[CampaignState.COMPLETED, CampaignState.COMPLETED_WITH_EXCEPTIONS],
    )
    for part in parts:
        rows = rows.filter(~part)
    for row in rows.exclude(owner=me).select_related("owner").order_by("updated_at", "pk")[:SHOWN]:
        yield Waiting(
            title=row.name,
            detail=_("Completed: an auditor reads the report and accepts it"),
            url=reverse("reviews:campaign_accept", args=[row.pk]),
            button=_("Read and accept"),
            icon="badge-check",
            since=row.updated_at,
            asked_by=row.owner.name if row.owner else "",
        )


def _decided_by(actor: Actor, item: str) -> QuerySet[Decision]:
    """Signed answers of this person on the item at `item`: who decided does not judge what became of it."""
    signed = Decision.objects.filter(work_item__reviewer=actor.user_id, signed_at__isnull=False)
    return signed.filter(work_item__item=OuterRef(item)).exclude(value=Decision.Value.NOT_DECIDED)


def _without_a_stake(actor: Actor, rows: Iterable[Row], item_of: Callable[[Row], Item]) -> list[Row]:
    """Those of `rows` in the subject of whose item this person has no stake: one question per kind of subject."""
    found = list(rows)
    subjects: dict[str, set[UUID]] = defaultdict(set)
    for row in found:
        subjects[item_of(row).kind].add(item_of(row).subject_pk)
    among = [actor.user_id] if actor.user_id else []
    concerned = {(kind, subject) for kind, ids in subjects.items() for subject in barred(kind, ids, among=among)}
    return [row for row in found if (item_of(row).kind, item_of(row).subject_pk) not in concerned]

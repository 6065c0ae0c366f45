"""The gate in front of the signature: how carefully somebody decided, and the second person whom haste needs.

Measured (`carefulness`) are exactly the drafts a signature would cover. A red verdict lets nobody sign alone: a second
person looks at these very drafts and says why they may stand (`confirm_quality`). A changed draft makes another set,
with a verdict of its own.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Aggregate, Count, F, FloatField, Q, QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.accounts.models import User
from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid, NotIndependent
from registry.core.independence import require_independent
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.reviews.barred import barred
from registry.reviews.carefulness import LIMITS, UNCUT, Metrics, Peers, Row, Verdict, judge, measure, share
from registry.reviews.models import Campaign, Decision, QualityConfirmation, QualityVerdict, SubjectKind
from registry.reviews.permissions import CONFIRMERS
from registry.reviews.services.decisions import drafts_digest, drafts_of
from registry.reviews.services.letters import write_letter
from registry.reviews.services.moves import locked_campaign
from registry.reviews.states import CampaignState, WorkItemState


class Careless(Conflict):
    """The figures say that nobody looked; a second person must, before this can be signed."""

    code, title = "careless", "A second person must look first"


# --- The verdict on somebody's drafts --------------------------------------------------------------------


def _rows(drafts: QuerySet[Decision]) -> list[Row]:
    names = (
        "pk", "version", "value", "decided_ms", "decided_at", "opened_evidence_at", "bulk_id", "first_value",
        "recommended", "work_item__item__tier",
    )  # fmt: skip
    return [Row(*row) for row in drafts.order_by("pk").values_list(*names)]


@dataclass(frozen=True)
class Assessment:
    """Figures and verdict on the drafts as they are now, whether or not they were ever tried to be signed."""

    digest: str
    metrics: Metrics
    verdict: Verdict
    reasons: list[str]


def look_at(reviewer_id: UUID, campaign: Campaign) -> Assessment | None:
    """Measure somebody's drafts without writing anything down; None without drafts."""
    rows = _rows(drafts_of(reviewer_id, campaign))
    if not rows:
        return None
    signed = Decision.objects.filter(
        work_item__reviewer=reviewer_id,
        work_item__item__campaign=campaign,
        signed_at__isnull=False,
        decided_at__gte=min(row.decided_at for row in rows) - timedelta(seconds=LIMITS.window),
    )
    metrics = measure(rows, _rows(signed), peers_of(reviewer_id, campaign))
    verdict, reasons = judge(metrics)
    return Assessment(drafts_digest(rows), metrics, verdict, reasons)


@transaction.atomic
def assess(*, actor: Actor, campaign: Campaign) -> QualityVerdict:
    """Write down how carefully the actor's present drafts were decided: one row per set of drafts.

    The first verdict on a set stays, also when others decide differently later. A red one is told by mail to whoever
    can confirm it, once each: asking again reaches those who have come to it since. Raises `Conflict` without drafts.
    """
    require(actor, "reviews.sign_off", campaign)
    found = look_at(actor.user_id, campaign) if actor.user_id is not None else None
    if found is None:
        raise Conflict("There is nothing to sign: decide on at least one item first.")
    verdict, new = QualityVerdict.objects.get_or_create(
        campaign=campaign,
        reviewer_id=actor.user_id,
        stage=campaign.stage,
        drafts_digest=found.digest,
        defaults={
            "metrics": found.metrics.as_json(),
            "verdict": found.verdict,
            "reasons": found.reasons,
            "at": clock.now(),
        },
    )
    if new:
        record(
            actor=actor,
            act="quality.assessed",
            subject=campaign,
            data={"verdict": found.verdict, "drafts": found.digest, "reasons": found.reasons},
        )
    if verdict.verdict == Verdict.RED and not is_confirmed(verdict):
        _ask_for_a_second_look(verdict)
    return verdict


def _ask_for_a_second_look(verdict: QualityVerdict) -> None:
    """The campaign's owner is asked; where they may not confirm, everybody else who may.

    Where nobody may, those are told who can change that.
    """
    campaign, reviewer = verdict.campaign, verdict.reviewer
    found = confirmers(campaign, reviewer.pk)
    people = [person for person in found.able if person == campaign.owner] or found.able
    for person in people or _who_helps(campaign, reviewer):
        write_letter(
            key=f"careless{'' if people else ' without anybody'}:{verdict.pk}:{person.pk}",
            template="careless",
            to=person,
            campaign=campaign,
            subject=_("%(name)s needs a second person to sign in %(campaign)s")
            % {"name": reviewer.name, "campaign": campaign.name},
            context={
                "reviewer": reviewer,
                "reasons": verdict.reasons,
                "nobody": "" if people else found.in_words,
                "url": settings.BASE_URL + reverse("reviews:quality", args=[verdict.pk]),
            },
        )


def _who_helps(campaign: Campaign, reviewer: User) -> list[User]:
    """Who can make somebody campaign manager, or hand items on: administrators, security and the campaign's owner."""
    able = Q(roles__overlap=["administrator", "security"]) | Q(pk=campaign.owner_id)
    return list(User.objects.filter(able, is_active=True).exclude(pk=reviewer.pk).order_by("pk"))


# --- The second person -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Confirmers:
    """Who may confirm one set of drafts, and who may not although their role would let them, and why."""

    owner: User | None
    able: list[User]
    barred: dict[User, str]

    @property
    def in_words(self) -> str:
        """Who may be asked; where nobody may, why not and what helps."""
        if self.able:
            names = [
                _("%(name)s (who owns the campaign)") % {"name": person.name} if person == self.owner else person.name
                for person in sorted(self.able, key=lambda person: (person != self.owner, person.name))
            ]
            shown = names[:NAMED]
            if more := len(names) - len(shown):
                shown.append(ngettext("%(n)d more", "%(n)d more", more) % {"n": more})
            return _(" or ").join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
        why = "; ".join(f"{person.name} {reason}" for person, reason in list(self.barred.items())[:NAMED])
        told = _("Nobody may confirm these decisions at the moment.")
        nobody_else = _("There is no other campaign manager or security person.")
        helps = _(
            "Ask an administrator to make somebody independent campaign manager, "
            "or hand on the items in which they have a stake, so that they leave this set."
        )
        return f"{told} {why or nobody_else}{'.' if why else ''} {helps}"


_SUBJECT_OF_DRAFT = [f"work_item__item__{kind}" for kind in SubjectKind.values]
NAMED = 4
"""So many people are named where it is said who may confirm; the rest is counted."""


def confirmers(campaign: Campaign, reviewer_id: UUID) -> Confirmers:
    """Who may look at somebody's present drafts as the second person: by role, and independent of each draft.

    The number of queries does not grow with the drafts.
    """
    by_role = Q(roles__overlap=CONFIRMERS) | Q(pk=campaign.owner_id)
    people = list(User.objects.filter(by_role, is_active=True).exclude(pk=reviewer_id).order_by("pk"))
    stakes = stakes_in(drafts_of(reviewer_id, campaign), people)
    return Confirmers(
        owner=campaign.owner,
        able=[person for person in people if person.pk not in stakes],
        barred={person: stakes[person.pk] for person in people if person.pk in stakes},
    )


def stakes_in(drafts: QuerySet[Decision], people: Iterable[User]) -> dict[UUID, str]:
    """Who of these people has a stake in one of the things decided on, and in which for example, as words."""
    ids = [person.pk for person in people]
    names: dict[str, dict[UUID, str]] = defaultdict(dict)
    for kind, label, *subjects in drafts.order_by("pk").values_list(
        "work_item__item__kind", "work_item__item__label", *_SUBJECT_OF_DRAFT
    ):
        names[kind][subjects[SubjectKind.values.index(kind)]] = label
    found: dict[UUID, str] = {}
    for kind, subjects_ in names.items():
        bars_ = barred(kind, list(subjects_), among=ids)
        for pk, label in subjects_.items():
            for person, reasons in bars_.get(pk, {}).items():
                found.setdefault(person, _stake(label, reasons))
    return found


def _stake(label: str, reasons: Iterable[str]) -> str:
    return _("has a stake in %(thing)s (%(why)s)") % {"thing": label, "why": _(" and ").join(reasons)}


def require_careful(actor: Actor, campaign: Campaign, drafts: Collection[Decision]) -> None:
    """Raise `Careless` when these drafts have a red verdict that no second person confirmed.

    Inside the signature's transaction, on the locked drafts. What was never assessed is measured here; the row itself
    must be written outside, by `assess`, or a refusal would take it away again.
    """
    verdict = (
        QualityVerdict.objects.filter(
            campaign=campaign,
            reviewer=actor.user_id,
            stage=campaign.stage,
            drafts_digest=drafts_digest(drafts),
        )
        .select_related("confirmation")
        .first()
    )
    if verdict is None:
        verdict = assess(actor=actor, campaign=campaign)
    if verdict.verdict == Verdict.RED and not is_confirmed(verdict):
        found = confirmers(campaign, verdict.reviewer_id)
        asks = (
            f"Look at them again, or ask {found.in_words} to look at exactly these decisions and confirm them; "
            "changing one asks again."
            if found.able
            else f"Look at them again. {found.in_words}"
        )
        raise Careless(f"{' '.join(verdict.reasons)} Nothing is signed. {asks}")


def is_confirmed(verdict: QualityVerdict) -> bool:
    return hasattr(verdict, "confirmation")


@transaction.atomic
def confirm_quality(*, actor: Actor, verdict: QualityVerdict, reason: str) -> QualityConfirmation:
    """A second person has looked at exactly these drafts and lets them be signed.

    Raises `NotIndependent` for the reviewer and for whoever has a stake in one of the things decided on, `Conflict`
    when the verdict is not red, the drafts are others by now, or somebody confirmed already.
    """
    require_independent(actor, verdict)
    require(actor, "reviews.confirm_quality", verdict)
    refuse_secrets({"reason": reason})
    campaign = locked_campaign(verdict.campaign_id)
    verdict = QualityVerdict.objects.select_for_update(of=("self",)).select_related("reviewer").get(pk=verdict.pk)
    if verdict.verdict != Verdict.RED:
        raise Conflict("These decisions need nobody else's word.")
    if QualityConfirmation.objects.filter(verdict=verdict).exists():
        raise Conflict("Somebody confirmed these decisions already.")
    drafts = drafts_of(verdict.reviewer_id, campaign)
    if campaign.state != CampaignState.ACTIVE or drafts_digest(drafts) != verdict.drafts_digest:
        raise Conflict(f"{verdict.reviewer} has other decisions by now; these can no longer be confirmed.")
    if actor.user is not None and (stakes := stakes_in(drafts, [actor.user])):
        raise NotIndependent(f"{actor.user} {stakes[actor.user.pk]}: somebody else must confirm these decisions.")
    if not reason.strip():
        raise Invalid(fields={"reason": ["Say what you looked at and why these decisions may stand."]})
    confirmation = QualityConfirmation.objects.create(
        verdict=verdict, by=actor.user, reason=reason.strip(), at=clock.now()
    )
    record(
        actor=actor,
        act="quality.confirmed",
        subject=campaign,
        data={"verdict": verdict.pk, "reviewer": str(verdict.reviewer_id), "drafts": verdict.drafts_digest,
              "reason": reason.strip()},
    )  # fmt: skip
    return confirmation


def open_verdicts(*campaigns: Campaign) -> list[QualityVerdict]:
    """Red verdicts of these campaigns that wait for a second person and are still about the present drafts."""
    return waiting_verdicts(QualityVerdict.objects.filter(campaign__in=campaigns))


def waiting_verdicts(verdicts: QuerySet[QualityVerdict]) -> list[QualityVerdict]:
    """Those of `verdicts` that wait for a second person: the last on their reviewer's drafts, and still about them."""
    latest = (
        verdicts.filter(stage=F("campaign__stage"), campaign__state=CampaignState.ACTIVE)
        .order_by("campaign_id", "reviewer_id", "-at", "-id")
        .distinct("campaign_id", "reviewer_id")
    )
    waiting = list(
        QualityVerdict.objects.filter(pk__in=latest.values("pk"), verdict=Verdict.RED, confirmation=None)
        .select_related("reviewer", "campaign__owner")
        .order_by("at", "id")
    )
    if not waiting:
        return []
    drafts: dict[tuple[UUID, UUID], list[Decision]] = defaultdict(list)
    rows = Decision.objects.filter(
        work_item__reviewer__in={verdict.reviewer_id for verdict in waiting},
        work_item__item__campaign__in={verdict.campaign_id for verdict in waiting},
        work_item__state=WorkItemState.RESPONDED,
        signed_at=None,
    ).select_related("work_item__item")
    for draft in rows.only("version", "work_item__reviewer", "work_item__item__campaign"):
        drafts[draft.work_item.item.campaign_id, draft.work_item.reviewer_id].append(draft)
    return [
        verdict
        for verdict in waiting
        if drafts_digest(drafts[verdict.campaign_id, verdict.reviewer_id]) == verdict.drafts_digest
    ]


def second_looks_for(actor: Actor, verdicts: QuerySet[QualityVerdict]) -> list[QualityVerdict]:
    """Those of `verdicts` that wait for a second person, without those whose drafts the actor has a stake in.

    Whether their role lets them confirm is the caller's to know. Few queries, however many wait.
    """
    waiting = waiting_verdicts(verdicts)
    if not waiting or actor.user_id is None:
        return []
    subjects: dict[str, dict[UUID, set[tuple[UUID, UUID]]]] = defaultdict(lambda: defaultdict(set))
    drafts = Decision.objects.filter(
        work_item__reviewer__in={verdict.reviewer_id for verdict in waiting},
        work_item__item__campaign__in={verdict.campaign_id for verdict in waiting},
        work_item__state=WorkItemState.RESPONDED,
        signed_at=None,
    )
    for kind, campaign, reviewer, *columns in drafts.values_list(
        "work_item__item__kind", "work_item__item__campaign", "work_item__reviewer", *_SUBJECT_OF_DRAFT
    ):
        subjects[kind][columns[SubjectKind.values.index(kind)]].add((campaign, reviewer))
    staked: set[tuple[UUID, UUID]] = set()
    for kind, sets in subjects.items():
        for subject in barred(kind, list(sets), among=[actor.user_id]):
            staked |= sets[subject]
    return [verdict for verdict in waiting if (verdict.campaign_id, verdict.reviewer_id) not in staked]


# --- Others ----------------------------------------------------------------------------------------------


class Percentile(Aggregate):
    """`percentile_cont` of the database."""

    function = "PERCENTILE_CONT"
    template = "%(function)s(%(fraction)s) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = FloatField()
    allow_distinct = False

    def __init__(self, expression: str, fraction: float, **extra: Any) -> None:
        super().__init__(expression, fraction=fraction, **extra)


_FIGURES = {
    "n": Count("pk"),
    "kept": Count("pk", filter=Q(value__in=UNCUT)),
    "opened": Count("pk", filter=Q(opened_evidence_at__isnull=False)),
    "median": Percentile("decided_ms", 0.5),
}


def peers_of(reviewer_id: UUID, campaign: Campaign) -> Peers | None:
    """How the others decide: in this campaign, else in recent ones; None when too few to compare with."""
    others = Decision.objects.exclude(work_item__reviewer=reviewer_id)
    here = others.filter(work_item__item__campaign=campaign)
    recent = others.filter(
        work_item__item__campaign__kind=campaign.kind, signed_at__gt=clock.now() - LIMITS.recent
    ).exclude(work_item__item__campaign=campaign)
    for decisions, of_campaign in ((here, True), (recent, False)):
        row = decisions.aggregate(**_FIGURES, reviewers=Count("work_item__reviewer", distinct=True))
        if row["n"] >= LIMITS.enough:
            return Peers(
                decisions=row["n"],
                reviewers=row["reviewers"],
                kept=share(row["kept"], row["n"]),
                opened=share(row["opened"], row["n"]),
                median_ms=round(row["median"]),
                of_campaign=of_campaign,
            )
    return None


@dataclass(frozen=True)
class ReviewerStatistics:
    """How one reviewer decided in a campaign, signed or not: percentiles in seconds, shares from 0 to 1.

    `verdict` is the last one they got, if they ever came to sign.
    """

    reviewer: User
    decisions: int
    signed: int
    p10: float
    median: float
    p90: float
    kept: float
    opened: float
    bulk: float
    fast: float
    verdict: QualityVerdict | None

    @property
    def too_few(self) -> bool:
        """Nothing stood out, and nothing could: so few decisions say nothing about how somebody decides."""
        return (
            self.verdict is not None
            and self.verdict.verdict == Verdict.GREEN
            and int(self.verdict.metrics["decisions"]) < LIMITS.enough
        )


def reviewer_statistics(campaign: Campaign) -> list[ReviewerStatistics]:
    """One row per reviewer who decided anything, the hastiest first. Three queries, however many decisions."""
    rows: list[Any] = list(
        Decision.objects.filter(work_item__item__campaign=campaign)
        .order_by()
        .values("work_item__reviewer")
        .annotate(
            **_FIGURES,
            p10=Percentile("decided_ms", 0.1),
            p90=Percentile("decided_ms", 0.9),
            signed=Count("pk", filter=Q(signed_at__isnull=False)),
            bulk=Count("pk", filter=Q(bulk_id__isnull=False)),
            fast=Count("pk", filter=Q(decided_ms__lt=LIMITS.fast * 1000)),
        )
    )
    people = User.objects.in_bulk([row["work_item__reviewer"] for row in rows])
    latest = (
        QualityVerdict.objects.filter(campaign=campaign)
        .select_related("confirmation__by")
        .order_by("reviewer_id", "-at", "-id")
        .distinct("reviewer_id")
    )
    verdicts = {verdict.reviewer_id: verdict for verdict in latest}
    found = [
        ReviewerStatistics(
            reviewer=people[row["work_item__reviewer"]],
            decisions=row["n"],
            signed=row["signed"],
            p10=round(row["p10"] / 1000, 1),
            median=round(row["median"] / 1000, 1),
            p90=round(row["p90"] / 1000, 1),
            kept=share(row["kept"], row["n"]),
            opened=share(row["opened"], row["n"]),
            bulk=share(row["bulk"], row["n"]),
            fast=share(row["fast"], row["n"]),
            verdict=verdicts.get(row["work_item__reviewer"]),
        )
        for row in rows
    ]
    return sorted(found, key=lambda each: (each.median, each.reviewer.name))

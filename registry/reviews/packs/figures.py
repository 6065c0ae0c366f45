"""What is counted in a pack: whether campaigns tie out, how timely and how carefully was decided, what came of it.

A fixed number of queries, however many campaigns a period holds; only stakes are asked for by the thousand items.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import Avg, Count, DurationField, Exists, ExpressionWrapper, F, OuterRef, Q, QuerySet

from registry.accounts.models import User
from registry.core import clock
from registry.core.bulk import among
from registry.reviews import queries
from registry.reviews.carefulness import UNCUT
from registry.reviews.models import (
    AutomaticAction,
    Decision,
    ExceptionRecord,
    GapWaiver,
    Item,
    PopulationEntry,
    QualityVerdict,
    Remediation,
    Verification,
    WorkItem,
    WorkItemMove,
)
from registry.reviews.packs import contents
from registry.reviews.packs.contents import Scope
from registry.reviews.services.quality import Percentile
from registry.reviews.states import SETTLED, ItemState

Row = dict[str, Any]
PARTS = ("by_people", "by_clock", "unsigned", "undecided", "obsolete", "cancelled")


def campaign_rows(scope: Scope) -> list[Row]:
    """One row per campaign: what it was, its hashes, and how its population ties out."""
    ids = among(scope.ids)
    answered = Exists(Decision.objects.filter(work_item__item=OuterRef("pk"), signed_at__isnull=False))
    states: dict[UUID, Counter[str]] = defaultdict(Counter)
    people: Counter[UUID] = Counter()
    counted = Item.objects.filter(campaign__in=ids).order_by().values_list("campaign_id", "state")
    for pk, state, n, by_people in counted.annotate(n=Count("pk"), by_people=Count("pk", filter=Q(answered))):
        states[pk][state] += n
        if state in queries.WITH_OUTCOME:
            people[pk] += by_people
    entries = PopulationEntry.objects.filter(campaign__in=ids).order_by().values_list("campaign_id")
    population = {
        pk: (n, excluded)
        for pk, n, excluded in entries.annotate(n=Count("pk"), excluded=Count("pk", filter=~Q(excluded_because="")))
    }
    rows = []
    for campaign in scope.campaigns:
        of, (number, excluded) = states[campaign.pk], population.get(campaign.pk, (0, 0))
        ended = sum(of[state] for state in queries.WITH_OUTCOME)
        rows.append(
            {
                "campaign": str(campaign.pk),
                "name": campaign.name,
                "kind": campaign.kind,
                "period": campaign.period,
                "state": campaign.state,
                "owner": campaign.owner.email if campaign.owner else "",
                "launched_at": _iso(campaign.launched_at),
                "due_at": _iso(campaign.due_at),
                "completed_at": _iso(campaign.completed_at),
                "scope": campaign.scope,
                "scope_hash": campaign.scope_hash,
                "population_hash": campaign.population_hash,
                "cadence_days": campaign.cadence_days,
                "risk_analysis": campaign.risk_analysis,
                "population": number,
                "items": of.total(),
                "excluded": excluded,
                "states": {state: n for state, n in sorted(of.items()) if n},
                "parts": {
                    "by_people": people[campaign.pk],
                    "by_clock": ended - people[campaign.pk],
                    "unsigned": of[ItemState.DECIDED] + of[ItemState.SIGNED],
                    "undecided": sum(of[state] for state in queries.UNDECIDED),
                    "obsolete": of[ItemState.OBSOLETE],
                    "cancelled": of[ItemState.CANCELLED],
                },
            }
        )
    return rows


def _iso(moment: Any) -> str | None:
    return moment.isoformat() if moment is not None else None


def statistics(scope: Scope, campaigns: Sequence[Row]) -> Row:
    """Sums over all campaigns of the pack; shares from 0 to 1, times in seconds."""
    ids = among(scope.ids)
    now = clock.now()
    signed = Decision.objects.filter(work_item__item__campaign__in=ids, signed_at__isnull=False)
    made = Remediation.objects.filter(item__campaign__in=ids)
    work = WorkItem.objects.filter(item__campaign__in=ids)
    asked = ExceptionRecord.objects.filter(remediation__item__campaign__in=ids)
    sums = {name: sum(row[name] for row in campaigns) for name in ("population", "items", "excluded")}
    undecided = Item.objects.filter(campaign__in=ids, state__in=queries.UNDECIDED)
    took = ExpressionWrapper(F("verified_at") - F("dispatched_at"), output_field=DurationField())
    mean = made.filter(verified_at__isnull=False, dispatched_at__isnull=False).aggregate(mean=Avg(took))["mean"]
    at_odds = Counter(decided for decided, _stakes in contents.conflicts(scope))
    return {
        "taken_at": now.isoformat(),
        "campaigns": len(campaigns),
        **sums,
        "ties_out": all(row["population"] == row["items"] + row["excluded"] for row in campaigns),
        "parts": {name: sum(row["parts"][name] for row in campaigns) for name in PARTS},
        "excluded_because": _counts(
            PopulationEntry.objects.filter(campaign__in=ids).exclude(excluded_because=""), "excluded_because"
        ),
        "decisions": signed.count(),
        "answers": _counts(signed, "value"),
        "tiers": _counts(Item.objects.filter(campaign__in=ids), "tier"),
        "assignments": work.count(),
        "conflicts": at_odds.total(),
        "conflicts_decided": at_odds[True],
        "conflicts_in_evidence": contents.decided_against_evidence(scope),
        "moves": _counts(WorkItemMove.objects.filter(work_item__item__campaign__in=ids), "kind"),
        "overdue": undecided.filter(due_at__lt=now).count(),
        "automatic_actions": [
            {"kind": kind, "state": state, "n": n}
            for kind, state, n in AutomaticAction.objects.filter(item__campaign__in=ids)
            .order_by("kind", "state")
            .values_list("kind", "state")
            .annotate(n=Count("pk"))
        ],
        "remediations": _counts(made, "state"),
        "remediations_open": made.exclude(state__in=SETTLED).count(),
        "verified_by": _counts(
            Verification.objects.filter(remediation__item__campaign__in=ids, confirmed=True), "source"
        ),
        "mean_seconds_to_verified": round(mean.total_seconds()) if mean is not None else None,
        "exceptions": asked.count(),
        "exceptions_in_force": asked.filter(approved_at__isnull=False, ended_at=None).count(),
        "exceptions_past_their_end": asked.filter(ended_at=None, expires_at__lt=now).count(),
        "waivers": GapWaiver.objects.filter(campaign__in=ids).count(),
        "verdicts": _counts(QualityVerdict.objects.filter(campaign__in=ids), "verdict"),
        "red_confirmed": QualityVerdict.objects.filter(
            campaign__in=ids, verdict=QualityVerdict.Verdict.RED, confirmation__isnull=False
        ).count(),
        "reviewers": _reviewers(signed),
    }


def _counts(queryset: QuerySet[Any], column: str) -> dict[str, int]:
    """By value, the most frequent first; at most fifty of them."""
    rows = queryset.order_by().values_list(column).annotate(n=Count("pk"))
    return dict(sorted(rows, key=lambda row: (-row[1], row[0]))[:50])


def _reviewers(signed: QuerySet[Any]) -> list[Row]:
    rows = list(
        signed.order_by()
        .values("work_item__reviewer")
        .annotate(
            n=Count("pk"),
            kept=Count("pk", filter=Q(value__in=UNCUT)),
            opened=Count("opened_evidence_at"),
            bulk=Count("bulk_id"),
            p10=Percentile("decided_ms", 0.1),
            median=Percentile("decided_ms", 0.5),
            p90=Percentile("decided_ms", 0.9),
        )
    )
    people = User.objects.in_bulk([row["work_item__reviewer"] for row in rows])
    found = [
        {
            "reviewer": people[row["work_item__reviewer"]].name,
            "email": people[row["work_item__reviewer"]].email,
            "decisions": row["n"],
            **{name: round(row[name] / row["n"], 3) for name in ("kept", "opened", "bulk")},
            **{name: round((row[name] or 0) / 1000, 1) for name in ("p10", "median", "p90")},
        }
        for row in rows
    ]
    return sorted(found, key=lambda row: (-row["decisions"], row["email"]))

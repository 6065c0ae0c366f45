"""How carefully somebody decided, as figures, and what the figures mean. Pure: nothing is fetched, nothing is stored.

`LIMITS` holds the thresholds and `RULES` the sentences; both are read by the gate, the pages and the reports.

Why percentiles: an average of two hundred careless seconds and one lunch break looks careful.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.reviews.cadence import REASON_REQUIRED
from registry.reviews.models import Decision, QualityVerdict

Verdict = QualityVerdict.Verdict
UNCUT = (Decision.Value.CERTIFY, Decision.Value.CERTIFY_UNTIL)
"""Answers that leave everything as it is. A reduction is no sign of waving things through."""


@dataclass(frozen=True)
class Limits:
    """The thresholds, in one place. Times in seconds, shares from 0 to 1."""

    enough: int = 20
    """Fewer decisions say nothing about how somebody decides."""
    hasty: float = 3
    """Nobody reads evidence in less."""
    quick: float = 8
    fast: float = 5
    """What counts as a fast single decision."""
    waved_through: float = 0.98
    unopened: float = 0.20
    half_opened: float = 0.50
    mostly_bulk: float = 0.60
    mostly_fast: float = 0.50
    above_peers: float = 0.25
    swayed: float = 0.80
    swayed_enough: int = 5
    window: float = 57
    """Seconds in which `enough` answers that keep everything are a burst: nineteen pauses of three seconds."""
    recent: timedelta = timedelta(days=180)
    """How far back peers of other campaigns count."""


LIMITS = Limits()


@dataclass(frozen=True)
class Peers:
    """The same figures of everybody else: of this campaign, or of recent ones when this has too few."""

    decisions: int
    reviewers: int
    kept: float
    opened: float
    median_ms: int
    of_campaign: bool


@dataclass(frozen=True)
class Metrics:
    """Of one reviewer's drafts. Shares are None where there is nothing to divide by."""

    decisions: int
    p10_ms: int
    median_ms: int
    p90_ms: int
    kept: float
    opened: float
    bulk: float
    fast: float
    fast_high: int
    """Decisions on critical and high tiers that were fast."""
    burst: int
    """The most answers that keep everything within `LIMITS.window` seconds, drafts and signed ones of this person."""
    chose_first: int
    """Decisions with an own answer before the rules' opinion could be read."""
    agreed_before: float | None
    agreed_after: float | None
    swayed: int
    """Answers changed afterwards to what the rules recommend."""
    changed: int
    """Answers changed afterwards at all."""
    peers: Peers | None

    @property
    def enough(self) -> bool:
        return self.decisions >= LIMITS.enough

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Row:
    """What is read of a draft."""

    pk: UUID
    version: int
    value: str
    decided_ms: int
    decided_at: datetime
    opened_evidence_at: datetime | None
    bulk_id: UUID | None
    first_value: str
    recommended: str
    tier: str


def measure(rows: Sequence[Row], earlier: Iterable[Row], peers: Peers | None) -> Metrics:
    """The figures of these drafts; pure. `earlier` are signed decisions of the same person and campaign.

    Raises `ValueError` without drafts: nothing has no quality.
    """
    if not rows:
        raise ValueError("no drafts")
    total = len(rows)
    times = sorted(row.decided_ms for row in rows)
    fast = [row for row in rows if row.decided_ms < LIMITS.fast * 1000]
    chosen = [row for row in rows if row.first_value]
    advised = [row for row in chosen if row.recommended]
    changed = [row for row in chosen if row.first_value != row.value]
    return Metrics(
        decisions=total,
        p10_ms=percentile(times, 0.1),
        median_ms=percentile(times, 0.5),
        p90_ms=percentile(times, 0.9),
        kept=share(sum(row.value in UNCUT for row in rows), total),
        opened=share(sum(row.opened_evidence_at is not None for row in rows), total),
        bulk=share(sum(row.bulk_id is not None for row in rows), total),
        fast=share(len(fast), total),
        fast_high=sum(row.tier in REASON_REQUIRED for row in fast),
        burst=longest_burst(moments(rows), moments(earlier)),
        chose_first=len(chosen),
        agreed_before=share(sum(r.first_value == r.recommended for r in advised), len(advised)) if advised else None,
        agreed_after=share(sum(r.value == r.recommended for r in advised), len(advised)) if advised else None,
        swayed=sum(row.value == row.recommended for row in changed),
        changed=len(changed),
        peers=peers,
    )


def share(part: int, whole: int) -> float:
    return round(part / whole, 4)


def percentile(ordered: Sequence[int], fraction: float) -> int:
    """Linear between neighbours, as `percentile_cont` of the database computes it."""
    place = (len(ordered) - 1) * fraction
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return round(ordered[low] + (ordered[high] - ordered[low]) * (place - low))


def moments(rows: Iterable[Row]) -> list[datetime]:
    """When each answer that keeps everything was given, in order.

    Decisions of one bulk share an instant; they are laid out backwards over the time the bulk took.
    """
    found: list[datetime] = []
    bulks: dict[UUID, int] = defaultdict(int)
    for row in rows:
        if row.value not in UNCUT:
            continue
        steps = 0
        if row.bulk_id is not None:
            steps = bulks[row.bulk_id]
            bulks[row.bulk_id] += 1
        found.append(row.decided_at - timedelta(milliseconds=steps * row.decided_ms))
    return sorted(found)


def longest_burst(drafted: Sequence[datetime], signed: Sequence[datetime]) -> int:
    """The most answers within one window that holds at least one draft.

    Signed ones count along, so that nobody gets past by signing two hundred in slices of nineteen.
    """
    everything = sorted([*drafted, *signed])
    window, most = timedelta(seconds=LIMITS.window), 0
    for start, moment in enumerate(everything):
        end = bisect_right(everything, moment + window)
        first_draft = bisect_right(drafted, moment - timedelta(microseconds=1))
        if first_draft < len(drafted) and drafted[first_draft] <= moment + window:
            most = max(most, end - start)
    return most


# --- What the figures mean -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """`says` turns the figures into the sentence that people read."""

    verdict: Verdict
    holds: Callable[[Metrics], bool]
    says: Callable[[Metrics], str]


def _percent(share: float) -> int:
    return round(100 * share)


def _seconds(ms: int) -> str:
    return f"{ms / 1000:.1f}" if ms < 10_000 else f"{ms / 1000:.0f}"


def _waved_through(m: Metrics) -> bool:
    return m.enough and m.kept >= LIMITS.waved_through and m.opened < LIMITS.unopened


RULES: tuple[Rule, ...] = (
    Rule(
        Verdict.RED,
        lambda m: m.enough and m.median_ms < LIMITS.hasty * 1000,
        lambda m: (
            _("Half of the %(n)d decisions took %(s)s seconds or less; nobody reads the evidence in that time.")
            % {"n": m.decisions, "s": _seconds(m.median_ms)}
        ),
    ),
    Rule(
        Verdict.RED,
        lambda m: m.burst >= LIMITS.enough,
        lambda m: _("%(n)d answers that keep everything were given within one minute.") % {"n": m.burst},
    ),
    Rule(
        Verdict.RED,
        _waved_through,
        lambda m: (
            _("%(kept)d %% of %(n)d were kept as they are, and the evidence of only %(opened)d %% was opened.")
            % {"kept": _percent(m.kept), "n": m.decisions, "opened": _percent(m.opened)}
        ),
    ),
    Rule(
        Verdict.AMBER,
        lambda m: m.enough and LIMITS.hasty * 1000 <= m.median_ms < LIMITS.quick * 1000,
        lambda m: _("Half of the decisions took %(s)s seconds or less.") % {"s": _seconds(m.median_ms)},
    ),
    Rule(
        Verdict.AMBER,
        lambda m: m.enough and m.median_ms >= LIMITS.hasty * 1000 and m.fast > LIMITS.mostly_fast,
        lambda m: (
            _("%(share)d %% of the decisions took less than %(s)d seconds.")
            % {"share": _percent(m.fast), "s": LIMITS.fast}
        ),
    ),
    Rule(
        Verdict.AMBER,
        lambda m: m.fast_high > 0,
        lambda m: (
            ngettext(
                "%(n)d decision at a critical or high tier took less than %(s)d seconds.",
                "%(n)d decisions at a critical or high tier took less than %(s)d seconds.",
                m.fast_high,
            )
            % {"n": m.fast_high, "s": LIMITS.fast}
        ),
    ),
    Rule(
        Verdict.AMBER,
        lambda m: m.enough and m.peers is not None and m.kept - m.peers.kept >= LIMITS.above_peers,
        lambda m: (
            _("%(own)d %% were kept as they are; others keep %(theirs)d %%.")
            % {"own": _percent(m.kept), "theirs": _percent(m.peers.kept) if m.peers else 0}
        ),
    ),
    Rule(
        Verdict.AMBER,
        # Where hardly any was opened and all was kept, the red sentence says it already.
        lambda m: m.enough and m.opened < LIMITS.half_opened and not _waved_through(m),
        lambda m: _("The evidence of only %(share)d %% was opened.") % {"share": _percent(m.opened)},
    ),
    Rule(
        Verdict.AMBER,
        lambda m: m.enough and m.bulk > LIMITS.mostly_bulk,
        lambda m: _("%(share)d %% were decided several at once.") % {"share": _percent(m.bulk)},
    ),
    Rule(
        Verdict.AMBER,
        lambda m: m.swayed >= LIMITS.swayed_enough and m.swayed >= LIMITS.swayed * m.chose_first,
        lambda m: (
            _("%(n)d of %(of)d first answers were changed to what the rules recommend.")
            % {"n": m.swayed, "of": m.chose_first}
        ),
    ),
)
SEVERITY = (Verdict.RED, Verdict.AMBER, Verdict.GREEN)


def judge(metrics: Metrics) -> tuple[Verdict, list[str]]:
    """The worst verdict of the rules that hold, and all their sentences, the worst first."""
    holding = sorted((rule for rule in RULES if rule.holds(metrics)), key=lambda rule: SEVERITY.index(rule.verdict))
    return (holding[0].verdict if holding else Verdict.GREEN), [rule.says(metrics) for rule in holding]

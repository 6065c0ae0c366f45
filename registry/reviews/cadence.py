"""How long a certificate may live, when a review is due, and by which rungs silence is answered.

Everything here is pure. Deadlines are instants, kept in UTC; a day becomes one by the calendar of a named time zone
(invariant 17). A ladder counts days of 24 hours from its deadline, so that no clock change moves a rung.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import pairwise
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from registry.catalog.models import Tier
from registry.core.errors import Invalid
from registry.reviews.models import LadderStep

Act = LadderStep.Act

MAXIMUM_DAYS = {Tier.CRITICAL: 30, Tier.HIGH: 90, Tier.MEDIUM: 180, Tier.LOW: 365}
"""How long a certificate may live, and how often a tier is reviewed (RECERTIFICATION section 3e)."""
MICRO_DAYS = {Tier.CRITICAL: 3, Tier.HIGH: 7, Tier.MEDIUM: 14, Tier.LOW: 30}
"""How long a review may take that something set off."""
REASON_REQUIRED = (Tier.CRITICAL, Tier.HIGH)
INTAKE_DAYS = 7

LADDERS: dict[str, list[dict[str, Any]]] = {
    Tier.CRITICAL: [
        {"day": -7, "act": "remind"},
        {"day": -3, "act": "deputy"},
        {"day": 0, "act": "escalate"},
        {"day": 2, "act": "suspend"},
        {"day": 30, "act": "revoke"},
    ],
    Tier.HIGH: [
        {"day": -7, "act": "remind"},
        {"day": -3, "act": "remind"},
        {"day": -1, "act": "remind"},
        {"day": 0, "act": "escalate"},
        {"day": 7, "act": "suspend"},
    ],
    Tier.MEDIUM: [
        {"day": -7, "act": "remind"},
        {"day": -1, "act": "remind"},
        {"day": 0, "act": "escalate"},
        {"day": 14, "act": "lapse"},
    ],
    Tier.LOW: [{"day": -7, "act": "remind"}, {"day": 0, "act": "lapse"}],
}
"""What happens when nobody answers, by tier, in days around the deadline (RECERTIFICATION section 3e)."""
INTAKE_RUNGS = [{"day": day, "act": "remind"} for day in (-3, -1, 0)]
"""A registration that nobody answers is not in service; there is nothing to suspend."""

RUNGS_AT_MOST = 8
EARLIEST_DAY, LATEST_DAY = -60, 90


# --- Calendar --------------------------------------------------------------------------------------------


def end_of_day(day: date, zone: tzinfo | None = None) -> datetime:
    """The last instant of a day as the calendar of `zone` has it, in UTC. Without one: the zone `clock.today` uses.

    Taken from the first instant of the next day: the last hour of a day may come twice, or a day may begin at one.
    The last days that a calendar of four digits has are one instant: whoever typed them is told that it is too late.
    """
    zone = zone or timezone.get_current_timezone()
    next_day = min(day, date.max - timedelta(days=2)) + timedelta(days=1)
    return datetime.combine(next_day, time.min, tzinfo=zone).astimezone(UTC) - timedelta(microseconds=1)


def latest_until(tier: str, today: date, *bounds: date | None) -> date:
    """The last day a certificate signed today may name: the tier's maximum, and never beyond `bounds`."""
    return min([today + timedelta(days=MAXIMUM_DAYS[Tier(tier)]), *(day for day in bounds if day is not None)])


def period_for(day: date, cadence_days: int) -> str:
    """How people call the period of a campaign launched by hand: 2026, 2026-Q4, 2026-11 or 2026-W48."""
    if cadence_days >= 300:
        return f"{day:%Y}"
    if cadence_days >= 80:
        return f"{day:%Y}-Q{(day.month + 2) // 3}"
    if cadence_days >= 28:
        return f"{day:%Y-%m}"
    return f"{day:%G-W%V}"


def without_analysis(cadence_days: int, tiers: Collection[str], risk_analysis: str) -> list[Tier]:
    """Tiers in scope that this cadence reviews less often than they ask for, as long as nothing says why.

    Only critical and high: a longer cadence for them needs a written risk analysis (PCI DSS 7.2.5.1).
    """
    if risk_analysis.strip():
        return []
    return [tier for tier in REASON_REQUIRED if tier in tiers and cadence_days > MAXIMUM_DAYS[tier]]


# --- Rungs -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rung:
    """One step of a ladder: `day` days after the deadline (before it when negative) `act` happens."""

    day: int
    act: LadderStep.Act

    @property
    def acts(self) -> bool:
        """Whether it does something to the subject itself, without anybody."""
        return self.act in ACTING

    def at(self, deadline: datetime) -> datetime:
        return deadline + timedelta(days=self.day)

    def name(self, deadline: datetime) -> str:
        """What `LadderStep.rung` holds: another deadline makes other rungs."""
        return f"{deadline.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ} {self.day:+d} {self.act}"


ACTING = (Act.SUSPEND, Act.LAPSE, Act.REVOKE)
"""From the mildest to the firmest."""


LATE = timedelta(days=1)
"""A rung climbed later than this was missed, not delayed."""


def may_climb_at(rung: Rung, deadline: datetime, before: tuple[Rung, datetime] | None) -> datetime:
    """When `rung` may be climbed, if the one `before` it was climbed at that instant.

    Usually on its day. When the one before was missed (the worker slept), what comes after keeps its distance from
    when it was made up for: nobody loses the time they have to answer between two rungs.
    """
    if before is None or before[1] < before[0].at(deadline) + LATE:
        return rung.at(deadline)
    return before[1] + timedelta(days=rung.day - before[0].day)


def rungs(ladder: Mapping[str, Sequence[Mapping[str, Any]]], tier: str) -> list[Rung]:
    """The rungs of a tier in a campaign's frozen ladder; a tier it does not mention has the usual ones."""
    return [Rung(rung["day"], Act(rung["act"])) for rung in ladder.get(tier, LADDERS[tier])]


def frozen_ladder(ladder: Mapping[str, Any]) -> dict[str, Any]:
    """The ladder a campaign keeps: a template names only the tiers in which it differs."""
    return {str(tier): rungs for tier, rungs in {**LADDERS, **ladder}.items()}


def clean_ladder(value: Any) -> dict[str, list[dict[str, Any]]]:
    """A template's ladder: `{tier: [{"day": int, "act": str}, …]}`, only the tiers that differ from `LADDERS`.

    Raises `Invalid` with one field per tier (`ladder.critical`), or `ladder` when it is no ladder at all.
    """
    if not isinstance(value, Mapping):
        raise Invalid(fields={"ladder": [_("A ladder names rungs by tier.")]})
    errors: dict[str, list[str]] = {}
    if unknown := sorted(str(tier) for tier in value if tier not in LADDERS):
        errors["ladder"] = [_("Not a tier: %(names)s.") % {"names": ", ".join(unknown)}]
    cleaned = {}
    for tier in LADDERS:
        if tier not in value:
            continue
        found, problem = _clean_rungs(value[tier])
        if problem:
            errors[f"ladder.{tier}"] = [problem]
        elif found != LADDERS[tier]:
            cleaned[str(tier)] = found
    if errors:
        raise Invalid(fields=errors)
    return cleaned


def _clean_rungs(value: Any) -> tuple[list[dict[str, Any]], str]:
    """The rungs as they are stored, and what is wrong with them."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return [], _("Name at least one rung.")
    if len(value) > RUNGS_AT_MOST:
        return [], _("At most %(most)d rungs.") % {"most": RUNGS_AT_MOST}
    found: list[dict[str, Any]] = []
    for rung in value:
        if not isinstance(rung, Mapping) or set(rung) != {"day", "act"}:
            return [], _("A rung has a day and an act.")
        day, act = rung["day"], rung["act"]
        if isinstance(day, bool) or not isinstance(day, int) or not EARLIEST_DAY <= day <= LATEST_DAY:
            return [], _("Days are whole numbers between %(first)d and %(last)d.") % {
                "first": EARLIEST_DAY,
                "last": LATEST_DAY,
            }
        if act not in Act.values:
            return [], _("Not an act: %(act)s. Known: %(known)s.") % {"act": act, "known": ", ".join(Act.values)}
        found.append({"day": day, "act": str(act)})
    return found, _order_problem([Rung(rung["day"], Act(rung["act"])) for rung in found])


def _order_problem(found: Sequence[Rung]) -> str:
    """What is wrong with rungs one by one valid: silence must end somewhere, and never by surprise."""
    if any(later.day <= earlier.day for earlier, later in pairwise(found)):
        return _("Each rung is on a later day than the one before.")
    acting = [ACTING.index(rung.act) for rung in found if rung.acts]
    if any(later <= earlier for earlier, later in pairwise(acting)):
        return _("What the ladder does by itself gets firmer from rung to rung: suspend, lapse, revoke.")
    if sum(rung.act == Act.ESCALATE for rung in found) > 1:
        return _("Escalate once: after that somebody else has it.")
    if {Act.LAPSE, Act.REVOKE} <= {rung.act for rung in found}:
        return _("Either it lapses or it is revoked: what lapsed is no longer under review.")
    if not found[-1].acts:
        return _("The last rung suspends, lets it lapse or revokes: silence keeps nothing.")
    if any(rung.acts and rung.day < 0 for rung in found):
        return _("Before the deadline nothing is suspended, lapsed or revoked.")
    if any(rung.act == Act.ESCALATE and rung.day < 0 for rung in found):
        return _("Before the deadline nothing is escalated: its reviewer still has time.")
    if any(earlier.acts and later.act == Act.ESCALATE for earlier, later in pairwise(found)):
        return _("Escalate first: somebody else is asked before anything is taken away.")
    return ""

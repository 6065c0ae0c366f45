"""How long a certificate may live, and when a review is due."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from registry.catalog.models import Tier

MAXIMUM_DAYS = {Tier.CRITICAL: 30, Tier.HIGH: 90, Tier.MEDIUM: 180, Tier.LOW: 365}
"""RECERTIFICATION section 3e."""

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

REASON_REQUIRED = (Tier.CRITICAL, Tier.HIGH)
INTAKE_DAYS = 7


def end_of_day(day: date) -> datetime:
    """The last instant of a day in UTC: deadlines are instants."""
    return datetime.combine(day, time.max, tzinfo=UTC)


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

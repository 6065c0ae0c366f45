"""How long a relationship may last."""

from datetime import date, datetime, time, timedelta
from typing import NamedTuple

from django.utils import timezone

from registry.catalog.models import Server

MAX_VALIDITY = timedelta(days=365)


class Limit(NamedTuple):
    """Until when at most (the midnight after the last day), and why."""

    instant: datetime
    because: str

    @property
    def last_day(self) -> date:
        return timezone.localdate(self.instant - timedelta(seconds=1))


def _end_of(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day + timedelta(days=1), time.min))


def latest_valid_until(*, server: Server, now: datetime) -> Limit:
    """How long a relationship of `server` may be asked for: a year, and never past the server's purpose."""
    last = timezone.localdate(now) + MAX_VALIDITY
    year = Limit(_end_of(last), f"a relationship lasts at most {MAX_VALIDITY.days} days")
    purpose = server.purpose
    if purpose is None:
        return year
    return min(year, Limit(_end_of(purpose.ends_on), "the server's purpose ends then"))

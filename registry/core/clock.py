"""The one source of the present instant, so that tests and as-of questions can choose it."""

from datetime import date, datetime, timedelta

from django.utils import timezone


def now() -> datetime:
    """The present instant, timezone-aware, in UTC."""
    return timezone.now()


def today() -> date:
    return timezone.localdate()


def days(number: float) -> timedelta:
    return timedelta(days=number)

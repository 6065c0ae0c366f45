"""The one source of the present instant, so that tests and as-of questions can choose it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime, timedelta

from django.utils import timezone

_chosen: ContextVar[datetime | None] = ContextVar("chosen instant", default=None)


def now() -> datetime:
    """The present instant, timezone-aware, in UTC."""
    return _chosen.get() or timezone.now()


def today() -> date:
    return timezone.localdate(now())


def days(number: float) -> timedelta:
    return timedelta(days=number)


@contextmanager
def at(instant: datetime) -> Iterator[None]:
    """Inside, it is `instant`: for data that tells a story, and for tests of deadlines."""
    token = _chosen.set(instant)
    try:
        yield
    finally:
        _chosen.reset(token)

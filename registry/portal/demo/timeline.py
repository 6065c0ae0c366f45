"""Lets acts happen on chosen days, in order, by named people."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from auditlog.context import set_actor
from auditlog.models import LogEntry
from celery import current_app
from django.db.models.signals import pre_save
from django.utils import timezone

from registry.accounts.models import User
from registry.catalog.changes import told_at
from registry.core import clock
from registry.core.actors import Actor
from registry.core.events import each_once

Left = tuple[type, ...]


class Timeline:
    """Acts are planned with `plan(days_ago, act)` in any order, and told by `run()` from the oldest to the newest.

    So identifiers, which carry the time of their making, sort as the dates do.
    """

    def __init__(self) -> None:
        self.now = timezone.now()
        self._plan: list[tuple[float, int, Callable[..., Any], tuple[Any, ...], bool | Left]] = []
        self._planned = 0

    def plan(self, days_ago: float, act: Callable[..., Any], *args: Any, left_to_sweeps: bool | Left = False) -> None:
        """`left_to_sweeps`: its events, or those of these types, are not delivered; what follows from them is found
        by the next sweep."""
        self._planned += 1
        self._plan.append((days_ago, self._planned, act, args, left_to_sweeps))

    def run(self, reached: Callable[[float], None] | None = None) -> None:
        """`reached` is told how many days ago the story has come to, before each act."""
        with background_work_at_once(), history_at_the_told_time():
            while self._plan:
                # An act may plan others; the oldest that is left comes next.
                self._plan.sort(key=lambda entry: (-entry[0], entry[1]))
                days_ago, _, act, args, left_to_sweeps = self._plan.pop(0)
                if reached is not None:
                    reached(days_ago)
                with told_at(self.instant(days_ago)), each_once() as events:
                    act(*args)
                    for event in list(events):
                        if left_to_sweeps is True or (left_to_sweeps and isinstance(event, left_to_sweeps)):
                            del events[event]

    def instant(self, days_ago: float) -> datetime:
        return self.now - timedelta(days=days_ago)

    def days_ago(self, instant: datetime) -> float:
        return (self.now - instant) / timedelta(days=1)


@contextmanager
def acting(user: User) -> Iterator[Actor]:
    """Act as this person, in the evidence and in the field history."""
    with set_actor(user):
        yield Actor.person(user)


@contextmanager
def background_work_at_once() -> Iterator[None]:
    """Tasks run where they are sent, at the told time, as a worker would have done then."""
    before, current_app.conf.task_always_eager = current_app.conf.task_always_eager, True
    try:
        yield
    finally:
        current_app.conf.task_always_eager = before


@contextmanager
def history_at_the_told_time() -> Iterator[None]:
    def set_time(instance: LogEntry, **_: Any) -> None:
        instance.timestamp = clock.now()

    pre_save.connect(set_time, sender=LogEntry)
    try:
        yield
    finally:
        pre_save.disconnect(set_time, sender=LogEntry)

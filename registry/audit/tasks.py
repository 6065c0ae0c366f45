from datetime import timedelta

from celery import shared_task

from registry.audit.services import seal_events
from registry.core import clock

RECENT = timedelta(days=1)
"""Longer than any transaction may live, so that the frequent run misses nothing in normal operation."""


@shared_task(ignore_result=True)
def seal() -> int:
    """Seal until nothing recent is left, so that a burst does not wait for the next tick."""
    total = 0
    while count := seal_events(since=clock.now() - RECENT):
        total += count
    return total


@shared_task(ignore_result=True)
def seal_rest() -> int:
    """Seal whatever is older: after a long outage of the worker, or a restored backup."""
    total = 0
    while count := seal_events():
        total += count
    return total


BEAT = {
    "seal-audit-events": {"task": seal.name, "schedule": 5.0},
    "seal-older-audit-events": {"task": seal_rest.name, "schedule": 3600.0},
}

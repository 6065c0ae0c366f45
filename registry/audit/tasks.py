from celery import shared_task

from registry.audit.services import seal_events


@shared_task(ignore_result=True)
def seal() -> int:
    """Seal until nothing is left, so that a burst does not wait for the next tick."""
    total = 0
    while count := seal_events():
        total += count
    return total


BEAT = {"seal-audit-events": {"task": seal.name, "schedule": 5.0}}

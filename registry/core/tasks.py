import time

from celery import shared_task

from registry.core import clock, limits
from registry.core.idempotency import KEPT
from registry.core.models import IdempotentAnswer


@shared_task(ignore_result=True)
def forget_answers() -> None:
    """Answers to repeated calls are kept for a day, not for ever."""
    IdempotentAnswer.objects.filter(created_at__lt=clock.now() - KEPT).delete()


@shared_task(ignore_result=True)
def forget_counts() -> None:
    limits.sweep(time.time())


BEAT = {
    "forget-idempotent-answers": {"task": forget_answers.name, "schedule": 3600.0},
    "forget-rate-counts": {"task": forget_counts.name, "schedule": 3600.0},
}

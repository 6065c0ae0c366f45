from celery import shared_task

from registry.core import clock
from registry.core.idempotency import KEPT
from registry.core.models import IdempotentAnswer


@shared_task(ignore_result=True)
def forget_answers() -> None:
    """Answers to repeated calls are kept for a day, not for ever."""
    IdempotentAnswer.objects.filter(created_at__lt=clock.now() - KEPT).delete()


BEAT = {"forget-idempotent-answers": {"task": forget_answers.name, "schedule": 3600.0}}

"""Background work of reviews. Timers are rows; these only look at them."""

from uuid import UUID

import structlog
from celery import shared_task

from registry.core import clock
from registry.reviews import services
from registry.reviews.services.generation import fail_generation

log = structlog.get_logger(__name__)


@shared_task(ignore_result=True)
def generate_items(*, campaign_id: str) -> None:
    """Work a launch through. Safe to run twice, or again after it was killed."""
    try:
        services.generate_items(campaign_id=UUID(campaign_id))
    except Exception as error:
        log.exception("generation_failed", campaign_id=campaign_id)
        fail_generation(campaign_id=UUID(campaign_id), reason=f"{type(error).__name__}: the launch could not go on.")
        raise


@shared_task(ignore_result=True)
def resume_generation() -> None:
    services.resume_generation(now=clock.now())


@shared_task(ignore_result=True)
def open_intake(*, server_id: str) -> None:
    services.open_intake(server_id=UUID(server_id))


@shared_task(ignore_result=True)
def sweep_intakes() -> None:
    services.sweep_intakes()


@shared_task(ignore_result=True)
def recheck(*, kind: str, subject_id: str) -> None:
    services.recheck(kind=kind, id=UUID(subject_id))


@shared_task(ignore_result=True)
def sweep_facts() -> None:
    """Items and certificates against the present facts, for events that got lost, and for time."""
    services.sweep_items()
    services.end_stale_certificates()


@shared_task(ignore_result=True)
def launch_due_campaigns() -> None:
    services.launch_due_campaigns(today=clock.today())


@shared_task(ignore_result=True)
def send_reminders() -> None:
    services.send_reminders(today=clock.today())


@shared_task(ignore_result=True)
def tell_owner(*, item_id: str) -> None:
    services.tell_owner(item_id=UUID(item_id))


BEAT = {
    "resume-interrupted-launches": {"task": resume_generation.name, "schedule": 15.0},
    "sweep-intakes": {"task": sweep_intakes.name, "schedule": 60.0},
    "sweep-reviewed-facts": {"task": sweep_facts.name, "schedule": 300.0},
    "launch-due-campaigns": {"task": launch_due_campaigns.name, "schedule": 600.0},
    "send-reminders": {"task": send_reminders.name, "schedule": 3600.0},
}

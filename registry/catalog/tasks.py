"""What happens to things when their owner leaves or comes back."""

from uuid import UUID

from celery import shared_task

from registry.catalog import services


@shared_task(ignore_result=True)
def open_vacancies(*, user_id: str) -> None:
    services.open_vacancies(user_id=UUID(user_id))


@shared_task(ignore_result=True)
def offer_back(*, user_id: str) -> None:
    services.offer_back(user_id=UUID(user_id))


@shared_task(ignore_result=True)
def sweep_vacancies() -> None:
    """For events that got lost, and for what changed otherwise."""
    services.open_vacancies()
    services.settle_vacancies()


BEAT = {"sweep-vacancies": {"task": sweep_vacancies.name, "schedule": 60.0}}

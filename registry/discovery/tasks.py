from celery import shared_task

from registry.discovery import services
from registry.discovery.queries import stalled_jobs


@shared_task(ignore_result=True)
def run_import(*, job_id: str) -> None:
    """Idempotent: each entry has one result however often this runs, and two workers share the entries."""
    services.run_import(job_id=job_id)


@shared_task(ignore_result=True)
def sweep_imports() -> None:
    """Take up what a killed worker or a lost message left behind, and forget previews nobody confirmed."""
    for job_id in stalled_jobs():
        run_import.delay(job_id=str(job_id))
    services.expire_previews()


BEAT = {"sweep-imports": {"task": sweep_imports.name, "schedule": 30.0}}

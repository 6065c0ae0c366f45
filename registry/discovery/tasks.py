from uuid import UUID

from celery import shared_task

from registry.core.actors import Actor
from registry.discovery import services
from registry.discovery.queries import stalled_jobs

PUBLISHER = Actor.system("publishing")


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


@shared_task(ignore_result=True)
def follow_server(*, server_id: str) -> None:
    """What follows here from a change of a server: one message, because a change may touch hundreds.

    Its addresses are no shadows any more, what a review approved is what drift is measured against from then on, and
    what is published of it is brought up to date.
    """
    services.settle_registered(server_id=server_id)
    services.settle_server(server_id=UUID(server_id))
    services.publish_servers(actor=PUBLISHER, server_ids=[UUID(server_id)])


@shared_task(ignore_result=True)
def sweep_shadows() -> None:
    """What was to be left alone until yesterday is open again."""
    services.reopen_expired()


@shared_task(ignore_result=True)
def publish_server(*, server_id: str) -> None:
    services.publish_servers(actor=PUBLISHER, server_ids=[UUID(server_id)])


@shared_task(ignore_result=True)
def sweep_publications(*, everything: bool = False) -> None:
    """Certification ends by the clock, which tells nobody; and messages get lost."""
    services.sweep_publications(actor=PUBLISHER, everything=everything)


@shared_task(ignore_result=True)
def sync_registry(*, source_id: str) -> None:
    """Idempotent: a walk that is under way goes on from its last page, and has one walker."""
    services.run_sync(source_id=source_id)


@shared_task(ignore_result=True)
def sweep_registries() -> None:
    """Registries whose time has come, and walks that a killed worker left behind."""
    for source_id in services.due_registries():
        sync_registry.delay(source_id=str(source_id))


@shared_task(ignore_result=True)
def settle_definitions() -> None:
    """Approvals whose event got lost."""
    services.settle_all()


@shared_task(ignore_result=True)
def run_probe(*, probe_id: str) -> None:
    """Idempotent: whoever claims the probe does it, and a claim that fell silent is taken over."""
    services.run_probe(probe_id=probe_id)


@shared_task(ignore_result=True)
def sweep_probes() -> None:
    """What is due, what no worker took, and what a killed worker left behind."""
    for probe_id in services.sweep_probes():
        run_probe.delay(probe_id=str(probe_id))


@shared_task(ignore_result=True)
def run_secret_check(*, source_id: str) -> None:
    services.run_secret_check(source_id=source_id)


@shared_task(ignore_result=True)
def sweep_secret_checks() -> None:
    """Secret sources whose time has come; what a killed worker took up is due again by itself."""
    for source_id in services.sweep_secret_checks():
        run_secret_check.delay(source_id=str(source_id))


BEAT = {
    "sweep-secret-checks": {"task": sweep_secret_checks.name, "schedule": 60.0},
    "sweep-probes": {"task": sweep_probes.name, "schedule": 30.0},
    "settle-approved-definitions": {"task": settle_definitions.name, "schedule": 300.0},
    "sweep-imports": {"task": sweep_imports.name, "schedule": 30.0},
    "sweep-publications": {"task": sweep_publications.name, "schedule": 60.0},
    "compare-publications": {
        "task": sweep_publications.name,
        "schedule": 3600.0,
        "kwargs": {"everything": True},
    },
    "sweep-shadows": {"task": sweep_shadows.name, "schedule": 3600.0},
    "sweep-registries": {"task": sweep_registries.name, "schedule": 60.0},
}

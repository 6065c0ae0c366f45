from uuid import UUID

from celery import shared_task

from registry.catalog.models import Server
from registry.core import clock
from registry.trust import departures, services
from registry.trust.models import Connection

BATCH = 500


@shared_task
def expire() -> int:
    """End what is over, batch by batch, so that a burst does not wait for the next tick."""
    total = 0
    while count := services.expire_due(now=clock.now(), limit=BATCH):
        total += count
    return total


@shared_task
def end_orphaned() -> int:
    """End what lost one of its ends to retirement."""
    total = 0
    while count := services.end_orphaned(limit=BATCH):
        total += count
    return total


@shared_task
def assess_server(*, server_id: str) -> int:
    return services.assess_tiers(server_ids=[UUID(server_id)])


@shared_task
def assess_system(*, system_id: str) -> int:
    """The servers that reach a system share its data class."""
    reaching = Connection.objects.current().filter(system_id=system_id).order_by().values_list("server_id", flat=True)
    return services.assess_tiers(server_ids=list(reaching.distinct()))


@shared_task
def assess_all() -> int:
    """Compare every server in service or on its way with the method, so that no lost event leaves a wrong tier."""
    total, last = 0, None
    while True:
        servers = Server.objects.exclude(lifecycle="retired").order_by("pk")
        ids = list((servers.filter(pk__gt=last) if last else servers).values_list("pk", flat=True)[:BATCH])
        if not ids:
            return total
        total, last = total + services.assess_tiers(server_ids=ids), ids[-1]


@shared_task
def rest_unanswered() -> int:
    """Suspend what nobody answers for since somebody left, once the time of grace is over."""
    total = 0
    while count := departures.rest_unanswered(now=clock.now(), limit=BATCH):
        total += count
    return total


BEAT = {
    "rest-unanswered-trust": {"task": rest_unanswered.name, "schedule": 300.0},
    "expire-trust-relationships": {"task": expire.name, "schedule": 60.0},
    "end-orphaned-trust-relationships": {"task": end_orphaned.name, "schedule": 300.0},
    "assess-tiers": {"task": assess_all.name, "schedule": 3600.0},
}

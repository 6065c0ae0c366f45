"""Who hears that a server lists something else than was approved: its owner and deputy, by mail, once per drift."""

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _

from registry.accounts.models import User
from registry.core.inert import visible
from registry.discovery.models import Drift, DriftState
from registry.reviews.services.letters import write_letter

NAMED = 12
"""So many changes a letter names; the rest it counts."""
LOOK_BACK = timedelta(days=7)


def tell_of_drift(*, drift_id: UUID) -> bool:
    """Write to whoever answers for the server. False when they were told, or when the drift is over."""
    return _tell(Drift.objects.filter(pk=drift_id)) > 0


def tell_of_drifts(*, now: datetime) -> int:
    """Every drift that is open and young, for events that got lost. Returns how many letters were written."""
    return _tell(Drift.objects.filter(created_at__gte=now - LOOK_BACK))


def _tell(drifts: QuerySet[Drift]) -> int:
    standing = drifts.filter(state=DriftState.OPEN).select_related("server__owner", "server__deputy")
    return sum(_write(drift) for drift in standing.order_by("pk"))


@transaction.atomic
def _write(drift: Drift) -> int:
    server = drift.server
    sentences = [visible(str(each["sentence"])) for each in drift.differences]
    context = {
        "drift": drift,
        "server": server,
        "sentences": sentences[:NAMED],
        "more": max(len(sentences) - NAMED, 0),
        "url": settings.BASE_URL + reverse("discovery:drift", args=[drift.pk]),
    }
    return sum(
        write_letter(
            key=f"drift {drift.pk} {person.pk}",
            template="drift",
            to=person,
            subject=_("%(server)s lists something else than was approved") % {"server": server.label},
            context=context,
        )
        for person in _concerned(drift)
    )


def _concerned(drift: Drift) -> list[User]:
    """Owner and deputy who still work here; security where nobody of them does."""
    people = [person for person in (drift.server.owner, drift.server.deputy) if person is not None and person.is_active]
    if people:
        return people
    return list(User.objects.filter(roles__contains=["security"], is_active=True).order_by("pk"))

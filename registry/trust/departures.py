"""Trust that nobody answers for any more, because its people left: it rests after a time of grace.

Somebody answers for an end when its owner is here, or, of a server, its deputy, who stands in at once. An end that
never had an owner is answered for by whoever asked. What rests is only resumed by security, also when people return.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, When
from django.utils.formats import date_format

from registry.accounts.models import User
from registry.audit.models import Event
from registry.core.actors import Actor
from registry.core.errors import RegistryError
from registry.core.permissions import require
from registry.trust.models import Connection, Grant
from registry.trust.services import suspend_relationship
from registry.trust.states import Status

DEPARTURES = Actor.system("departures of people")
_RELATED: dict[type[Any], Sequence[str]] = {
    Grant: ("agent__owner", "server__owner", "server__deputy", "requested_by"),
    Connection: ("server__owner", "server__deputy", "system__owner", "requested_by"),
}


@dataclass(frozen=True)
class Unanswered:
    """A relationship in force, whose departure leaves it without anybody, and when it comes to rest."""

    relationship: Grant | Connection
    left: User
    rests_at: datetime


def grace() -> timedelta:
    return timedelta(days=settings.LEAVER_GRACE_DAYS)


def unanswered(model: type[Grant] | type[Connection]) -> QuerySet[Any]:
    """Relationships in force that somebody's departure left alone, with `gone_id` and `gone_at`.

    Those that rested for that departure once and were resumed are left out: security decided so.
    """
    no_deputy = Q(server__deputy=None) | Q(server__deputy__is_active=False)
    server_gone = Q(server__owner__is_active=False) & no_deputy
    if model is Grant:
        asking_end, far = "agent__owner", [("server__owner", server_gone)]
    else:
        asking_end, far = "server__owner", [("system__owner", Q(system__owner__is_active=False))]
    near_gone = Q(agent__owner__is_active=False) if model is Grant else server_gone
    asker_gone = Q(**{asking_end: None}, requested_by__is_active=False)
    cases = [(asking_end, near_gone), *far, ("requested_by", asker_gone)]
    gone = Q()
    for _path, condition in cases:
        gone |= condition
    rested = Event.objects.filter(
        subject_id=OuterRef("pk"), act=f"{model._meta.model_name}.suspended", at__gte=OuterRef("gone_at")
    )
    rows = model._default_manager.filter(gone, status=Status.ACTIVE).annotate(
        gone_id=Case(*(When(condition, then=F(f"{path}_id")) for path, condition in cases)),
        gone_at=Case(*(When(condition, then=F(f"{path}__left_at")) for path, condition in cases)),
    )
    return rows.filter(gone_at__isnull=False).exclude(Exists(rested))


def _anybody_left() -> bool:
    """Asked first: where everybody is here, a million relationships need not be looked at every few minutes."""
    return User.objects.filter(is_active=False, left_at__isnull=False).exists()


def threatened(*, limit: int = 2000) -> Iterator[Unanswered]:
    """What comes to rest unless somebody takes over, so that its people hear of it before."""
    if not _anybody_left():
        return
    for model in (Grant, Connection):
        rows = list(unanswered(model).select_related(*_RELATED[model]).order_by("gone_at", "pk")[:limit])
        people = User.objects.select_related("manager").in_bulk({row.gone_id for row in rows})
        for row in rows:
            yield Unanswered(row, people[row.gone_id], row.gone_at + grace())


def rest_unanswered(*, now: datetime, limit: int = 500, actor: Actor = DEPARTURES) -> int:
    """Suspend what nobody took over within the time of grace, with the reason. Returns how many came to rest."""
    require(actor, "trust.set_conclusions")
    rested = 0
    if not _anybody_left():
        return rested
    for model in (Grant, Connection):
        due = unanswered(model).filter(gone_at__lte=now - grace())
        rows = list(due.order_by("server_id", "pk")[:limit])
        people = User.objects.in_bulk({row.gone_id for row in rows})
        for row in rows:
            reason = (
                f"{people[row.gone_id]} left on {date_format(row.gone_at, 'j F Y')}, and nobody took over within "
                f"{settings.LEAVER_GRACE_DAYS} days."
            )
            try:
                suspend_relationship(actor=actor, relationship=row, reason=reason)
            except RegistryError:
                continue  # somebody ended or suspended it a moment ago
            rested += 1
    return rested

"""Who may read which event."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from registry.audit.models import Event
from registry.core.actors import Actor
from registry.core.errors import NotFound
from registry.core.permissions import allows

Visible = Callable[[Actor], QuerySet[Any]]
LOOK = ".viewed"
"""How the act of a look ends."""


@dataclass(frozen=True)
class Kind:
    visible_to: Visible
    of_server: tuple[str, ...]
    alone: bool
    unsaid: tuple[str, ...]


_subjects: dict[str, Kind] = {}


def register_subject(
    subject_type: str,
    visible_to: Visible,
    *,
    of_server: tuple[str, ...] = (),
    alone: bool = True,
    unsaid: tuple[str, ...] = (),
) -> None:
    """An upper room says who may see its things; whoever sees a thing may read its story.

    `of_server`: look-ups from the thing to the servers it belongs to, whose story then tells of it too. A thing that is
    not `alone` has a story only there; acts that begin with one of `unsaid` are told to nobody but those who oversee.
    """
    _subjects[subject_type] = Kind(visible_to, of_server, alone, unsaid)


def events_visible_to(actor: Actor) -> QuerySet[Event]:
    """Auditors, security and administrators read everything; everybody else reads what they themselves did."""
    if allows(actor, "audit.view_all"):
        return Event.objects.all()
    if actor.user_id is None or not allows(actor, "audit.view"):
        return Event.objects.none()
    return Event.objects.filter(actor_id=actor.user_id)


def events_about(subject_type: str, subject_id: UUID) -> QuerySet[Event]:
    """The story of one thing; callers show it only to those who may see the thing."""
    return Event.objects.filter(subject_type=subject_type, subject_id=subject_id)


def story_visible_to(actor: Actor, subject_type: str, subject_id: UUID) -> QuerySet[Event]:
    """The story of one thing. Raises `NotFound` unless `actor` may see the thing, or reads everything.

    Who looked at it is for those who read everything.
    """
    if allows(actor, "audit.view_all"):
        return events_about(subject_type, subject_id)
    kind = _subjects.get(subject_type)
    if kind is None or not kind.alone or not kind.visible_to(actor).filter(pk=subject_id).exists():
        raise NotFound
    return events_about(subject_type, subject_id).exclude(act__endswith=LOOK)


def server_story_visible_to(actor: Actor, server_id: UUID) -> QuerySet[Event]:
    """Everything about a server: events of it and of whatever belongs to it, as far as `actor` sees those things.

    Raises `NotFound` unless `actor` may see the server. Looks at who read it are for those who oversee.
    """
    oversees = allows(actor, "audit.view_all")
    asks = Actor.system("audit trail") if oversees else actor
    if not _subjects["server"].visible_to(asks).filter(pk=server_id).exists():
        raise NotFound
    own = events_about("server", server_id)
    arms = [own if oversees else own.exclude(act__endswith=LOOK)]
    for subject_type, kind in _subjects.items():
        if not kind.of_server:
            continue
        belongs = Q()
        for lookup in kind.of_server:
            belongs |= Q(**{lookup: server_id})
        things = kind.visible_to(asks).filter(belongs).order_by().values("pk")
        arm = Event.objects.filter(subject_type=subject_type, subject_id__in=things)
        if not oversees:
            for beginning in kind.unsaid:
                arm = arm.exclude(act__startswith=beginning)
        arms.append(arm)
    # A union of arms, each found by the index over subjects; one condition with OR would read the whole log.
    first, *rest = [arm.order_by().values("pk") for arm in arms]
    return Event.objects.filter(pk__in=first.union(*rest, all=True))

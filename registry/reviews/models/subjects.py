"""What is reviewed: a server, a grant, a connection or an agent, and who may see a row about one of them."""

from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import Prefetch, Q
from django.utils.translation import gettext_lazy as _

from registry.catalog.models import Agent, Server, System
from registry.core.actors import Actor
from registry.trust.models import Connection, Grant, seen_by


class SubjectKind(models.TextChoices):
    SERVER = "server", _("Server")
    GRANT = "grant", _("Grant")
    CONNECTION = "connection", _("Connection")
    AGENT = "agent", _("Agent")


_SERVER, _AGENT, _SYSTEM = (
    Prefetch(name, model.objects.only(*fields))
    for name, model, fields in (
        ("server", Server, ("name", "title")), ("agent", Agent, ("name",)), ("system", System, ("name",)),
    )
)  # fmt: skip
NAMES: dict[str, Prefetch] = {
    SubjectKind.SERVER: _SERVER,
    SubjectKind.AGENT: _AGENT,
    SubjectKind.GRANT: Prefetch("grant", Grant.objects.only("agent", "server").prefetch_related(_AGENT, _SERVER)),
    SubjectKind.CONNECTION: Prefetch(
        "connection", Connection.objects.only("server", "system").prefetch_related(_SERVER, _SYSTEM)
    ),
}
"""For `prefetch_related`: what a row about a subject needs to say what it is about. Thousands may share one server."""


def exactly_one_subject(name: str) -> models.CheckConstraint:
    """The column that `kind` names is filled, the others are empty."""
    kinds = ("server", "grant", "connection", "agent")
    condition = Q()
    for kind in kinds:
        condition |= Q(kind=kind, **{f"{other}__isnull": other != kind for other in kinds})
    return models.CheckConstraint(condition=condition, name=name)


class AboutSubject(models.Model):
    """A row about one server, grant, connection or agent: the database checks that it is exactly one."""

    kind = models.CharField(max_length=10, choices=SubjectKind)
    server = models.ForeignKey(Server, models.PROTECT, related_name="%(class)ss", null=True, blank=True)
    grant = models.ForeignKey(Grant, models.PROTECT, related_name="%(class)ss", null=True, blank=True)
    connection = models.ForeignKey(Connection, models.PROTECT, related_name="%(class)ss", null=True, blank=True)
    agent = models.ForeignKey(Agent, models.PROTECT, related_name="%(class)ss", null=True, blank=True)

    class Meta:
        abstract = True

    @property
    def subject(self) -> Any:
        """The server, grant, connection or agent; which of them, says `kind`."""
        return getattr(self, self.kind)

    @property
    def subject_pk(self) -> UUID:
        pk: UUID = getattr(self, f"{self.kind}_id")
        return pk


def about(subject: UUID, prefix: str = "") -> Q:
    """Rows about one server, grant, connection or agent, whichever it is; ids are unique over all of them."""
    wanted = Q()
    for kind in SubjectKind.values:
        wanted |= Q(**{f"{prefix}{kind}": subject})
    return wanted


def about_what_is_seen_by(actor: Actor) -> Q:
    """Rows about servers and agents one may see, and about relationships of which one may see both ends.

    Not through the other rooms' `visible_to`: a token that may only read reviews still reads all of them.
    """
    agents, servers, systems = (seen_by(actor, model).values("pk") for model in (Agent, Server, System))
    return (
        Q(server__in=servers)
        | Q(grant__agent__in=agents, grant__server__in=servers)
        | Q(connection__server__in=servers, connection__system__in=systems)
        | Q(agent__in=agents)
    )

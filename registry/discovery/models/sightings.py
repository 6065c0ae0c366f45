"""Where servers were seen besides the catalog: in clients' configurations, at gateways, in other registries."""

from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.catalog.models import Server
from registry.core import clock, ids
from registry.core.actors import Actor
from registry.core.models import Record, append_only, kept_forever
from registry.core.permissions import allows
from registry.discovery.models.imports import ImportJob
from registry.discovery.states import ShadowState


class ShadowQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        """Every member sees what nobody answers for; what became a server follows the server."""
        if not allows(actor, "discovery.view"):
            return self.none()
        return self.filter(Q(server=None) | Q(server__in=Server.objects.visible_to(actor)))


class Shadow(Record):
    """A server that is used but not catalogued, known by what logs and gateways would name.

    `times` counts its sightings: one for each place and for each change there. `last_seen` also moves when nothing
    changed. Both are counted past `version`, which belongs to people's acts.
    """

    canonical_uri = models.CharField(max_length=700, unique=True)
    """Of a package without its version: the same package in two releases is one server nobody answers for."""
    label = models.CharField(max_length=200)
    transport = models.CharField(max_length=16, blank=True)
    state = models.CharField(max_length=10, choices=ShadowState, default=ShadowState.OPEN)
    server = models.ForeignKey(Server, models.PROTECT, related_name="shadows", null=True)
    first_seen = models.DateTimeField(default=clock.now)
    last_seen = models.DateTimeField(default=clock.now)
    times = models.PositiveIntegerField(default=0)
    reason = models.TextField(blank=True, max_length=2000)
    ignored_until = models.DateField(null=True)
    settled_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True)
    settled_at = models.DateTimeField(null=True)

    objects = ShadowQuerySet.as_manager()

    class Meta:
        ordering = ["-last_seen", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=~Q(state__in=["registered", "linked"]) | Q(server__isnull=False),
                name="shadow_settled_names_server",
            ),
            models.CheckConstraint(
                condition=~Q(state="ignored") | (~Q(reason="") & Q(ignored_until__isnull=False)),
                name="shadow_ignored_has_reason_and_end",
            ),
        ]
        indexes = [
            models.Index(fields=["state", "-last_seen", "-id"], name="shadow_newest"),
            models.Index(fields=["-times", "-id"], name="shadow_most_seen"),
            models.Index(fields=["ignored_until"], condition=Q(state="ignored"), name="shadow_ignored"),
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return self.label

    @property
    def is_local(self) -> bool:
        """A script or program that only those machines know: described, but with no address others would name."""
        return self.canonical_uri.startswith("local:")


class SightingQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        """Whose machine, which file, where in it a secret stands: together a map for an attack.

        So security and auditors see every sighting, whoever told one sees theirs, and who answers for a server sees
        its. Others learn from the shadow that it is used, and how often.
        """
        if not allows(actor, "discovery.view"):
            return self.none()
        visible = Server.objects.visible_to(actor)
        told = self.filter(
            Q(server=None) | Q(server__in=visible),
            Q(shadow=None) | Q(shadow__server=None) | Q(shadow__server__in=visible),
        )
        if allows(actor, "discovery.view_sightings"):
            return told
        if actor.user_id is None:
            return self.none()
        answering = Q(owner=actor.user_id) | Q(deputy=actor.user_id)
        mine = Server.objects.filter(answering).values("pk")
        return told.filter(Q(reported_by=actor.user_id) | Q(server__in=mine) | Q(shadow__server__in=mine))

    def of_server(self, server: Server) -> Self:
        """Where `server` was seen, by its own address or as a shadow that turned out to be it."""
        return self.filter(Q(server=server) | Q(shadow__server=server))

    def with_secrets(self) -> Self:
        return self.exclude(secrets=[])


class Sighting(models.Model):
    """That a server was seen in one place. Append-only; either matched to a server or behind a shadow.

    The same content at the same place, told by the same person, is the same sighting, whenever it is told again.
    """

    id = models.UUIDField(primary_key=True, default=ids.new_id, editable=False)
    job = models.ForeignKey(ImportJob, models.PROTECT, related_name="sightings", null=True)
    reported_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True)
    digest = models.CharField(max_length=64, unique=True)
    at = models.DateTimeField(default=clock.now)
    client = models.CharField(max_length=40, help_text=_("Which client's configuration, or which gateway."))
    place = models.CharField(max_length=400, help_text=_("File, project, host or person, as handed in."))
    scope = models.CharField(max_length=20, blank=True, help_text=_("system, user, project or extension"))
    entry = models.CharField(max_length=200, help_text=_("What the client calls it."))
    canonical_uri = models.CharField(max_length=700)
    identified = models.BooleanField(default=True)
    """False for a local script or shell line: it has a description but no identity others would share."""
    facts = models.JSONField(default=dict)
    """Transport, wrapper, declared inputs and references, enabled, tool filters; never a value."""
    secrets = models.JSONField(default=list)
    """Inline secrets: `[{"path", "looks", "redaction"}]`, path as a JSON pointer."""
    server = models.ForeignKey(Server, models.PROTECT, related_name="sightings", null=True)
    shadow = models.ForeignKey(Shadow, models.PROTECT, related_name="sightings", null=True)

    objects = SightingQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(server__isnull=False) | Q(shadow__isnull=False), name="sighting_is_of_something"
            )
        ]
        indexes = [
            models.Index(fields=["server", "-id"], name="sighting_of_server"),
            models.Index(fields=["shadow", "-id"], name="sighting_of_shadow"),
        ]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.entry} in {self.place}"

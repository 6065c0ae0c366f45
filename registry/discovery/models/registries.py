"""Other registries we follow, and what each of them says of each version."""

from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.catalog.models import Server
from registry.core.actors import Actor
from registry.core.models import Record, kept_forever
from registry.core.permissions import allows
from registry.discovery.models.imports import ImportJob


class RegistryQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        return self if allows(actor, "discovery.view") else self.none()


class RegistrySource(Record):
    """A registry with the official read API: `GET {base_url}/v0.1/servers`."""

    class State(models.TextChoices):
        IDLE = "idle", _("Waiting for its time")
        RUNNING = "running", _("Synchronising")
        FAILED = "failed", _("Failed; tried again")
        PAUSED = "paused", _("Paused")

    name = models.CharField(max_length=120, unique=True)
    base_url = models.URLField(max_length=500, unique=True)
    interval_minutes = models.PositiveIntegerField(default=60)
    state = models.CharField(max_length=8, choices=State, default=State.IDLE)
    state_reason = models.CharField(max_length=500, blank=True)
    due_at = models.DateTimeField(null=True)
    updated_since = models.DateTimeField(null=True, help_text=_("Everything up to here was seen."))
    cursor = models.CharField(max_length=700, blank=True, help_text=_("Where a run that was cut off goes on."))
    run_since = models.DateTimeField(null=True, help_text=_("What the run under way asked for."))
    newest_seen = models.DateTimeField(null=True)
    progressed_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    seen = models.PositiveIntegerField(default=0, help_text=_("Entries of the last run."))
    created_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True)

    objects = RegistryQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        indexes = [models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="registry_due")]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return self.name


class RegistryEntry(models.Model):
    """One version as a followed registry has it. `status` follows theirs, deletions included."""

    source = models.ForeignKey(RegistrySource, models.CASCADE, related_name="entries")
    name = models.CharField(max_length=200)
    version = models.CharField(max_length=255)
    status = models.CharField(max_length=10)
    is_latest = models.BooleanField(default=False)
    published_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(null=True)
    digest = models.CharField(max_length=64)
    job = models.ForeignKey(ImportJob, models.PROTECT, related_name="+", null=True)
    seen_at = models.DateTimeField()
    server = models.ForeignKey(Server, models.PROTECT, related_name="+", null=True)

    class Meta:
        ordering = ["name", "version"]
        constraints = [
            models.UniqueConstraint(fields=["source", "name", "version"], name="registry_entry_once_per_version")
        ]
        indexes = [models.Index(fields=["name"], name="registry_entry_by_name")]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

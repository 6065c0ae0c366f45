"""Other registries we follow, and what each of them says of each version."""

from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.core.actors import Actor
from registry.core.models import Record, kept_forever
from registry.core.permissions import allows
from registry.discovery.models.imports import ImportJob
from registry.discovery.states import SourceState


class RegistryQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        return self if allows(actor, "discovery.view") else self.none()


class RegistrySource(Record):
    """A registry with the official read API: `GET {base_url}/v0.1/servers`."""

    name = models.CharField(max_length=120, unique=True)
    base_url = models.URLField(max_length=500, unique=True)
    interval_minutes = models.PositiveIntegerField(default=60)
    makes_drafts = models.BooleanField(default=True, help_text=_("What is new or changed there becomes an import."))
    state = models.CharField(max_length=8, choices=SourceState, default=SourceState.IDLE)
    state_reason = models.CharField(max_length=500, blank=True)
    due_at = models.DateTimeField(null=True)
    updated_since = models.DateTimeField(null=True, help_text=_("Everything up to here was seen."))
    cursor = models.CharField(max_length=700, blank=True, help_text=_("Where a run that was cut off goes on."))
    run_since = models.DateTimeField(null=True, help_text=_("What the run under way asked for."))
    started_at = models.DateTimeField(null=True, help_text=_("When the run under way, or the last one, began."))
    newest_seen = models.DateTimeField(null=True)
    progressed_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    seen = models.PositiveIntegerField(default=0, help_text=_("Entries of the last run."))
    pages = models.PositiveIntegerField(default=0, help_text=_("Pages of the last run."))
    unreadable = models.PositiveIntegerField(default=0, help_text=_("Entries of the last run without name or version."))
    failures = models.PositiveSmallIntegerField(default=0, help_text=_("Attempts in a row that failed."))
    created_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True)

    objects = RegistryQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(interval_minutes__range=(15, 10080)), name="registry_interval_is_sane"),
        ]
        indexes = [models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="registry_due")]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return self.name


class RegistryEntryQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        """What another registry publishes to everybody, to all members."""
        return self if allows(actor, "discovery.view") else self.none()


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
    problem = models.CharField(max_length=500, blank=True, help_text=_("Why it cannot become a draft."))
    waiting = models.JSONField(null=True)
    """What was read of it, without any secret value, while it waits to be handed to an import."""
    job = models.ForeignKey(ImportJob, models.PROTECT, related_name="+", null=True)
    seen_at = models.DateTimeField()

    objects = RegistryEntryQuerySet.as_manager()

    class Meta:
        ordering = ["name", "version"]
        constraints = [
            models.UniqueConstraint(fields=["source", "name", "version"], name="registry_entry_once_per_version")
        ]
        indexes = [
            models.Index(fields=["name"], name="registry_entry_by_name"),
            models.Index(fields=["source"], condition=Q(waiting__isnull=False), name="registry_entry_waiting"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

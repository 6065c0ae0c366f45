"""Imports: what somebody handed in, entry by entry, with what became of each."""

from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.catalog.models import Server
from registry.core.actors import Actor
from registry.core.models import Record, append_only, kept_forever
from registry.core.permissions import allows
from registry.discovery.states import EntryKind, JobState, Outcome


class ImportJobQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        """Members see every import; a preview belongs to whoever made it."""
        if actor.is_system:
            return self
        if not allows(actor, "discovery.view"):
            return self.none()
        return self.filter(~Q(state=JobState.PREVIEW) | Q(requested_by_id=actor.user_id))


class ImportJob(Record):
    """`processed` of `total` entries have a result; the rest wait as `PendingEntry`."""

    requested_by = models.ForeignKey(User, models.PROTECT, related_name="import_jobs", null=True)
    source = models.CharField(_("source"), max_length=300, help_text=_("File names, or where it was pasted from."))
    state = models.CharField(max_length=8, choices=JobState, default=JobState.QUEUED)
    state_reason = models.TextField(blank=True, max_length=2000)
    processed = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    progressed_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = ImportJobQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(
                fields=["progressed_at"],
                condition=Q(state__in=["preview", "queued", "running"]),
                name="import_job_unfinished",
            )
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return self.source


class PendingEntry(models.Model):
    """A `plan.Planned` that waits, without any secret value. Deleted in the transaction that writes its result."""

    job = models.ForeignKey(ImportJob, models.CASCADE, related_name="pending")
    position = models.PositiveIntegerField()
    file = models.CharField(max_length=300)
    index = models.PositiveIntegerField(help_text=_("Counted from 0 in its file."))
    name = models.CharField(max_length=200, blank=True)
    kind = models.CharField(max_length=8, choices=EntryKind, default=EntryKind.SERVER)
    facts = models.JSONField(null=True)
    settled = models.CharField(max_length=8, choices=Outcome, blank=True)
    said = models.JSONField(default=list)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["job", "position"], name="pending_entry_once"),
            models.CheckConstraint(condition=~Q(settled="") | Q(facts__isnull=False), name="pending_entry_has_facts"),
        ]

    def __str__(self) -> str:
        return self.name or f"{self.file} {self.index}"


class ImportResultQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        """Of the imports one sees; a server that became confidential takes its result along.

        What a report says of clients' configurations names places of secrets: for its maker, security and auditors.
        """
        found = self
        if not (actor.is_system or allows(actor, "discovery.view_sightings")):
            of_clients = Q(shadow__isnull=False) | Q(outcome=Outcome.SEEN) | Q(job__sightings__isnull=False)
            others = self.filter(of_clients).exclude(job__requested_by=actor.user_id).order_by().values("pk")
            found = self.exclude(pk__in=others)
        return found.filter(
            Q(server=None) | Q(server__in=Server.objects.visible_to(actor)),
            job__in=ImportJob.objects.visible_to(actor),
        )


class ImportResult(models.Model):
    """What became of one entry; append-only."""

    job = models.ForeignKey(ImportJob, models.CASCADE, related_name="results")
    position = models.PositiveIntegerField()
    file = models.CharField(max_length=300)
    index = models.PositiveIntegerField()
    name = models.CharField(max_length=200, blank=True)
    outcome = models.CharField(max_length=8, choices=Outcome)
    reasons = models.JSONField(default=list)
    server = models.ForeignKey(Server, models.PROTECT, related_name="+", null=True)
    shadow = models.ForeignKey("discovery.Shadow", models.PROTECT, related_name="+", null=True)

    objects = ImportResultQuerySet.as_manager()

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["job", "position"], name="import_result_once_per_entry")]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.name}: {self.outcome}"

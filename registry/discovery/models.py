"""Imports: what somebody handed in, entry by entry, with what became of each."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.catalog.models import Server
from registry.core.models import Record, append_only, kept_forever


class ImportJob(Record):
    class State(models.TextChoices):
        QUEUED = "queued", _("Queued")
        RUNNING = "running", _("Running")
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")
        STOPPED = "stopped", _("Stopped")

    requested_by = models.ForeignKey(User, models.PROTECT, related_name="import_jobs", null=True)
    source = models.CharField(max_length=300, help_text=_("File name or where it was pasted."))
    entries = models.JSONField(default=list)
    """The parsed entries still to do, already without secret values; emptied when the job ends."""
    state = models.CharField(max_length=8, choices=State, default=State.QUEUED)
    state_reason = models.TextField(blank=True, max_length=2000)
    processed = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    progressed_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return self.source


class ImportResult(models.Model):
    """What became of one entry; append-only."""

    class Outcome(models.TextChoices):
        IMPORTED = "imported", _("Imported")
        UPDATED = "updated", _("Updated")
        SKIPPED = "skipped", _("Skipped")
        REFUSED = "refused", _("Refused")

    job = models.ForeignKey(ImportJob, models.CASCADE, related_name="results")
    position = models.PositiveIntegerField()
    name = models.CharField(max_length=300)
    outcome = models.CharField(max_length=8, choices=Outcome)
    reasons = models.JSONField(default=list)
    server = models.ForeignKey(Server, models.PROTECT, related_name="+", null=True)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["job", "position"], name="import_result_once_per_entry")]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.name}: {self.outcome}"

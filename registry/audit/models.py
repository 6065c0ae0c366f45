"""Evidence of what was done by whom. Append-only; sealed into a hash chain in batches (see `services.seal_events`)."""

from django.db import models

from registry.core import clock, ids
from registry.core.models import append_only


class Event(models.Model):
    """One act. Written in the act's transaction; never changed. `data` holds facts, never secret values."""

    class ActorKind(models.TextChoices):
        PERSON = "person"
        TOKEN = "token"  # noqa: S105 - a kind of actor
        SYSTEM = "system"
        ANONYMOUS = "anonymous"

    id = models.UUIDField(primary_key=True, default=ids.new_id, editable=False)
    at = models.DateTimeField(default=clock.now)
    actor_kind = models.CharField(max_length=10, choices=ActorKind)
    actor_id = models.UUIDField(null=True)
    actor_label = models.CharField(max_length=320)
    token_id = models.UUIDField(null=True)
    act = models.CharField(max_length=80)
    subject_type = models.CharField(max_length=40)
    subject_id = models.UUIDField()
    subject_label = models.CharField(max_length=320)
    request_id = models.CharField(max_length=64, blank=True)
    data = models.JSONField(default=dict)

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(fields=["-at", "-id"], name="event_newest"),
            models.Index(fields=["subject_type", "subject_id", "-at"], name="event_by_subject"),
            models.Index(fields=["actor_id", "-at"], name="event_by_actor"),
        ]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.act} {self.subject_label}"


class Batch(models.Model):
    """A link of the chain: `chain_hash` covers the previous batch's hash and this batch's event digests in order."""

    number = models.BigIntegerField(primary_key=True)
    sealed_at = models.DateTimeField()
    previous_hash = models.CharField(max_length=64)
    event_count = models.PositiveIntegerField()
    chain_hash = models.CharField(max_length=64, unique=True)

    class Meta:
        ordering = ["number"]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"batch {self.number}"


class Seal(models.Model):
    """The place of one event in the chain, with its digest at sealing time."""

    event = models.OneToOneField(Event, models.PROTECT, primary_key=True, related_name="seal")
    batch = models.ForeignKey(Batch, models.PROTECT, related_name="seals")
    position = models.BigIntegerField(unique=True)
    digest = models.CharField(max_length=64)

    class Meta:
        ordering = ["position"]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"event {self.position}"

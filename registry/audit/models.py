"""Evidence of what was done by whom. Append-only; sealed in batches into a Merkle tree (see `services.sealing`)."""

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
        WORKLOAD = "workload"

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
    """What was sealed at once: the log had `tree_size` entries then, and `root_hash` is the Merkle root over them.

    The root covers everything before it, so it links the batch to all earlier ones.
    """

    number = models.BigIntegerField(primary_key=True)
    sealed_at = models.DateTimeField()
    tree_size = models.BigIntegerField(unique=True)
    root_hash = models.CharField(max_length=64)

    class Meta:
        ordering = ["number"]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"batch {self.number}"


class Seal(models.Model):
    """The place of one event in the log, counted from 1, with its leaf hash at sealing time."""

    event = models.OneToOneField(Event, models.PROTECT, primary_key=True, related_name="seal")
    batch = models.ForeignKey(Batch, models.PROTECT, related_name="seals")
    position = models.BigIntegerField(unique=True)
    leaf_hash = models.CharField(max_length=64)

    class Meta:
        ordering = ["position"]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"event {self.position}"


class Subtree(models.Model):
    """The root over 256 ** tier entries. Proofs read these and at most 256 leaves instead of the whole log."""

    tier = models.PositiveSmallIntegerField()
    index = models.BigIntegerField()
    root_hash = models.CharField(max_length=64)

    class Meta:
        ordering = ["tier", "index"]
        constraints = [models.UniqueConstraint(fields=["tier", "index"], name="subtree_once")]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"subtree {self.index} of tier {self.tier}"


class LogKey(models.Model):
    """A public key of the log. It is valid until the next one begins, and never again after that."""

    key_id = models.CharField(max_length=8, primary_key=True)
    key = models.CharField(max_length=400)
    valid_from = models.DateTimeField(unique=True)

    class Meta:
        ordering = ["valid_from"]
        triggers = [append_only()]

    def __str__(self) -> str:
        return self.key_id


class Checkpoint(models.Model):
    """A signed statement of how long the log was and what its root was; `note` is the text with the signature."""

    id = models.UUIDField(primary_key=True, default=ids.new_id, editable=False)
    tree_size = models.BigIntegerField()
    root_hash = models.CharField(max_length=64)
    signed_at = models.DateTimeField(default=clock.now)
    key = models.ForeignKey(LogKey, models.PROTECT, related_name="checkpoints")
    note = models.TextField()

    class Meta:
        ordering = ["-tree_size", "-id"]
        constraints = [models.UniqueConstraint(fields=["tree_size", "key"], name="checkpoint_once_per_key")]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"checkpoint over {self.tree_size}"


class Anchor(models.Model):
    """A place outside the database that is told every checkpoint in order, and how far it was told."""

    class Kind(models.TextChoices):
        FILE = "file"
        WEBHOOK = "webhook"

    kind = models.CharField(max_length=10, choices=Kind, primary_key=True)
    told = models.ForeignKey(Checkpoint, models.PROTECT, null=True, related_name="+")
    succeeded_at = models.DateTimeField(null=True)
    failures = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=500, blank=True)
    next_at = models.DateTimeField(default=clock.now)

    def __str__(self) -> str:
        return self.kind


class Verification(models.Model):
    """One run over the whole log, and what it found."""

    id = models.UUIDField(primary_key=True, default=ids.new_id, editable=False)
    at = models.DateTimeField(default=clock.now)
    by = models.CharField(max_length=320)
    tree_size = models.BigIntegerField()
    root_hash = models.CharField(max_length=64)
    fault = models.TextField(blank=True)

    class Meta:
        ordering = ["-id"]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"verified at {self.at:%Y-%m-%d %H:%M}"

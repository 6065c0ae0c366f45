"""Evidence of what was done by whom. Append-only; sealed in batches into a Merkle tree (see `services.sealing`)."""

from contextlib import suppress

from django.db import models

from registry.audit import notes
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

    The root covers everything before it, so it links the batch to all earlier ones. `sealed_at` never lies before that
    of an earlier batch or a signature that was there: only between signatures could it be moved unseen.
    """

    number = models.BigIntegerField(primary_key=True)
    sealed_at = models.DateTimeField()
    settled = models.DateTimeField()
    """Where the next look for unsealed events begins: no evidence, only a short cut (see `services.sealing`)."""
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
    """A signed statement of how long the log was and what its root was; `note` is the text with the signature.

    `number` is 1, 2, 3 … in order of signing: ids follow the clock, and a clock can be set back.
    """

    id = models.UUIDField(primary_key=True, default=ids.new_id, editable=False)
    number = models.BigIntegerField(unique=True)
    tree_size = models.BigIntegerField()
    root_hash = models.CharField(max_length=64)
    signed_at = models.DateTimeField(default=clock.now)
    key = models.ForeignKey(LogKey, models.PROTECT, related_name="checkpoints")
    note = models.TextField()

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["tree_size", "key"], name="checkpoint_once_per_key")]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"checkpoint over {self.tree_size}"


class Anchor(models.Model):
    """A place outside the database that is told every checkpoint in order, and how far it was told.

    What it was told last is kept here whole: a row that only pointed to the checkpoint would forget it with it.
    """

    class Kind(models.TextChoices):
        FILE = "file"
        WEBHOOK = "webhook"

    kind = models.CharField(max_length=10, choices=Kind, primary_key=True)
    place = models.CharField(max_length=1000, blank=True)
    """The path of the file. Another one begins from the first checkpoint."""
    told_number = models.BigIntegerField(default=0)
    told_note = models.TextField(blank=True)
    succeeded_at = models.DateTimeField(null=True)
    failures = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=500, blank=True)
    next_at = models.DateTimeField(default=clock.now)

    def __str__(self) -> str:
        return self.kind

    @property
    def told(self) -> notes.Checkpoint | None:
        """The last checkpoint it was told; None before the first, and when the row was damaged."""
        with suppress(notes.BadNote):
            return notes.Checkpoint.parse(notes.Note.parse(self.told_note).text)
        return None


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

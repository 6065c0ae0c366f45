"""What an import may become."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from registry.core.states import Machine


class JobState(models.TextChoices):
    PREVIEW = "preview", _("Preview")
    QUEUED = "queued", _("Waiting")
    RUNNING = "running", _("Running")
    FINISHED = "finished", _("Finished")
    FAILED = "failed", _("Failed")
    STOPPED = "stopped", _("Stopped")


class EntryKind(models.TextChoices):
    """What an entry of an import is: a published description, or a line of a client's configuration."""

    SERVER = "server", _("Published server")
    SIGHTING = "sighting", _("Entry of a client's configuration")


class Outcome(models.TextChoices):
    """What became of an entry."""

    IMPORTED = "imported", _("Imported")
    UPDATED = "updated", _("Updated")
    SEEN = "seen", _("Seen")
    SKIPPED = "skipped", _("Skipped")
    REFUSED = "refused", _("Refused")


JOB = Machine(
    "import",
    {
        JobState.PREVIEW: (JobState.QUEUED, JobState.STOPPED),
        JobState.QUEUED: (JobState.RUNNING, JobState.STOPPED, JobState.FAILED),
        JobState.RUNNING: (JobState.FINISHED, JobState.STOPPED, JobState.FAILED),
        # What was not done can be taken up again; what was done is unchanged by a repetition.
        JobState.FAILED: (JobState.QUEUED, JobState.STOPPED),
    },
)
UNFINISHED = (JobState.QUEUED, JobState.RUNNING)


class ShadowState(models.TextChoices):
    OPEN = "open", _("Nobody answers for it")
    REGISTERED = "registered", _("Registered")
    LINKED = "linked", _("Linked to a server")
    IGNORED = "ignored", _("Ignored for now")


SHADOW = Machine(
    "shadow server",
    {
        ShadowState.OPEN: (ShadowState.REGISTERED, ShadowState.LINKED, ShadowState.IGNORED),
        ShadowState.IGNORED: (ShadowState.OPEN, ShadowState.REGISTERED, ShadowState.LINKED),
        # A wrong link is taken back; a server that retired while its shadow is still used leaves it open again.
        ShadowState.LINKED: (ShadowState.OPEN, ShadowState.REGISTERED),
        ShadowState.REGISTERED: (ShadowState.OPEN,),
    },
)


class SourceState(models.TextChoices):
    """What goes on with a registry that is followed."""

    IDLE = "idle", _("Waiting for its time")
    RUNNING = "running", _("Synchronising")
    FAILED = "failed", _("Failed; tried again")
    PAUSED = "paused", _("Paused")
    FULL = "full", _("Stopped at its limit")


SOURCE = Machine(
    "followed registry",
    {
        SourceState.IDLE: (SourceState.RUNNING, SourceState.PAUSED),
        SourceState.RUNNING: (SourceState.IDLE, SourceState.FAILED, SourceState.PAUSED, SourceState.FULL),
        SourceState.FAILED: (SourceState.RUNNING, SourceState.PAUSED),
        SourceState.PAUSED: (SourceState.IDLE,),
        # Somebody looks at what it holds, and at the limit, before it is read on.
        SourceState.FULL: (SourceState.IDLE, SourceState.PAUSED),
    },
)


class DriftState(models.TextChoices):
    OPEN = "open", _("Open")
    APPROVED = "approved", _("Approved: the new definitions are right")
    GONE = "gone", _("Gone: the server lists what was approved again")
    SUPERSEDED = "superseded", _("Superseded by a later one")


DRIFT = Machine(
    "drift",
    {DriftState.OPEN: (DriftState.APPROVED, DriftState.GONE, DriftState.SUPERSEDED)},
)


class ProbeState(models.TextChoices):
    QUEUED = "queued", _("Waiting")
    RUNNING = "running", _("Running")
    FINISHED = "finished", _("Finished")
    FAILED = "failed", _("Failed")


PROBE = Machine(
    "probe",
    {
        ProbeState.QUEUED: (ProbeState.RUNNING, ProbeState.FAILED),
        ProbeState.RUNNING: (ProbeState.FINISHED, ProbeState.FAILED),
    },
)


class SecretState(models.TextChoices):
    """What is known of a secret source now. Nothing moves it: it follows from looks, words and the clock."""

    VERIFIED = "verified", _("Verified")
    ATTESTED = "attested", _("Attested")
    STALE = "stale", _("Stale")
    NOT_FOUND = "not_found", _("Not found")
    DELETED = "deleted", _("Marked for deletion")
    CANNOT_CHECK = "cannot_check", _("Cannot be checked")
    NEVER = "never_checked", _("Never checked")
    NOT_NEEDED = "not_needed", _("No credential")

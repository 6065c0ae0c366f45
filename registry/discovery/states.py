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


class Outcome(models.TextChoices):
    """What became of an entry."""

    IMPORTED = "imported", _("Imported")
    UPDATED = "updated", _("Updated")
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

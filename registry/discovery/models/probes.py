"""A probe somebody asked for: it is watched while it runs, step by step."""

from typing import Any

from django.db import models
from django.db.models import Q

from registry.accounts.models import User
from registry.catalog.models import Server
from registry.core.models import Record, kept_forever
from registry.discovery.models.definitions import OfServerQuerySet, Snapshot, Watch
from registry.discovery.states import ProbeState


class Probe(Record):
    """One run over one watch, by the clock (`requested_by` is empty) or on demand."""

    server = models.ForeignKey(Server, models.PROTECT, related_name="probes")
    watch = models.ForeignKey(Watch, models.PROTECT, related_name="probes")
    requested_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True)
    state = models.CharField(max_length=8, choices=ProbeState, default=ProbeState.QUEUED)
    steps = models.JSONField(default=list)
    """`[{"at", "said", "outcome": "doing|pass|warn|fail"}]`: the live log."""
    progressed_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    snapshot = models.OneToOneField(Snapshot, models.PROTECT, related_name="probe", null=True)

    objects: Any = OfServerQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["watch"], condition=Q(state__in=["queued", "running"]), name="probe_once_at_a_time"
            )
        ]
        indexes = [models.Index(fields=["server", "-id"], name="probe_newest")]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"{self.server}: {self.get_state_display()}"

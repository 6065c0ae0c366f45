"""Roles that need a second person, and roles taken for a few hours in an emergency."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _

from registry.accounts.models.people import Role, User
from registry.core import clock
from registry.core.models import Record, kept_forever

POWERFUL = (Role.SECURITY, Role.AUDITOR, Role.ADMINISTRATOR)
"""Whoever has one of these oversees the others; nobody gives or takes one alone."""


class RoleProposal(Record):
    """Roles that one person wants somebody to have and another has to confirm."""

    class State(models.TextChoices):
        PROPOSED = "proposed", _("Proposed")
        CONFIRMED = "confirmed", _("Confirmed")
        REFUSED = "refused", _("Refused")
        WITHDRAWN = "withdrawn", _("Withdrawn")

    user = models.ForeignKey(User, models.PROTECT, related_name="role_proposals")
    roles = ArrayField(models.CharField(max_length=20, choices=Role), help_text=_("What they would have by hand."))
    proposed_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    state = models.CharField(max_length=10, choices=State, default=State.PROPOSED)
    decided_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["user"], condition=models.Q(state="proposed"), name="role_proposal_once_per_person"
            )
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"Roles of {self.user}"

    @property
    def interested(self) -> Mapping[str, UUID | None]:
        return {"gets these roles": self.user_id, "proposed these roles": self.proposed_by_id}


class ElevationQuerySet(models.QuerySet["Elevation"]):
    def open(self, now: datetime) -> "ElevationQuerySet":
        return self.filter(ended_at=None, ends_at__gt=now)


class Elevation(Record):
    """Break-glass: a role somebody took for a few hours, with a reason, until it ended and somebody else looked."""

    user = models.ForeignKey(User, models.PROTECT, related_name="elevations")
    role = models.CharField(max_length=20, choices=Role)
    reason = models.CharField(max_length=500)
    started_at = models.DateTimeField()
    ends_at = models.DateTimeField(help_text=_("When it ends by itself."))
    ended_at = models.DateTimeField(null=True, blank=True, help_text=_("When it ended."))
    ended_by = models.ForeignKey(
        User, models.PROTECT, related_name="+", null=True, blank=True, help_text=_("Empty: it ran out.")
    )
    reviewed_at = models.DateTimeField(null=True, blank=True)
    reviewed_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    finding = models.CharField(max_length=500, blank=True, help_text=_("What whoever reviewed it found."))
    told_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ElevationQuerySet.as_manager()

    class Meta:
        ordering = ["-started_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["user"], condition=models.Q(ended_at=None), name="elevation_one_at_a_time"),
            models.CheckConstraint(condition=models.Q(ends_at__gt=models.F("started_at")), name="elevation_ends"),
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"{self.get_role_display()} for {self.user}"

    @property
    def interested(self) -> Mapping[str, UUID | None]:
        return {"took this role": self.user_id}

    @property
    def is_open(self) -> bool:
        return self.ended_at is None and self.ends_at > clock.now()

    @property
    def until(self) -> datetime:
        """The end of what was done in it."""
        return self.ended_at or min(self.ends_at, clock.now())

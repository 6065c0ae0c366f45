"""What a signed reduce or revoke brings about, until it is seen to have taken effect, or excepted."""

from typing import Any

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.core.models import Record, append_only, kept_forever
from registry.reviews.models.decisions import Decision
from registry.reviews.models.items import Item
from registry.reviews.states import RemediationState


class Remediation(Record):
    """What a signed reduce, revoke or return has to bring about, until it is verified."""

    class Kind(models.TextChoices):
        REDUCE = "reduce", _("Reduce")
        REVOKE = "revoke", _("Revoke")

    item = models.OneToOneField(Item, models.PROTECT, related_name="remediation")
    decision = models.ForeignKey(
        Decision,
        models.PROTECT,
        related_name="remediations",
        null=True,
        help_text=_("Empty when the clock decided: nobody answered."),
    )
    kind = models.CharField(max_length=8, choices=Kind)
    state = models.CharField(max_length=14, choices=RemediationState, default=RemediationState.PLANNED)
    channel = models.CharField(max_length=20, default="registry")
    channel_reference = models.CharField(max_length=300, blank=True)
    kept = models.JSONField(default=list, blank=True)
    """What a reduction keeps, as in `Decision.kept`, once all reviewers' answers are one."""
    attempts = models.PositiveIntegerField(default=0)
    challenge_until = models.DateTimeField(null=True, blank=True)
    dispatched_at = models.DateTimeField(null=True, blank=True)
    verify_by = models.DateTimeField(null=True, blank=True)
    """Without an independent observation until then it is NOT_VERIFIED: the tier's window."""
    reported_at = models.DateTimeField(null=True, blank=True)
    verified_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["created_at", "id"]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"{self.kind} {self.item}"


class Verification(models.Model):
    """An independent observation that a remediation took effect, or did not; append-only."""

    class Source(models.TextChoices):
        ATTESTATION = "attestation", _("A second person looked")
        DISCOVERY = "discovery", _("Discovery")
        ACTIVITY = "activity", _("Activity log")
        REGISTRY = "registry", _("The registry's own records")

    remediation = models.ForeignKey(Remediation, models.PROTECT, related_name="verifications")
    source = models.CharField(max_length=12, choices=Source)
    confirmed = models.BooleanField()
    observed_at = models.DateTimeField()
    proof = models.TextField(max_length=2000)
    by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True)

    class Meta:
        ordering = ["observed_at", "id"]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.source} {self.remediation}"


class Challenge(Record):
    """Somebody concerned objects before something is taken away."""

    remediation = models.ForeignKey(Remediation, models.PROTECT, related_name="challenges")
    by = models.ForeignKey(User, models.PROTECT, related_name="+")
    reason = models.TextField(max_length=2000)
    upheld = models.BooleanField(null=True, blank=True)
    decided_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    answer = models.TextField(blank=True, max_length=2000)

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["remediation"], condition=Q(upheld=None), name="challenge_open_once_per_remediation"
            ),
            models.CheckConstraint(
                condition=Q(upheld=None, decided_by=None, decided_at=None)
                | Q(upheld__isnull=False, decided_by__isnull=False, decided_at__isnull=False),
                name="challenge_decided_by_somebody",
            ),
            models.CheckConstraint(
                condition=Q(decided_by=None) | ~Q(decided_by=F("by")), name="challenge_decided_by_somebody_else"
            ),
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"{self.by} objects to {self.remediation}"


class ExceptionRecord(Record):
    """Access that should be gone is kept for a time: with a reason, a compensating control and an approver."""

    remediation = models.ForeignKey(Remediation, models.PROTECT, related_name="exceptions")
    reason = models.TextField(max_length=2000)
    compensating_control = models.TextField(max_length=2000)
    requested_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    approver = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    approved_at = models.DateTimeField(null=True, blank=True)
    refused_because = models.TextField(blank=True, max_length=2000)
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_because = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(approver=None) | ~Q(approver=F("requested_by")), name="exception_approved_by_somebody_else"
            ),
            models.UniqueConstraint(
                fields=["remediation"], condition=Q(ended_at=None), name="exception_open_once_per_remediation"
            ),
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"Exception from {self.remediation}"

    @property
    def interested(self) -> dict[str, Any]:
        return {"asked for it": self.requested_by_id, **self.remediation.item.interested}

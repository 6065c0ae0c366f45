"""What a signed reduce or revoke brings about, until it is seen to have taken effect, or excepted."""

from typing import Any, Self
from uuid import UUID

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.core.actors import Actor
from registry.core.models import Record, append_only, kept_forever
from registry.reviews.models.decisions import Decision, answer_word
from registry.reviews.models.items import Item
from registry.reviews.states import RemediationState


class RemediationQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        """As visible as the item it follows from."""
        return self.filter(item__in=Item.objects.visible_to(actor))


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
    reason = models.TextField(blank=True, max_length=2000)
    """Of the decision, or of the clock."""
    kept = models.JSONField(default=list, blank=True)
    """What a reduction keeps, as in `Decision.kept`, once all reviewers' answers are one."""
    certify_until = models.DateTimeField(null=True, blank=True)
    """Until when what a reduction leaves is certified: fixed by the signature, however late it is carried out."""
    remains = models.UUIDField(null=True, blank=True)
    """The narrower version a reduction has left; empty while it is not carried out, and for a revocation."""
    challenge_until = models.DateTimeField(null=True, blank=True)

    channel = models.CharField(max_length=20, default="registry")
    """Who has to act besides the registry itself: a name of `executors.channels()`."""
    channel_reference = models.CharField(max_length=300, blank=True)
    """Ticket or change id the channel or a person gave; proves nothing by itself."""
    instruction = models.TextField(blank=True, max_length=2000)
    """What somebody outside has to do, in words."""
    round = models.PositiveIntegerField(default=0)
    """How often it was dispatched; one round is one errand of the channel, however often it is tried."""
    attempts = models.PositiveIntegerField(default=0)
    """How often the channel was asked in this round."""
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    """When the sweep asks the channel (again); empty while it has the errand, or none has to be asked."""
    failure = models.CharField(max_length=300, blank=True)
    """Why the last attempt failed; empty once one succeeded."""
    dispatched_at = models.DateTimeField(null=True, blank=True)
    told_at = models.DateTimeField(null=True, blank=True, editable=False)
    """When those whose access went heard of it afterwards, where they had no time to object before."""
    reported_at = models.DateTimeField(null=True, blank=True)
    """When it was said to be done: only what is seen later can verify it."""
    verify_by = models.DateTimeField(null=True, blank=True)
    """Without an independent observation until then it is NOT_VERIFIED: the tier's window."""
    verified_at = models.DateTimeField(null=True, blank=True)

    objects = RemediationQuerySet.as_manager()

    class Meta:
        ordering = ["created_at", "id"]
        indexes = [models.Index(fields=["state", "next_attempt_at"], name="remediation_by_state")]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"{self.kind} {self.item}"

    @property
    def interested(self) -> dict[str, UUID | None]:
        """Who may not judge how it ends: the people of the subject. Deciders are asked apart, there may be several.

        Not the campaign's owner, who decides no items but answers for what becomes of them.
        """
        return dict(self.item.subject.interested)

    @property
    def errand(self) -> str:
        """Names this round for a channel: asked twice under the same name, it has to be done once."""
        return f"{self.pk}:{self.round}"

    @property
    def suspends(self) -> bool:
        return bool(answer_word(self.item.kind, self.kind))

    @property
    def word(self) -> str:
        """What is done, as whoever decided it read it: a server is suspended, not revoked."""
        return answer_word(self.item.kind, self.kind) or str(self.get_kind_display())


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
        constraints = [
            models.UniqueConstraint(
                fields=["remediation", "source", "observed_at", "confirmed"], name="verification_told_once"
            )
        ]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.source} {self.remediation}"


class ChallengeQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        return self.filter(remediation__in=Remediation.objects.visible_to(actor))


class Challenge(Record):
    """Somebody concerned objects before something is taken away."""

    remediation = models.ForeignKey(Remediation, models.PROTECT, related_name="challenges")
    by = models.ForeignKey(User, models.PROTECT, related_name="+")
    reason = models.TextField(max_length=2000)
    upheld = models.BooleanField(null=True, blank=True)
    decided_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    answer = models.TextField(blank=True, max_length=2000)

    objects = ChallengeQuerySet.as_manager()

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

    @property
    def interested(self) -> dict[str, UUID | None]:
        return {"objected": self.by_id, **self.remediation.interested}


class ExceptionQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        return self.filter(remediation__in=Remediation.objects.visible_to(actor))

    def in_force(self) -> Self:
        return self.filter(approved_at__isnull=False, ended_at=None)


class ExceptionRecord(Record):
    """Access that should be gone is kept for a time: with a reason, a compensating control and an approver."""

    remediation = models.ForeignKey(Remediation, models.PROTECT, related_name="exceptions")
    reason = models.TextField(max_length=2000)
    compensating_control = models.TextField(max_length=2000)
    requested_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    approver = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    """Who approved or refused it."""
    approved_at = models.DateTimeField(null=True, blank=True)
    refused_because = models.TextField(blank=True, max_length=2000)
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_because = models.CharField(max_length=300, blank=True)

    objects = ExceptionQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(approver=None) | ~Q(approver=F("requested_by")), name="exception_approved_by_somebody_else"
            ),
            models.CheckConstraint(
                condition=Q(approved_at=None) | Q(approver__isnull=False), name="exception_approved_by_somebody"
            ),
            models.CheckConstraint(condition=Q(ended_at=None) | ~Q(ended_because=""), name="exception_end_has_reason"),
            models.UniqueConstraint(
                fields=["remediation"], condition=Q(ended_at=None), name="exception_open_once_per_remediation"
            ),
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"Exception from {self.remediation}"

    @property
    def interested(self) -> dict[str, UUID | None]:
        return {"asked for it": self.requested_by_id, **self.remediation.interested}

    @property
    def state(self) -> str:
        """For lists: `requested`, `active`, `refused`, or how it ended."""
        if self.ended_at is None:
            return "active" if self.approved_at else "requested"
        if self.refused_because:
            return "refused"
        return "closed" if self.approved_at else "withdrawn"

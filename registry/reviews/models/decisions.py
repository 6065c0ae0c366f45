"""Answers, signatures, and how carefully the answers were given."""

from typing import Any, Self

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.core.actors import Actor
from registry.core.models import Record, append_only
from registry.core.permissions import allows
from registry.reviews.models.campaigns import Campaign
from registry.reviews.models.items import WorkItem
from registry.reviews.models.subjects import SubjectKind


def answer_word(kind: str, value: str) -> str:
    """What an answer is called where the usual word misleads: a server is suspended, not revoked. Else empty."""
    return gettext("Suspend") if kind in (SubjectKind.SERVER, SubjectKind.AGENT) and value == "revoke" else ""


class SignOff(Record):
    """A reviewer's signature under a set of decisions, or the owner's under the whole campaign."""

    class Kind(models.TextChoices):
        REVIEWER = "reviewer", _("Reviewer")
        CAMPAIGN = "campaign", _("Campaign owner")
        AUDITOR = "auditor", _("Auditor, accepting the result")

    kind = models.CharField(max_length=8, choices=Kind, default=Kind.REVIEWER)
    campaign = models.ForeignKey(Campaign, models.PROTECT, related_name="sign_offs")
    reviewer = models.ForeignKey(User, models.PROTECT, related_name="sign_offs")
    stage = models.PositiveSmallIntegerField(default=1)
    decisions_root = models.CharField(max_length=64)
    """SHA-256 over the canonical JSON of the signed decisions ordered by id; of the reviewers' roots for a campaign."""
    decision_count = models.PositiveIntegerField()
    statement = models.TextField()
    auth_method = models.CharField(max_length=40)
    at = models.DateTimeField()

    class Meta:
        ordering = ["-at"]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.reviewer} signed {self.decision_count} in {self.campaign}"


class Decision(Record):
    """A reviewer's answer. Editable while unsigned; immutable once signed."""

    class Value(models.TextChoices):
        CERTIFY = "certify", _("Certify")
        CERTIFY_REDUCED = "certify_reduced", _("Reduce")
        CERTIFY_UNTIL = "certify_until", _("Certify until")
        REVOKE = "revoke", _("Revoke")
        RETURN = "return", _("Return with reasons")  # intake only
        NOT_DECIDED = "not_decided", _("Not sure")
        # A recusal decides nothing: it is a WorkItemMove.

    work_item = models.ForeignKey(WorkItem, models.PROTECT, related_name="decisions")
    value = models.CharField(max_length=16, choices=Value)
    kept = ArrayField(models.CharField(max_length=200), default=list, blank=True)
    """What a reduction keeps: tools of a grant, scopes of a connection (or its lower access level as `access:read`)."""
    until = models.DateField(null=True, blank=True)
    reason = models.TextField(blank=True, max_length=4000)
    evidence_hash = models.CharField(max_length=64)
    opened_evidence_at = models.DateTimeField(null=True, blank=True)
    decided_at = models.DateTimeField()
    decided_ms = models.PositiveIntegerField(default=0)
    bulk_id = models.UUIDField(null=True, blank=True)
    first_value = models.CharField(max_length=16, choices=Value, blank=True)
    """What they answered before the recommendation was shown; empty where it was shown from the start."""
    recommended = models.CharField(max_length=16, choices=Value, blank=True)
    """What was recommended on the evidence they saw."""
    signed_at = models.DateTimeField(null=True, blank=True)
    sign_off = models.ForeignKey(SignOff, models.PROTECT, related_name="decisions", null=True, blank=True)
    supersedes = models.OneToOneField(
        "self", models.PROTECT, related_name="superseded_by", null=True, blank=True, editable=False
    )

    class Meta:
        ordering = ["decided_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["work_item"], condition=Q(signed_at=None), name="decision_one_draft_per_work_item"
            ),
            models.CheckConstraint(
                condition=Q(value="certify_reduced", kept__len__gt=0) | (~Q(value="certify_reduced") & Q(kept__len=0)),
                name="decision_keeps_something_iff_reduced",
            ),
            models.CheckConstraint(
                condition=Q(value="certify_until", until__isnull=False) | (~Q(value="certify_until") & Q(until=None)),
                name="decision_until_iff_time_boxed",
            ),
            models.CheckConstraint(
                condition=Q(signed_at=None, sign_off=None) | Q(signed_at__isnull=False, sign_off__isnull=False),
                name="decision_signed_with_sign_off",
            ),
            models.CheckConstraint(
                condition=~Q(value__in=["revoke", "return", "certify_reduced"]) | ~Q(reason=""),
                name="decision_that_takes_away_has_reason",
            ),
        ]
        triggers = [
            pgtrigger.Protect(
                name="signed_is_final",
                operation=pgtrigger.Update | pgtrigger.Delete,
                condition=pgtrigger.Q(old__signed_at__isnull=False),
            ),
            # Answers and signatures after the deadline are refused, never accepted (invariant 7).
            pgtrigger.Trigger(
                name="answer_is_in_time",
                operation=pgtrigger.Insert | pgtrigger.Update,
                when=pgtrigger.Before,
                func="""
                    IF EXISTS (
                        SELECT FROM reviews_workitem work JOIN reviews_item item ON item.id = work.item_id
                        WHERE work.id = NEW.work_item_id AND GREATEST(NEW.decided_at, NEW.signed_at) > item.due_at
                    ) THEN
                        RAISE EXCEPTION 'the deadline of this item has passed';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]
        # A person's pace is measured from their last answer: found by walking back from the newest.
        indexes = [models.Index(fields=["-decided_at"], name="decision_newest")]

    def __str__(self) -> str:
        return f"{self.value} {self.work_item.item}"

    @property
    def word(self) -> str:
        """What this answer is called, as its reviewer read it."""
        return answer_word(self.work_item.item.kind, self.value) or str(self.Value(self.value).label)


class UnfinishedAnswer(models.Model):
    """What a reviewer has chosen and typed but not saved: it outlives the page and the session, and counts nowhere.

    No `Decision`, no version, no history: saving replaces it, and the database forgets it when the work item is closed
    or goes to somebody else (trigger of `WorkItem`).
    """

    work_item = models.OneToOneField(WorkItem, models.CASCADE, primary_key=True, related_name="unfinished")
    value = models.CharField(max_length=16, choices=Decision.Value, blank=True)
    kept = ArrayField(models.CharField(max_length=200), null=True, blank=True)
    """What the switches keep: empty with everything switched off, None where nobody touched them."""
    until = models.DateField(null=True, blank=True)
    reason = models.TextField(blank=True, max_length=4000)
    evidence_hash = models.CharField(max_length=64)
    """The evidence it was given on. On other evidence the words still help, the choice does not."""
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.work_item_id} at {self.at:%H:%M}"


class FirstChoice(models.Model):
    """What a reviewer of a high-risk item answered before they could see what the rules recommend; append-only.

    A row of its own, because the draft that said it may be edited, taken back or discarded, and because the item may
    go to somebody else or be seen on newer facts: each of these is a first choice again.
    """

    work_item = models.ForeignKey(WorkItem, models.PROTECT, related_name="first_choices")
    reviewer = models.ForeignKey(User, models.PROTECT, related_name="+")
    evidence_hash = models.CharField(max_length=64)
    value = models.CharField(max_length=16, choices=Decision.Value)
    at = models.DateTimeField()

    class Meta:
        ordering = ["at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["work_item", "reviewer", "evidence_hash"], name="first_choice_once_per_evidence"
            )
        ]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.value} first for {self.work_item}"


class QualityVerdictQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        """One's own, those of one's campaigns, and those of the campaigns one sees for who runs campaigns by
        their role, and all for those who oversee."""
        if not allows(actor, "reviews.view"):
            return self.none()
        if actor.is_system or allows(actor, "reviews.view_all"):
            return self
        theirs = Q(reviewer=actor.user_id) | Q(campaign__owner=actor.user_id)
        if allows(actor, "reviews.view_quality"):
            theirs |= Q(campaign__in=Campaign.objects.visible_to(actor))
        return self.filter(theirs)


class QualityVerdict(models.Model):
    """How carefully a reviewer decided, measured when they are about to sign exactly these drafts; append-only."""

    class Verdict(models.TextChoices):
        GREEN = "green", _("Careful")
        AMBER = "amber", _("Worth a look")
        RED = "red", _("A second person must confirm")

    campaign = models.ForeignKey(Campaign, models.PROTECT, related_name="verdicts")
    reviewer = models.ForeignKey(User, models.PROTECT, related_name="verdicts")
    stage = models.PositiveSmallIntegerField(default=1)
    drafts_digest = models.CharField(max_length=64)
    metrics = models.JSONField()
    verdict = models.CharField(max_length=5, choices=Verdict)
    reasons = models.JSONField(default=list)
    at = models.DateTimeField()

    objects = QualityVerdictQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["campaign", "reviewer", "stage", "drafts_digest"], name="quality_verdict_once_per_set_of_drafts"
            )
        ]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.verdict} for {self.reviewer} in {self.campaign}"

    @property
    def interested(self) -> dict[str, Any]:
        return {"made these decisions": self.reviewer_id}


class QualityConfirmation(models.Model):
    """A second person has looked at a red set of decisions and lets it be signed, with a reason; append-only."""

    verdict = models.OneToOneField(QualityVerdict, models.PROTECT, related_name="confirmation")
    by = models.ForeignKey(User, models.PROTECT, related_name="+")
    reason = models.TextField(max_length=2000)
    at = models.DateTimeField()

    class Meta:
        ordering = ["-at", "-id"]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.verdict}, confirmed by {self.by}"

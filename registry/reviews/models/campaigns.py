"""A campaign, what was in scope when it started, and what set a micro-certification off."""

from typing import Any, Self

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.core.actors import Actor
from registry.core.models import Record, kept_forever
from registry.core.permissions import allows
from registry.reviews.models.setup import Template
from registry.reviews.models.subjects import AboutSubject, exactly_one_subject
from registry.reviews.states import CampaignState


class CampaignQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        """Recertification is everyone's business; an intake or a micro-certification is as visible as its subjects."""
        if not allows(actor, "reviews.view"):
            return self.none()
        if actor.is_system or allows(actor, "reviews.view_all"):
            return self
        from registry.reviews.models.items import Item

        mine = Item.objects.filter(campaign=OuterRef("pk")).visible_to(actor)
        return self.filter(~Q(kind__in=[Campaign.Kind.INTAKE, Campaign.Kind.MICRO]) | Exists(mine))


class Campaign(Record):
    class Kind(models.TextChoices):
        PERIODIC = "periodic", _("Campaign")
        INTAKE = "intake", _("Intake review")
        MICRO = "micro", _("Micro-certification")

    kind = models.CharField(max_length=10, choices=Kind, default=Kind.PERIODIC)
    template = models.ForeignKey(Template, models.PROTECT, related_name="campaigns", null=True, blank=True)
    name = models.CharField(max_length=160)
    period = models.CharField(max_length=40, help_text=_("What it covers, for example 2026-Q4."))
    scope = models.JSONField(default=dict)
    """What the template said at launch: `{"kinds", "filter", "rolling"}`; `scope_hash` is its digest."""
    stages = models.JSONField(default=list, blank=True)
    """The stages as the template had them at launch, frozen so that an interrupted launch goes on to choose exactly
    whom it would have chosen: `[{"position", "name", "reviewer_rule", "fallback": [rule], "group": id or null,
    "pools": {rule: [[user id, open work items], …]}, "reviewers_per_item", "strategy", "duration_days"}, …]`."""
    stage = models.PositiveSmallIntegerField(default=1)
    """The stage that is under review, or was last."""
    ladder = models.JSONField(default=dict, blank=True)
    """Rungs by tier as they were at launch: `{tier: [{"day": n, "act": "remind"|"deputy"|"escalate"|"suspend"|
    "lapse"|"revoke"}, …]}`; days count from the stage's deadline `due_at`."""
    challenge_days = models.PositiveSmallIntegerField(default=0)
    grouping = models.CharField(max_length=6, choices=Template.Grouping, default=Template.Grouping.SERVER)
    scope_hash = models.CharField(max_length=64)
    population_hash = models.CharField(max_length=64, blank=True)
    instructions = models.TextField(blank=True, max_length=4000)
    state = models.CharField(max_length=26, choices=CampaignState, default=CampaignState.DRAFT)
    state_reason = models.TextField(blank=True, max_length=2000)
    owner = models.ForeignKey(User, models.PROTECT, related_name="campaigns", null=True)
    due_at = models.DateTimeField()
    """The deadline of the present stage."""
    launched_at = models.DateTimeField(null=True, blank=True)
    progressed_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    processed = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)

    objects = CampaignQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["template", "period", "scope_hash"],
                condition=~Q(state="cancelled") & Q(template__isnull=False),
                name="campaign_once_per_template_period_and_scope",
            )
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return self.name


class PopulationEntry(AboutSubject):
    """One subject that was in scope at the launch instant. It became an item, or says why not."""

    campaign = models.ForeignKey(Campaign, models.PROTECT, related_name="population")
    position = models.PositiveIntegerField()
    excluded_because = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["campaign", "position"]
        constraints = [
            models.UniqueConstraint(fields=["campaign", "position"], name="population_position_once"),
            exactly_one_subject("population_entry_about_one_subject"),
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"{self.position}. {self.subject}"


class Trigger(Record, AboutSubject):
    """Something happened that calls for a review now. Sweeps gather open triggers into micro-certifications.

    One that meets an open item of the same subject is absorbed by it (invariant 15).
    """

    class Cause(models.TextChoices):
        FACTS_CHANGED = "facts_changed", _("The certified facts changed")
        OWNER_LEFT = "owner_left", _("The owner left")
        TIER_ROSE = "tier_rose", _("The tier rose")
        EXCEPTION_EXPIRED = "exception_expired", _("An exception expired")
        REGRESSED = "regressed", _("Removed access was seen again")
        CHALLENGE_UPHELD = "challenge_upheld", _("An objection was upheld")
        RESTORED = "restored", _("Suspended access was restored")
        BY_HAND = "by_hand", _("Asked for by a person")

    cause = models.CharField(max_length=20, choices=Cause)
    detail = models.CharField(max_length=300, blank=True)
    handled_at = models.DateTimeField(null=True, blank=True)
    campaign = models.ForeignKey(Campaign, models.PROTECT, related_name="triggers", null=True, blank=True)
    absorbed_by = models.ForeignKey("reviews.Item", models.PROTECT, related_name="triggers", null=True, blank=True)

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            exactly_one_subject("trigger_about_one_subject"),
            *(
                models.UniqueConstraint(
                    fields=[kind, "cause"],
                    condition=Q(kind=kind, handled_at=None),
                    name=f"trigger_open_once_per_{kind}_and_cause",
                )
                for kind in ("server", "grant", "connection", "agent")
            ),
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"{self.get_cause_display()}: {self.subject}"

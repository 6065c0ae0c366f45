"""A campaign, what was in scope when it started, and what set a micro-certification off."""

from typing import Any, Self
from uuid import UUID

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.catalog.models import Agent, Server
from registry.core.actors import Actor
from registry.core.models import Record, append_only, kept_forever
from registry.core.permissions import allows
from registry.reviews.models.setup import Template
from registry.reviews.models.subjects import AboutSubject, SubjectKind, about_what_is_seen_by, exactly_one_subject
from registry.reviews.states import CampaignState
from registry.trust.models import Connection, Grant


class CampaignQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        """Recertification is everyone's business; an intake or a micro-certification is as visible as its subjects."""
        if not allows(actor, "reviews.view"):
            return self.none()
        if actor.is_system or allows(actor, "reviews.view_all"):
            return self
        from registry.reviews.models.items import Item

        mine = Item.objects.filter(campaign=OuterRef("pk")).visible_to(actor)
        return self.filter(Q(kind=Campaign.Kind.PERIODIC) | Exists(mine))

    def one_visible_to(self, actor: Actor, pk: UUID) -> Any | None:
        """That campaign, if `visible_to` shows it; its items are asked about only where it depends on them."""
        if not allows(actor, "reviews.view"):
            return None
        found = self.filter(pk=pk).first()
        if found is None or found.kind == Campaign.Kind.PERIODIC:
            return found
        return self.visible_to(actor).filter(pk=pk).first()


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
    told_stage = models.PositiveSmallIntegerField(default=0, editable=False)
    """The last stage whose reviewers have a mail that it waits for them; 0 before the start."""
    ladder = models.JSONField(default=dict, blank=True)
    """Rungs by tier as they were at launch: `{tier: [{"day": n, "act": "remind"|"deputy"|"escalate"|"suspend"|
    "lapse"|"revoke"}, …]}`; days count from the stage's deadline `due_at`."""
    challenge_days = models.PositiveSmallIntegerField(default=0)
    grouping = models.CharField(max_length=6, choices=Template.Grouping, default=Template.Grouping.SERVER)
    scope_hash = models.CharField(max_length=64)
    population_hash = models.CharField(max_length=64, blank=True)
    instructions = models.TextField(blank=True, max_length=4000)
    cadence_days = models.PositiveIntegerField(null=True)
    risk_analysis = models.TextField(blank=True, max_length=4000)
    """How often its template ran and why that was held to be enough, as written at launch (PCI DSS 7.2.5.1)."""
    state = models.CharField(max_length=26, choices=CampaignState, default=CampaignState.DRAFT)
    state_reason = models.TextField(blank=True, max_length=2000)
    owner = models.ForeignKey(User, models.PROTECT, related_name="campaigns", null=True)
    interim_for = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    """Who owned it and left, while `owner` runs it in the interim."""
    due_at = models.DateTimeField()
    """The deadline of the present stage."""
    launched_at = models.DateTimeField(null=True, blank=True)
    progressed_at = models.DateTimeField(null=True, blank=True)
    facts_checked_at = models.DateTimeField(null=True, blank=True)
    """When every item was last compared with the present facts; the launch gate wants that to be recent."""
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
        triggers = [
            kept_forever(),
            pgtrigger.Protect(
                name="population_hash_is_final",
                operation=pgtrigger.Update,
                condition=pgtrigger.Condition(
                    "OLD.population_hash <> '' AND OLD.population_hash IS DISTINCT FROM NEW.population_hash"
                ),
            ),
            # What the launch gate and the end of remediation ask, asked once more where nobody gets around it.
            pgtrigger.Trigger(
                name="nobody_is_left_unasked",
                operation=pgtrigger.Update,
                when=pgtrigger.Before,
                condition=pgtrigger.Q(old__state="staged", new__state="active"),
                func="""
                    IF NOT EXISTS (SELECT FROM reviews_item WHERE campaign_id = NEW.id)
                    OR EXISTS (SELECT FROM reviews_item WHERE campaign_id = NEW.id AND state = 'pending') THEN
                        RAISE EXCEPTION 'a campaign starts with items, and with a reviewer for each';
                    END IF;
                    RETURN NEW;
                """,
            ),
            pgtrigger.Trigger(
                name="completed_is_settled",
                operation=pgtrigger.Update,
                when=pgtrigger.Before,
                condition=pgtrigger.Condition(
                    "OLD.state <> NEW.state AND NEW.state IN ('completed', 'completed_with_exceptions')"
                ),
                func="""
                    IF EXISTS (
                        SELECT FROM reviews_item
                        WHERE campaign_id = NEW.id AND state IN (
                            'pending', 'in_review', 'escalated', 'invalidated', 'decided', 'signed'
                        )
                    ) THEN
                        RAISE EXCEPTION 'a campaign is completed once every item has its outcome';
                    END IF;
                    IF EXISTS (
                        SELECT FROM reviews_remediation remediation
                        JOIN reviews_item item ON item.id = remediation.item_id
                        WHERE item.campaign_id = NEW.id
                          AND remediation.state NOT IN ('verified', 'exception', 'withdrawn')
                    ) THEN
                        RAISE EXCEPTION 'a campaign is completed once every remediation is verified or excepted';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.name


def _copied(model: type[models.Model], related_name: str = "%(class)ss", *, null: bool = True) -> Any:
    """A reference the database need not check or index: a launch copies a hundred thousand of them from the very rows
    they name, these rows are never deleted, and the population is read by its place in its campaign only.
    """
    return models.ForeignKey(
        model, models.PROTECT, related_name=related_name, null=null, blank=null, db_index=False, db_constraint=False
    )


class PopulationQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        """All of it for who oversees and for the campaign's owner, who answers for its being complete; for everybody
        else, those who manage campaigns by their role included, what they may see anyhow."""
        if not allows(actor, "reviews.view"):
            return self.none()
        if actor.is_system or allows(actor, "reviews.view_all"):
            return self
        return self.filter(Q(campaign__owner_id=actor.user_id) | about_what_is_seen_by(actor))


class PopulationEntry(AboutSubject):
    """One subject that was in scope at the launch instant. It became an item, or says why not."""

    server = _copied(Server)
    grant = _copied(Grant)
    connection = _copied(Connection)
    agent = _copied(Agent)
    campaign = _copied(Campaign, "population", null=False)
    position = models.PositiveIntegerField()
    excluded_because = models.CharField(max_length=300, blank=True)

    objects = PopulationQuerySet.as_manager()

    class Meta:
        ordering = ["campaign", "position"]
        constraints = [
            models.UniqueConstraint(fields=["campaign", "position"], name="population_position_once"),
            exactly_one_subject("population_entry_about_one_subject"),
        ]
        triggers = [
            kept_forever(),
            pgtrigger.Protect(
                name="population_is_fixed",
                operation=pgtrigger.Update,
                condition=pgtrigger.AnyChange("campaign", "position", "kind", *SubjectKind.values),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.position}. {self.subject}"


class GapWaiver(Record):
    """The campaign's owner lets it start although the launch gate has a reservation, and says why.

    It covers what was missing when it was written: a thing that joins the gap later closes the gate again.
    """

    class Gap(models.TextChoices):
        MISSING_OWNER = "missing_owner", _("Nobody owns it")
        MOVED_FACTS = "moved_facts", _("The facts moved since the launch")

    campaign = models.ForeignKey(Campaign, models.PROTECT, related_name="gap_waivers")
    gap = models.CharField(max_length=14, choices=Gap)
    covers = ArrayField(models.UUIDField())
    """Ids of the servers and agents without an owner, or of the items whose facts moved."""
    reason = models.TextField(max_length=2000)
    waived_by = models.ForeignKey(User, models.PROTECT, related_name="+")

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.CheckConstraint(condition=~Q(reason="") & Q(covers__len__gt=0), name="gap_waiver_says_what_and_why")
        ]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.get_gap_display()}: {self.campaign}"


class TriggerQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        """As visible as what it is about."""
        if not allows(actor, "reviews.view"):
            return self.none()
        if actor.is_system or allows(actor, "reviews.view_all"):
            return self
        return self.filter(about_what_is_seen_by(actor))


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
    """The item that was open about the same subject. Handled with neither: it had ended, nothing was left to review."""

    objects = TriggerQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
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

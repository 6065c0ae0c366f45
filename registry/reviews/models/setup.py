"""How a campaign is set up: the template, its stages, and who stands in for whom."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import Team, User
from registry.core.models import Record, kept_forever
from registry.reviews.models.subjects import SubjectKind


class Template(Record):
    """What to review, how often, by whom. A campaign is one run of it."""

    class Grouping(models.TextChoices):
        SERVER = "server", _("By server")
        SYSTEM = "system", _("By downstream system")
        TEAM = "team", _("By team")
        FLAT = "flat", _("One list")

    name = models.CharField(max_length=120, unique=True)
    kinds = ArrayField(models.CharField(max_length=10, choices=SubjectKind), default=list)
    scope = models.JSONField(default=dict, blank=True)
    """Filter in the language of the list pages: `{"tier": ["critical"], "environment": […], "team": […]}`."""
    rolling = models.BooleanField(
        default=False,
        help_text=_("Only what falls due before the next run; otherwise everything in scope, every time."),
    )
    cadence_days = models.PositiveIntegerField(default=90)
    risk_analysis = models.TextField(
        blank=True, max_length=4000, help_text=_("Why this cadence fits the risk (targeted risk analysis).")
    )
    ladder = models.JSONField(default=dict, blank=True)
    """Rungs by tier where they differ from `cadence.LADDERS`: `{"critical": [{"day": -7, "act": "remind"}, …]}`."""
    challenge_days = models.PositiveSmallIntegerField(
        default=0, help_text=_("How long the people concerned may object before something is taken away.")
    )
    grouping = models.CharField(max_length=6, choices=Grouping, default=Grouping.SERVER)
    for_changes = models.BooleanField(
        default=False, help_text=_("Says how micro-certifications are reviewed: stages, ladder, challenge.")
    )
    instructions = models.TextField(blank=True, max_length=4000)
    owner = models.ForeignKey(User, models.PROTECT, related_name="templates")
    enabled = models.BooleanField(default=True)
    next_run_on = models.DateField(null=True, blank=True, help_text=_("Beat launches the next campaign on this day."))
    missed_told_on = models.DateField(null=True, blank=True, editable=False)
    """The planned day whose missed run its owner was told of (invariant 20)."""
    run_failed_because = models.CharField(max_length=300, blank=True, editable=False)
    """Why the planned run could not be launched when it was last tried; empty once one was."""

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(kinds__len__gt=0), name="template_has_kinds"),
            models.CheckConstraint(condition=Q(cadence_days__gt=0), name="template_cadence_positive"),
            models.UniqueConstraint(
                fields=["for_changes"], condition=Q(for_changes=True, enabled=True), name="template_for_changes_once"
            ),
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return self.name

    @property
    def first_stage(self) -> "TemplateStage":
        """Every template has at least one: the service refuses it otherwise."""
        return self.stages.order_by("position")[0]

    @property
    def duration_days(self) -> int:
        """Days from the start to the deadline of the last stage."""
        return sum(stage.duration_days for stage in self.stages.all())


class TemplateStage(Record):
    """One round of reviewers. Nobody decides on the same item in two stages (invariant 4)."""

    class ReviewerRule(models.TextChoices):
        POOL = "pool", _("Reviewer pool, by load")
        SYSTEM_OWNER = "system_owner", _("Owner of the system reached")
        TEAM_LEAD = "team_lead", _("Lead of the responsible team")
        SECURITY = "security", _("Security, by load")
        GROUP = "group", _("Members of a team, by load")
        BOTH_SIDES = "both_sides", _("Both sides: the consumer's team and the system's owner")

    class Strategy(models.TextChoices):
        BY_TIER = "by_tier", _("By tier: critical as all must certify, low as first valid decides")
        ONE_DENY_DENIES = "one_deny_denies", _("One denial denies")
        ALL_MUST_CERTIFY = "all_must_certify", _("All must certify")
        FIRST_VALID_DECIDES = "first_valid_decides", _("The first valid answer decides")

    template = models.ForeignKey(Template, models.CASCADE, related_name="stages")
    position = models.PositiveSmallIntegerField(default=1)
    name = models.CharField(max_length=80, blank=True)
    reviewer_rule = models.CharField(max_length=14, choices=ReviewerRule, default=ReviewerRule.POOL)
    fallback = ArrayField(
        models.CharField(max_length=14, choices=ReviewerRule),
        default=list,
        blank=True,
        help_text=_("Rules tried in this order when the first finds nobody independent."),
    )
    group = models.ForeignKey(Team, models.PROTECT, related_name="+", null=True, blank=True)
    reviewers = models.ManyToManyField(
        User,
        related_name="review_pools",
        blank=True,
        help_text=_("The pool; empty means everybody with the role reviewer."),
    )
    reviewers_per_item = models.PositiveSmallIntegerField(default=1)
    strategy = models.CharField(max_length=20, choices=Strategy, default=Strategy.BY_TIER)
    duration_days = models.PositiveIntegerField(default=14)

    class Meta:
        ordering = ["template", "position"]
        constraints = [
            models.UniqueConstraint(fields=["template", "position"], name="template_stage_position_once"),
            models.CheckConstraint(
                condition=Q(position__gte=1, duration_days__gt=0, reviewers_per_item__gte=1, reviewers_per_item__lte=5),
                name="template_stage_numbers",
            ),
            models.CheckConstraint(
                condition=~Q(reviewer_rule="group") | Q(group__isnull=False), name="template_stage_group_is_named"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.template}, {self.name or self.position}"

    @property
    def asked(self) -> list[object]:
        """The ways to find reviewers in the order they are tried, in words; nobody else is asked."""
        words: dict[str, object] = dict(self.ReviewerRule.choices)
        if self.group is not None:
            words[self.ReviewerRule.GROUP] = _("Members of %(team)s, by load") % {"team": self.group.name}
        return [words[rule] for rule in dict.fromkeys([self.reviewer_rule, *self.fallback])]


class Delegation(Record):
    """Out of office: between two days, a person's new and open work items go to somebody who stands in."""

    delegator = models.ForeignKey(User, models.PROTECT, related_name="delegations")
    delegate = models.ForeignKey(User, models.PROTECT, related_name="stands_in")
    starts_on = models.DateField()
    ends_on = models.DateField()
    note = models.CharField(max_length=300, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-starts_on", "-id"]
        constraints = [
            models.CheckConstraint(condition=~Q(delegate=F("delegator")), name="delegation_to_somebody_else"),
            models.CheckConstraint(condition=Q(ends_on__gte=F("starts_on")), name="delegation_ends_after_it_starts"),
        ]
        indexes = [models.Index(fields=["delegator"], condition=Q(ended_at=None), name="delegation_in_force")]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"{self.delegate} for {self.delegator}"

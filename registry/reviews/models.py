"""Recertification: templates, campaigns, items, decisions, sign-offs, remediations, certificates."""

from typing import Any, Self
from uuid import UUID

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.catalog.models import Agent, Server, System, Tier
from registry.core.actors import Actor
from registry.core.models import Record, append_only, kept_forever
from registry.core.permissions import allows
from registry.reviews.states import (
    OPEN_ITEM,
    CampaignState,
    ItemState,
    RemediationState,
    WorkItemState,
)
from registry.trust.models import Connection, Grant, seen_by
from registry.trust.states import Status


class SubjectKind(models.TextChoices):
    SERVER = "server", _("Server")
    GRANT = "grant", _("Grant")
    CONNECTION = "connection", _("Connection")


def exactly_one_subject(name: str) -> models.CheckConstraint:
    return models.CheckConstraint(
        condition=Q(kind="server", server__isnull=False, grant=None, connection=None)
        | Q(kind="grant", server=None, grant__isnull=False, connection=None)
        | Q(kind="connection", server=None, grant=None, connection__isnull=False),
        name=name,
    )


class AboutSubject(models.Model):
    """A row about one server, grant or connection: the database checks that it is exactly one."""

    kind = models.CharField(max_length=10, choices=SubjectKind)
    server = models.ForeignKey(Server, models.PROTECT, related_name="%(class)ss", null=True, blank=True)
    grant = models.ForeignKey(Grant, models.PROTECT, related_name="%(class)ss", null=True, blank=True)
    connection = models.ForeignKey(Connection, models.PROTECT, related_name="%(class)ss", null=True, blank=True)

    class Meta:
        abstract = True

    @property
    def subject(self) -> Any:
        """The server, grant or connection; which of them, says `kind`."""
        return getattr(self, self.kind)

    @property
    def subject_pk(self) -> UUID:
        pk: UUID = getattr(self, f"{self.kind}_id")
        return pk


def about_what_is_seen_by(actor: Actor) -> Q:
    """Rows about servers one may see, and about relationships of which one may see both ends.

    Not through the other rooms' `visible_to`: a token that may only read reviews still reads all of them.
    """
    agents, servers, systems = (seen_by(actor, model).values("pk") for model in (Agent, Server, System))
    return (
        Q(server__in=servers)
        | Q(grant__agent__in=agents, grant__server__in=servers)
        | Q(connection__server__in=servers, connection__system__in=systems)
    )


class Template(Record):
    """What to review, how often, by whom. A campaign is one run of it."""

    class ReviewerRule(models.TextChoices):
        POOL = "pool", _("Reviewer pool, by load")
        SYSTEM_OWNER = "system_owner", _("Owner of the system reached, else the pool")
        TEAM_LEAD = "team_lead", _("Lead of the responsible team, else the pool")

    name = models.CharField(max_length=120, unique=True)
    kinds = ArrayField(models.CharField(max_length=10, choices=SubjectKind), default=list)
    scope = models.JSONField(default=dict, blank=True)
    """Filter in the language of the list pages: `{"tier": ["critical"], "environment": […], "team": […]}`."""
    reviewer_rule = models.CharField(max_length=14, choices=ReviewerRule, default=ReviewerRule.POOL)
    reviewers = models.ManyToManyField(
        User,
        related_name="review_pools",
        blank=True,
        help_text=_("The pool; empty means everybody with the role reviewer."),
    )
    cadence_days = models.PositiveIntegerField(default=90)
    duration_days = models.PositiveIntegerField(default=14)
    instructions = models.TextField(blank=True, max_length=4000)
    owner = models.ForeignKey(User, models.PROTECT, related_name="templates")
    enabled = models.BooleanField(default=True)
    next_run_on = models.DateField(null=True, blank=True, help_text=_("Beat launches the next campaign on this day."))

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(kinds__len__gt=0), name="template_has_kinds"),
            models.CheckConstraint(condition=Q(cadence_days__gt=0, duration_days__gt=0), name="template_days_positive"),
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return self.name


class CampaignQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        """Recertification is everyone's business; an intake names one server and is as visible as that server."""
        if not allows(actor, "reviews.view"):
            return self.none()
        if actor.is_system or allows(actor, "reviews.view_all"):
            return self
        mine = Item.objects.filter(campaign=OuterRef("pk")).visible_to(actor)
        return self.filter(Q(kind=Campaign.Kind.PERIODIC) | Exists(mine))


class Campaign(Record):
    class Kind(models.TextChoices):
        PERIODIC = "periodic", _("Campaign")
        INTAKE = "intake", _("Intake review")

    kind = models.CharField(max_length=10, choices=Kind, default=Kind.PERIODIC)
    template = models.ForeignKey(Template, models.PROTECT, related_name="campaigns", null=True, blank=True)
    name = models.CharField(max_length=160)
    period = models.CharField(max_length=40, help_text=_("What it covers, for example 2026-Q4."))
    scope = models.JSONField(default=dict)
    """What the template said at launch: `{"kinds": […], "filter": {…}, "reviewer_rule": "…", "duration_days": n}`."""
    scope_hash = models.CharField(max_length=64)
    population_hash = models.CharField(max_length=64, blank=True)
    pool = models.JSONField(default=list, blank=True)
    """Who could be chosen, and their open work items, at launch: `[[user id, load], …]`. Frozen, so that a launch that
    was interrupted goes on to choose exactly whom it would have chosen."""
    instructions = models.TextField(blank=True, max_length=4000)
    state = models.CharField(max_length=26, choices=CampaignState, default=CampaignState.DRAFT)
    state_reason = models.TextField(blank=True, max_length=2000)
    owner = models.ForeignKey(User, models.PROTECT, related_name="campaigns", null=True)
    due_at = models.DateTimeField()
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


class ItemQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        if not allows(actor, "reviews.view"):
            return self.none()
        if actor.is_system or allows(actor, "reviews.view_all"):
            return self
        return self.filter(
            Exists(WorkItem.objects.filter(item=OuterRef("pk"), reviewer_id=actor.user_id))
            | Q(campaign__owner_id=actor.user_id)
            | about_what_is_seen_by(actor)
        )


class Item(Record, AboutSubject):
    """One subject in one campaign, with its facts frozen at launch."""

    campaign = models.ForeignKey(Campaign, models.PROTECT, related_name="items")
    label = models.CharField(max_length=320)
    snapshot = models.JSONField()
    fingerprint = models.CharField(max_length=64)
    evidence_hash = models.CharField(max_length=64)
    tier = models.CharField(max_length=8, choices=Tier)
    due_at = models.DateTimeField()
    state = models.CharField(max_length=18, choices=ItemState, default=ItemState.PENDING)
    outcome = models.CharField(max_length=16, blank=True)

    objects = ItemQuerySet.as_manager()

    class Meta:
        ordering = ["campaign", "id"]
        constraints = [
            exactly_one_subject("item_about_one_subject"),
            *(
                models.UniqueConstraint(
                    fields=["campaign", kind], condition=Q(kind=kind), name=f"item_once_per_campaign_and_{kind}"
                )
                for kind in ("server", "grant", "connection")
            ),
            *(
                models.UniqueConstraint(
                    fields=[kind], condition=Q(kind=kind, state__in=OPEN_ITEM), name=f"item_open_once_per_{kind}"
                )
                for kind in ("server", "grant", "connection")
            ),
        ]
        indexes = [models.Index(fields=["campaign", "state"], name="item_by_state")]
        triggers = [
            kept_forever(),
            pgtrigger.Protect(
                name="snapshot_is_frozen",
                operation=pgtrigger.Update,
                condition=pgtrigger.AnyChange("snapshot", "fingerprint", "evidence_hash", "kind", "campaign", "label"),
            ),
        ]

    def __str__(self) -> str:
        return self.label

    @property
    def interested(self) -> dict[str, UUID | None]:
        """Who may not decide on it (invariant 3). An intake also decides on the connections the server asks for."""
        people = dict(self.subject.interested)
        if self.kind == SubjectKind.SERVER and self.campaign.kind == Campaign.Kind.INTAKE:
            requested = self.subject.connections.filter(status=Status.REQUESTED).select_related("system")
            people |= {f"requested its connection to {c.system}": c.requested_by_id for c in requested}
        return people

    @property
    def seen(self) -> "Item | ItemRefresh":
        """The facts a reviewer decides on: those of launch, or the newer ones a reviewer has confirmed to have seen."""
        return max(self.refreshes.all(), key=lambda refresh: refresh.at, default=self)


class ItemRefresh(models.Model):
    """Facts that changed after launch and were then seen by the reviewer: beside the snapshot, never over it."""

    item = models.ForeignKey(Item, models.PROTECT, related_name="refreshes")
    snapshot = models.JSONField()
    fingerprint = models.CharField(max_length=64)
    evidence_hash = models.CharField(max_length=64)
    seen_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    at = models.DateTimeField()

    class Meta:
        ordering = ["at", "id"]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.item} as seen on {self.at:%Y-%m-%d}"


class WorkItem(Record):
    """One reviewer's share of an item in one stage."""

    item = models.ForeignKey(Item, models.PROTECT, related_name="work_items")
    stage = models.PositiveSmallIntegerField(default=1)
    reviewer = models.ForeignKey(User, models.PROTECT, related_name="work_items")
    original_reviewer = models.ForeignKey(User, models.PROTECT, related_name="+")
    chosen_because = models.CharField(max_length=300)
    state = models.CharField(max_length=10, choices=WorkItemState, default=WorkItemState.OPEN)
    reminded_on = models.DateField(null=True, blank=True)

    class Meta:
        ordering = ["item", "stage", "id"]
        constraints = [
            models.UniqueConstraint(fields=["item", "stage", "reviewer"], name="work_item_once_per_reviewer_and_stage")
        ]
        indexes = [models.Index(fields=["reviewer", "state"], name="work_item_inbox")]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"{self.item} for {self.reviewer}"

    @property
    def interested(self) -> dict[str, UUID | None]:
        return dict(self.item.interested)


class WorkItemMove(models.Model):
    """Reassignment, delegation, escalation or recusal; append-only."""

    class Kind(models.TextChoices):
        REASSIGNED = "reassigned", _("Reassigned")
        DELEGATED = "delegated", _("Delegated")
        ESCALATED = "escalated", _("Escalated")
        RECUSED = "recused", _("Recused")

    work_item = models.ForeignKey(WorkItem, models.PROTECT, related_name="moves")
    kind = models.CharField(max_length=10, choices=Kind)
    from_reviewer = models.ForeignKey(User, models.PROTECT, related_name="+")
    to_reviewer = models.ForeignKey(User, models.PROTECT, related_name="+", null=True)
    by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True)
    note = models.TextField(max_length=2000)
    at = models.DateTimeField()

    class Meta:
        ordering = ["at", "id"]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.kind} {self.work_item}"


class SignOff(Record):
    """A reviewer's signature under a set of decisions, or the owner's under the whole campaign."""

    class Kind(models.TextChoices):
        REVIEWER = "reviewer", _("Reviewer")
        CAMPAIGN = "campaign", _("Campaign owner")

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
            )
        ]

    def __str__(self) -> str:
        return f"{self.value} {self.work_item.item}"


class Remediation(Record):
    """What a signed reduce, revoke or return has to bring about, until it is verified."""

    class Kind(models.TextChoices):
        REDUCE = "reduce", _("Reduce")
        REVOKE = "revoke", _("Revoke")

    item = models.OneToOneField(Item, models.PROTECT, related_name="remediation")
    decision = models.ForeignKey(Decision, models.PROTECT, related_name="remediations")
    kind = models.CharField(max_length=8, choices=Kind)
    state = models.CharField(max_length=14, choices=RemediationState, default=RemediationState.PLANNED)
    channel = models.CharField(max_length=20, default="registry")
    channel_reference = models.CharField(max_length=300, blank=True)
    attempts = models.PositiveIntegerField(default=0)
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


class CertificateQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        """As visible as what it certifies."""
        if not allows(actor, "reviews.view"):
            return self.none()
        if actor.is_system or allows(actor, "reviews.view_all"):
            return self
        return self.filter(about_what_is_seen_by(actor))


class Certificate(Record, AboutSubject):
    """The one row gateways read. Written only by the sign-off transaction; the newest one per subject counts."""

    fingerprint = models.CharField(max_length=64)
    certified_until = models.DateTimeField()
    decision = models.ForeignKey(Decision, models.PROTECT, related_name="certificates")
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_because = models.CharField(max_length=200, blank=True)

    objects = CertificateQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            exactly_one_subject("certificate_about_one_subject"),
            *(
                models.UniqueConstraint(
                    fields=[kind], condition=Q(kind=kind, ended_at=None), name=f"certificate_one_valid_per_{kind}"
                )
                for kind in ("server", "grant", "connection")
            ),
            models.CheckConstraint(
                condition=Q(ended_at=None) | ~Q(ended_because=""), name="certificate_end_has_reason"
            ),
        ]
        triggers = [
            kept_forever(),
            pgtrigger.Protect(
                name="certificate_only_ends",
                operation=pgtrigger.Update,
                condition=pgtrigger.AnyChange(
                    "fingerprint", "certified_until", "decision", "kind", "server", "grant", "connection"
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subject} until {self.certified_until:%Y-%m-%d}"

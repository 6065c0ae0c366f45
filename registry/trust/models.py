"""Who trusts whom with what: grants (agent → server) and connections (server → system).

A relationship is a lineage of versions. A reduction ends one version and starts a narrower one; an approved request
for something else (wider, longer) replaces the version before it. What was true at a past instant is read from
`activated_at` and `ended_at`.
"""

from datetime import datetime
from typing import Any, ClassVar, Literal, Self
from uuid import UUID

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.catalog.changes import CHANGES, tracked
from registry.catalog.models import Agent, Purpose, SecretSource, Server, System
from registry.catalog.states import Lifecycle, Standing
from registry.core import ids
from registry.core.actors import Actor
from registry.core.models import Record, kept_forever
from registry.core.permissions import allows
from registry.trust.states import HELD, OPEN, Status


def may_see_all(actor: Actor) -> bool:
    return actor.is_system or allows(actor, "catalog.view_confidential")


def seen_by(actor: Actor, model: type[Agent] | type[Server] | type[System]) -> models.QuerySet[Any]:
    """The things of `model` that may be named to `actor` in a trust answer."""
    if may_see_all(actor):
        return model.objects.all()
    return model.objects.filter(Q(confidential=False) | Q(pk__in=model.objects.visible_to(actor).values("pk")))


class RelationshipQuerySet(models.QuerySet[Any]):
    """One sees a relationship when one may see both of its ends."""

    ends: tuple[tuple[str, Any], ...] = ()

    def visible_to(self, actor: Actor) -> Self:
        if not allows(actor, "trust.view"):
            return self.none()
        visible = self
        if not may_see_all(actor):
            for field, model in self.ends:
                # Asked per row and only of confidential ends, so that a page costs the same in a large catalog.
                among_visible = Exists(model.objects.visible_to(actor).filter(pk=OuterRef(f"{field}_id")))
                visible = visible.filter(Q(**{f"{field}__confidential": False}) | among_visible)
        return visible

    def active(self) -> Self:
        return self.filter(status=Status.ACTIVE)

    def current(self) -> Self:
        """Versions that are requested, active or suspended: what may still do something."""
        return self.filter(status__in=OPEN)


class GrantQuerySet(RelationshipQuerySet):
    ends = (("agent", Agent), ("server", Server))


class ConnectionQuerySet(RelationshipQuerySet):
    ends = (("server", Server), ("system", System))


class Relationship(Record):
    lineage = models.UUIDField(default=ids.new_id, editable=False)
    supersedes = models.OneToOneField(
        "self", models.PROTECT, related_name="superseded_by", null=True, blank=True, editable=False
    )
    status = models.CharField(max_length=10, choices=Status, default=Status.REQUESTED)
    status_reason = models.TextField(blank=True, max_length=2000)
    reason = models.TextField(max_length=2000, help_text=_("Why it is needed."))
    valid_until = models.DateTimeField()
    requested_by = models.ForeignKey(User, models.PROTECT, related_name="requested_%(class)ss", null=True)
    decided_by = models.ForeignKey(User, models.PROTECT, related_name="decided_%(class)ss", null=True, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    activated_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    certified_until = models.DateTimeField(null=True, blank=True)

    kind: ClassVar[Literal["grant", "connection"]]
    ends_in_use: ClassVar[dict[str, str]]
    """What its two ends are while it has any effect."""

    class Meta:
        abstract = True

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @classmethod
    def certified_rows(cls, instant: datetime) -> Q:
        """Certificates are about what is in force: nothing that ended or rests, at either end, is certified."""
        return Q(
            status=Status.ACTIVE,
            valid_until__gt=instant,
            certified_until__isnull=False,
            certified_until__gt=instant,
            **cls.ends_in_use,
        )

    def certified_at(self, instant: datetime) -> bool:
        """Whether this one is among `certified_rows`."""
        in_force = self.status == Status.ACTIVE and self.valid_until > instant and self.resting_end is None
        return in_force and self.certified_until is not None and self.certified_until > instant

    @property
    def resting_end(self) -> Server | Agent | System | None:
        """The end that is suspended or retired, if one is."""
        for path, wanted in self.ends_in_use.items():
            end, field = path.split("__")
            if getattr(getattr(self, end), field) != wanted:
                return getattr(self, end)
        return None


class Grant(Relationship):
    """Agent → server: which tools, for which purpose, on whose behalf, until when."""

    class OnBehalfOf(models.TextChoices):
        USERS = "users", _("Signed-in people")
        SERVICE = "service", _("A service")
        NOBODY = "nobody", _("Nobody but itself")

    agent = models.ForeignKey(Agent, models.PROTECT, related_name="grants")
    server = models.ForeignKey(Server, models.PROTECT, related_name="grants")
    tools = ArrayField(models.CharField(max_length=128), default=list, blank=True)
    all_tools = models.BooleanField(default=False, help_text=_("Every tool, also those added later. Itself a finding."))
    purpose = models.ForeignKey(Purpose, models.PROTECT, related_name="grants", null=True, blank=True)
    on_behalf_of = models.CharField(max_length=8, choices=OnBehalfOf, default=OnBehalfOf.USERS)
    behalf_detail = models.CharField(max_length=200, blank=True, help_text=_("For example: 12 planners."))
    max_token_lifetime_seconds = models.PositiveIntegerField(default=3600)

    objects = GrantQuerySet.as_manager()
    kind = "grant"
    ends_in_use: ClassVar[dict[str, str]] = {"server__lifecycle": Lifecycle.ACTIVE, "agent__standing": Standing.ACTIVE}

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["agent", "server"], condition=Q(status__in=HELD), name="grant_held_once_per_agent_and_server"
            ),
            models.UniqueConstraint(
                fields=["agent", "server"],
                condition=Q(status="requested"),
                name="grant_requested_once_per_agent_and_server",
            ),
            models.CheckConstraint(
                condition=Q(all_tools=True, tools__len=0) | Q(all_tools=False, tools__len__gt=0),
                name="grant_names_tools_or_says_all",
            ),
            models.CheckConstraint(
                condition=~Q(status="active") | Q(activated_at__isnull=False), name="grant_active_since"
            ),
        ]
        indexes = [
            models.Index(fields=["agent"], condition=Q(status="active"), name="grant_active_by_agent"),
            models.Index(fields=["server"], condition=Q(status="active"), name="grant_active_by_server"),
            models.Index(fields=["valid_until"], condition=Q(status__in=OPEN), name="grant_due_to_expire"),
            models.Index(fields=["lineage"], name="grant_versions"),
            GinIndex(fields=["tools"], name="grant_tools"),
        ]
        triggers = [
            kept_forever(),
            *tracked(
                "grant",
                "agent_id server_id status activated_at ended_at valid_until certified_until tools "
                "all_tools on_behalf_of behalf_detail",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.agent} → {self.server.label}"

    @property
    def interested(self) -> dict[str, UUID | None]:
        """Who may not decide on it, by what they are to it (invariant 3)."""
        gains = self.agent.server
        return {
            "requested it": self.requested_by_id,
            "owns the agent that gains from it": self.agent.owner_id,
            "registered the agent": self.agent.created_by_id,
            **({f"{bar} behind the agent": person for bar, person in gains.interested.items()} if gains else {}),
            **self.server.interested,
        }


class Connection(Relationship):
    """Server → system: access level, scopes, with which secret source, until when."""

    class Access(models.TextChoices):
        READ = "read", _("Read")
        WRITE = "write", _("Read and write")
        ADMIN = "admin", _("Administer")

    server = models.ForeignKey(Server, models.PROTECT, related_name="connections")
    system = models.ForeignKey(System, models.PROTECT, related_name="connections")
    access = models.CharField(max_length=5, choices=Access)
    scopes = ArrayField(models.CharField(max_length=200), default=list, blank=True)
    secret_source = models.ForeignKey(SecretSource, models.PROTECT, related_name="connections", null=True, blank=True)

    objects = ConnectionQuerySet.as_manager()
    kind = "connection"
    ends_in_use: ClassVar[dict[str, str]] = {"server__lifecycle": Lifecycle.ACTIVE, "system__standing": Standing.ACTIVE}

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["server", "system"],
                condition=Q(status__in=HELD),
                name="connection_held_once_per_server_and_system",
            ),
            models.UniqueConstraint(
                fields=["server", "system"],
                condition=Q(status="requested"),
                name="connection_requested_once_per_server_and_system",
            ),
            models.CheckConstraint(
                condition=~Q(status="active") | Q(activated_at__isnull=False, secret_source__isnull=False),
                name="connection_active_since_with_secret_source",
            ),
        ]
        indexes = [
            models.Index(fields=["server"], condition=Q(status="active"), name="connection_active_by_server"),
            models.Index(fields=["system"], condition=Q(status="active"), name="connection_active_by_system"),
            models.Index(fields=["valid_until"], condition=Q(status__in=OPEN), name="connection_due_to_expire"),
            models.Index(fields=["lineage"], name="connection_versions"),
        ]
        triggers = [
            kept_forever(),
            *tracked(
                "connection",
                "server_id system_id status activated_at ended_at valid_until certified_until access "
                "scopes secret_source_id",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.server.label} → {self.system}"

    @property
    def interested(self) -> dict[str, UUID | None]:
        """Who may not decide on it. The owner of the system reached is the other side, and may."""
        return {"requested it": self.requested_by_id, **self.server.interested}


class Combination(Record):
    """A toxic combination: legs that are harmless one by one and dangerous when one agent has them all.

    A leg is `{"label", "tool_classes"?, "system_kinds"?, "data_classes"?, "access"?, "open_world"?}`. Some path in
    force must meet everything the leg names (`open_world`: a granted tool says it talks to an open world, or instead
    the system is of one of `system_kinds`). Security keeps the list.
    """

    name = models.CharField(max_length=100, unique=True)
    explanation = models.TextField(max_length=2000)
    legs = models.JSONField()
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.CheckConstraint(condition=~Q(legs=[]), name="combination_has_legs")]
        triggers = [kept_forever(), *tracked("combination", "name explanation legs retired_at")]

    def __str__(self) -> str:
        return self.name


class Observation(Record):
    """What was seen in use between an agent and a server (and, when known, a system) within one period.

    A period counts once: whoever reports it again replaces its figures. Observed is not granted; without a grant in
    force an observation is a sighting.
    """

    agent = models.ForeignKey(Agent, models.PROTECT, related_name="observations")
    server = models.ForeignKey(Server, models.PROTECT, related_name="observations")
    system = models.ForeignKey(System, models.PROTECT, related_name="observations", null=True, blank=True)
    period = models.DateField(help_text=_("The first day of the period."))
    first_used = models.DateTimeField()
    last_used = models.DateTimeField()
    calls = models.PositiveBigIntegerField()
    errors = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ["-period", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["agent", "server", "system", "period"], name="observation_once_per_period", nulls_distinct=False
            ),
            models.CheckConstraint(
                condition=Q(first_used__lte=F("last_used")) & Q(errors__lte=F("calls")), name="observation_adds_up"
            ),
        ]
        indexes = [
            models.Index(fields=["server", "agent"], name="observation_by_server"),
            models.Index(fields=["system"], name="observation_by_system", condition=Q(system__isnull=False)),
        ]
        triggers = [
            # One line per statement tells readers that what was observed moved on.
            pgtrigger.Trigger(
                name="observation_tracked",
                level=pgtrigger.Statement,
                when=pgtrigger.After,
                operation=pgtrigger.Insert | pgtrigger.Update,
                func=f"""
                    INSERT INTO {CHANGES} (kind, thing_id, operation)
                    VALUES ('observation', gen_random_uuid(), 'created');
                    RETURN NULL;
                """,  # noqa: S608 - our own name
            )
        ]

    def __str__(self) -> str:
        return f"{self.agent} → {self.server.label} from {self.period:%Y-%m-%d}"

"""What servers list: definitions by content, snapshots of who listed what when, watches, and drift between them."""

from typing import Any, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.catalog.models import Endpoint, Server
from registry.core import clock, ids
from registry.core.actors import Actor
from registry.core.independence import bars
from registry.core.models import Record, append_only, kept_forever
from registry.discovery.states import DriftState


class OfServerQuerySet(models.QuerySet[Any]):
    """Rows of a server are seen by whoever sees the server."""

    def visible_to(self, actor: Actor) -> Self:
        return self.filter(server__in=Server.objects.visible_to(actor))


class Definitions(models.Model):
    """What one server said of itself, stored once however often it says it again."""

    digest = models.CharField(max_length=64, primary_key=True)
    """SHA-256 over the RFC 8785 form of what is material: digests per tool, instructions, prompts, templates."""
    tools = models.JSONField()
    """Tools as listed, raw: `[{"name", "title", "description", "inputSchema", …}]`, sorted by name."""
    instructions = models.TextField(blank=True)
    prompts = models.JSONField(default=list)
    resource_templates = models.JSONField(default=list)
    tool_digests = models.JSONField()
    """`{name: digest}`, each as `catalog.services.tool_digest` makes it."""
    size = models.PositiveIntegerField(help_text=_("Bytes of the canonical JSON."))
    typed = models.BooleanField(default=False)
    """Never listed: what people approved of a server that nobody had looked at. Only what they knew is compared; a
    tool has `approvedClass` here instead of annotations."""
    first_seen = models.DateTimeField(default=clock.now)

    class Meta:
        triggers = [append_only()]

    def __str__(self) -> str:
        return self.digest


class Snapshot(models.Model):
    """One look at one server. Append-only."""

    class Channel(models.TextChoices):
        PROBE = "probe", _("Probed by this registry")
        COMMAND = "command", _("Started and pushed by an operator")
        GATEWAY = "gateway", _("Pushed by a gateway")

    class Outcome(models.TextChoices):
        LISTED = "listed", _("Listed its definitions")
        PROTECTED = "protected", _("Protected: asks for a token")
        UNREACHABLE = "unreachable", _("Unreachable")
        REFUSED = "refused", _("Not asked: the address is not allowed")
        NOT_MCP = "not_mcp", _("Answers, but not MCP")
        SSE_ONLY = "sse_only", _("Speaks only the deprecated HTTP with SSE")
        TIMED_OUT = "timed_out", _("Took too long")
        TOO_LARGE = "too_large", _("Said more than is taken in")
        FAILED = "failed", _("Answered with an error")

    id = models.UUIDField(primary_key=True, default=ids.new_id, editable=False)
    server = models.ForeignKey(Server, models.PROTECT, related_name="snapshots")
    endpoint = models.ForeignKey(Endpoint, models.PROTECT, related_name="snapshots", null=True)
    channel = models.CharField(max_length=8, choices=Channel)
    run = models.UUIDField(null=True)
    """Looks of one run of the operator's command share it: one program, started twice, released nothing in between."""
    taken_at = models.DateTimeField()
    received_at = models.DateTimeField(default=clock.now)
    by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True)
    identity = models.CharField(max_length=120, default="anonymous")
    """Under which identity and settings it was taken; only snapshots of the same one are compared."""
    capabilities = models.JSONField(default=dict)
    """What the client declared it can do: lists may depend on it."""
    outcome = models.CharField(max_length=12, choices=Outcome)
    detail = models.CharField(max_length=500, blank=True)
    era = models.CharField(max_length=12, blank=True, help_text=_("The newest MCP revision it answered to."))
    transport = models.CharField(max_length=16, blank=True)
    server_info = models.JSONField(default=dict)
    """Name and version as the server reports itself: shown, never trusted, never hashed."""
    definitions = models.ForeignKey(Definitions, models.PROTECT, related_name="snapshots", null=True)
    posture = models.JSONField(default=list)
    """`[{"check", "outcome": "pass|warn|fail|unknown", "detail"}]` of the checks without credentials."""
    signs = models.JSONField(default=list)
    """Poisoning signs found in these definitions: `[{"rule", "where", "excerpt", "severity"}]`."""
    pages = models.PositiveSmallIntegerField(default=0)
    size = models.PositiveIntegerField(default=0)
    milliseconds = models.PositiveIntegerField(default=0)

    objects = OfServerQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(outcome="listed", definitions__isnull=False)
                | (~Q(outcome="listed") & Q(definitions__isnull=True)),
                name="snapshot_lists_or_says_why_not",
            )
        ]
        indexes = [models.Index(fields=["server", "-id"], name="snapshot_newest")]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.server}: {self.get_outcome_display()}"

    @property
    def pushed(self) -> bool:
        return self.channel != self.Channel.PROBE


class WatchQuerySet(OfServerQuerySet):
    def behind(self, snapshot: Snapshot) -> Self:
        """The watch one look belongs to."""
        return self.filter(
            server=snapshot.server_id,
            endpoint=snapshot.endpoint_id,
            identity=snapshot.identity,
            pushed=snapshot.pushed,
            pusher=snapshot.by_id if snapshot.pushed else None,
        )


class Watch(Record):
    """One endpoint that one source looks at again and again under one identity: when next, and what is known of it.

    Sources never share a watch: what this registry saw itself is one, what each person pushes is another, so that
    nobody's word settles what was seen. A pushed one has no `due_at`, because somebody else decides when to look.
    """

    class Stability(models.TextChoices):
        UNKNOWN = "unknown", _("Seen once")
        STABLE = "stable", _("Stable")
        UNSTABLE = "unstable", _("Unstable definition")
        FLICKERS = "flickers", _("Flickers: now this, now that")

    class Strength(models.IntegerChoices):
        """How much a source's look counts against another's of the same endpoint and identity."""

        CLAIM = 0, _("Pushed by somebody who answers for the server: a claim")
        WITNESS = 1, _("Pushed by somebody independent")
        OWN = 2, _("Seen by this registry itself")

    server = models.ForeignKey(Server, models.PROTECT, related_name="watches")
    endpoint = models.ForeignKey(Endpoint, models.PROTECT, related_name="watches", null=True)
    identity = models.CharField(max_length=120, default="anonymous")
    pushed = models.BooleanField(default=False, help_text=_("Told by others; otherwise seen by our own probe."))
    pusher = models.ForeignKey(User, models.PROTECT, related_name="+", null=True)
    """Who pushes; empty for the probe and for the operator of this installation."""
    host = models.CharField(max_length=260, blank=True, help_text=_("At most a few probes of one host at a time."))
    due_at = models.DateTimeField(null=True)
    claimed_at = models.DateTimeField(null=True)
    last = models.ForeignKey(Snapshot, models.PROTECT, related_name="+", null=True)
    last_listed = models.ForeignKey(Snapshot, models.PROTECT, related_name="+", null=True)
    approved = models.ForeignKey(Definitions, models.PROTECT, related_name="+", null=True)
    """What people approved: the definitions drift is measured against."""
    settled = models.ForeignKey(Definitions, models.PROTECT, related_name="+", null=True)
    """What it is taken to list: the first listing, later what a second look confirmed. The catalog's tools follow."""
    stability = models.CharField(max_length=8, choices=Stability, default=Stability.UNKNOWN)
    unstable_paths = ArrayField(models.CharField(max_length=300), default=list)
    """Where only the order of a list or of a joined default varies from look to look: JSON pointers that name tools
    instead of numbering them (`/tools/search/inputSchema/…#order`). Nothing else is ever let off."""
    agreeing = models.PositiveIntegerField(default=0, help_text=_("Listings in a row that said the same."))
    failures = models.PositiveIntegerField(default=0, help_text=_("Looks in a row that listed nothing."))
    paused_reason = models.CharField(max_length=300, blank=True)

    objects = WatchQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["server", "endpoint", "identity", "pushed", "pusher"], name="watch_once", nulls_distinct=False
            ),
            models.CheckConstraint(condition=Q(pushed=True) | Q(pusher__isnull=True), name="watch_pusher_pushes"),
        ]
        indexes = [models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="watch_due")]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"{self.server} as {self.identity}"

    @property
    def strength(self) -> Strength:
        """Whoever owns, deputises, operates or registered a server only claims what it lists."""
        if not self.pushed:
            return self.Strength.OWN
        return self.Strength.CLAIM if bars(self.pusher_id, self.server) else self.Strength.WITNESS


class Drift(Record):
    """That a server lists something else than what was approved, and what exactly."""

    class Severity(models.TextChoices):
        CRITICAL = "critical", _("Critical")
        HIGH = "high", _("High")
        MEDIUM = "medium", _("Medium")
        LOW = "low", _("Low")

    server = models.ForeignKey(Server, models.PROTECT, related_name="drifts")
    watch = models.ForeignKey(Watch, models.PROTECT, related_name="drifts")
    before = models.ForeignKey(Definitions, models.PROTECT, related_name="+")
    after = models.ForeignKey(Definitions, models.PROTECT, related_name="+")
    snapshot = models.ForeignKey(Snapshot, models.PROTECT, related_name="drifts")
    differences = models.JSONField()
    """`[{"kind": "added|removed|renamed|changed|instructions|…", "tool", "sentence", "severity", "fields": […]}]`."""
    severity = models.CharField(max_length=8, choices=Severity)
    flickers = models.BooleanField(default=False, help_text=_("It was there at one look and gone at the next."))
    state = models.CharField(max_length=10, choices=DriftState, default=DriftState.OPEN)
    settled_at = models.DateTimeField(null=True)
    settled_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True)
    reason = models.TextField(blank=True, max_length=2000)

    objects = OfServerQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["watch"], condition=Q(state="open"), name="drift_open_once_per_watch"),
            models.CheckConstraint(
                condition=Q(state="open", settled_at__isnull=True) | (~Q(state="open") & Q(settled_at__isnull=False)),
                name="drift_settled_has_time",
            ),
        ]
        indexes = [models.Index(fields=["server", "-id"], name="drift_newest")]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"{self.server}: {self.get_severity_display()}"

"""What this registry publishes to clients: versions of approved servers in the official read API."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Upper
from django.utils.translation import gettext_lazy as _

from registry.catalog.models import Server
from registry.core import clock, ids


class Publication(models.Model):
    """One published version. What it says never changes; its status does, and a deleted one stays as a tombstone."""

    class Status(models.TextChoices):
        ACTIVE = "active", _("Active")
        DEPRECATED = "deprecated", _("Deprecated")
        DELETED = "deleted", _("Deleted")

    id = models.UUIDField(primary_key=True, default=ids.new_id, editable=False)
    server = models.ForeignKey(Server, models.PROTECT, related_name="publications")
    name = models.CharField(max_length=200, db_collation="C")
    """ASCII, as the format has it, and so compared byte by byte: a search looks at all of them."""
    client_key = models.CharField(max_length=300)
    """What the server is called in clients' configurations, for good: people match it, and no other server gets it."""
    release = models.CharField(max_length=255)
    body = models.JSONField()
    """The server.json of this version (schema 2025-12-11). Never changed; only what became confidential is blanked."""
    digest = models.CharField(max_length=64, help_text=_("Over the server.json as published."))
    facts = models.JSONField(default=dict)
    """What governance says of it beside the body: owner team, tier, approved tools. Follows the truth."""
    certified_until = models.DateTimeField(null=True)
    server_version = models.PositiveIntegerField(default=0, help_text=_("What of the server this was made from."))
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)
    status_message = models.CharField(max_length=500, blank=True)
    status_changed_at = models.DateTimeField(default=clock.now)
    published_at = models.DateTimeField(default=clock.now)
    updated_at = models.DateTimeField(default=clock.now)
    is_latest = models.BooleanField(default=False)
    withheld = models.BooleanField(default=False, help_text=_("Blanked, because its server became confidential."))

    class Meta:
        ordering = ["name", "release"]
        constraints = [
            models.UniqueConstraint(fields=["name", "release"], name="publication_once_per_version"),
            models.UniqueConstraint(fields=["name"], condition=Q(is_latest=True), name="publication_latest_once"),
            models.UniqueConstraint(
                fields=["client_key"], condition=Q(is_latest=True), name="publication_client_key_once"
            ),
            models.UniqueConstraint(fields=["name"], condition=Q(status="active"), name="publication_active_once"),
        ]
        indexes = [
            models.Index(Lower("client_key"), name="publication_by_client_key"),
            # The search is for a part of the name, which no index finds; but its statistics tell the planner whether a
            # walk in order ends soon.
            models.Index(Upper("name"), name="publication_search"),
            models.Index(fields=["updated_at"], name="publication_by_change"),
            models.Index(fields=["name", "release"], condition=Q(is_latest=True), name="publication_latest_in_order"),
            models.Index(fields=["certified_until"], condition=Q(status="active"), name="publication_ending"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.release}"

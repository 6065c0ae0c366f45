"""Tokens that act for people."""

from datetime import datetime
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _

from registry.accounts.models.people import User
from registry.core import clock
from registry.core.models import Record, kept_forever


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def usable(self, now: datetime | None = None) -> Self:
        """Neither revoked nor expired, and of somebody who may still act."""
        return self.filter(revoked_at=None, expires_at__gt=now or clock.now(), user__is_active=True)

    def with_secret(self, sha256: str, now: datetime) -> Self:
        """The one with this secret, or with this one from before its rotation while both are good."""
        earlier = models.Q(previous_sha256=sha256, previous_until__gt=now) & ~models.Q(previous_sha256="")
        return self.filter(models.Q(sha256=sha256) | earlier)


class ApiToken(Record):
    """The secret itself is shown once and never stored: only its prefix and SHA-256.

    `rotated_at` gave it a new secret; the one before, `previous_sha256`, is good until `previous_until`. `parent` is
    the token that made it: this one never has more, nor from elsewhere, nor for longer, and is revoked with it.
    """

    user = models.ForeignKey(User, models.PROTECT, related_name="api_tokens")
    name = models.CharField(max_length=120)
    purpose = models.CharField(_("purpose"), max_length=500, blank=True)
    prefix = models.CharField(max_length=16, unique=True)
    sha256 = models.CharField(max_length=64, unique=True)
    scopes = ArrayField(models.CharField(max_length=60))
    networks = ArrayField(models.CharField(max_length=43), default=list, blank=True)
    parent = models.ForeignKey("self", models.PROTECT, related_name="children", null=True, blank=True, editable=False)
    expires_at = models.DateTimeField()
    warned_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_address = models.GenericIPAddressField(null=True, blank=True)
    rotated_at = models.DateTimeField(null=True, blank=True)
    previous_prefix = models.CharField(max_length=16, blank=True)
    previous_sha256 = models.CharField(max_length=64, blank=True)
    previous_until = models.DateTimeField(null=True, blank=True)
    previous_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["previous_sha256"], condition=~models.Q(previous_sha256=""), name="previous_secret_once"
            )
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def state(self) -> str:
        """One of the states that `{% state %}` knows."""
        if self.revoked_at:
            return "revoked"
        if self.expires_at <= clock.now():
            return "expired"
        return "suspended" if self.user.is_resting else "active"

    @property
    def secret_since(self) -> datetime:
        return self.rotated_at or self.created_at

    @property
    def overlaps(self) -> bool:
        """Whether the secret from before the rotation is still good."""
        return self.state == "active" and self.previous_until is not None and self.previous_until > clock.now()

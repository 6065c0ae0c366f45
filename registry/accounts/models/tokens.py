"""Tokens that act for people."""

from datetime import datetime
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models

from registry.accounts.models.people import User
from registry.core import clock
from registry.core.models import Record, kept_forever


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def usable(self, now: datetime | None = None) -> Self:
        """Neither revoked nor expired, and of somebody who may still act."""
        return self.filter(revoked_at=None, expires_at__gt=now or clock.now(), user__is_active=True)


class ApiToken(Record):
    """The secret itself is shown once and never stored: only its prefix and SHA-256."""

    user = models.ForeignKey(User, models.PROTECT, related_name="api_tokens")
    name = models.CharField(max_length=120)
    prefix = models.CharField(max_length=16, unique=True)
    sha256 = models.CharField(max_length=64, unique=True)
    scopes = ArrayField(models.CharField(max_length=40))
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_address = models.GenericIPAddressField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def state(self) -> str:
        """One of the states that `{% state %}` knows."""
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at <= clock.now() else "active"

"""Who people are at OpenID providers, what their groups give them, and the browsers they are signed in with."""

from collections.abc import Mapping
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from registry.accounts.models.people import Role, User
from registry.core import ids
from registry.core.models import Record, kept_forever


class ExternalIdentity(Record):
    """One person as one provider knows them. Issuer and subject are the key; an address is never one."""

    user = models.ForeignKey(User, models.PROTECT, related_name="identities")
    provider = models.CharField(max_length=30)
    issuer = models.CharField(max_length=500)
    subject = models.CharField(max_length=255)
    email = models.EmailField(blank=True)
    last_seen_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["provider", "created_at"]
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="external_identity_once")]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return f"{self.user} at {self.provider}"


class GroupRole(Record):
    """Whoever is in `group` at `provider` has `role`. An empty provider means every source of groups.

    One that gives power over others waits for a second person, at its beginning and at its end, like a `RoleProposal`.
    """

    class State(models.TextChoices):
        PROPOSED = "proposed", _("Proposed")  # gives nothing yet
        ACTIVE = "active", _("In force")
        ENDING = "ending", _("To be removed")  # gives the role until a second person confirms its end

    provider = models.CharField(_("provider"), max_length=30, blank=True)
    group = models.CharField(_("group"), max_length=255)
    role = models.CharField(_("role"), max_length=20, choices=Role)
    state = models.CharField(_("state"), max_length=8, choices=State, default=State.ACTIVE)
    proposed_by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True, blank=True)
    """Who proposed what waits: its beginning or its end."""

    class Meta:
        ordering = ["group", "role", "id"]
        constraints = [
            models.UniqueConstraint(fields=["provider", "group", "role"], name="group_role_once"),
            models.CheckConstraint(
                condition=models.Q(state="active") ^ models.Q(proposed_by__isnull=False),
                name="group_role_waits_or_is_in_force",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.group} → {self.get_role_display()}"

    @property
    def interested(self) -> Mapping[str, UUID | None]:
        return {"proposed this": self.proposed_by_id}


class GroupGrant(models.Model):
    """The groups of one person at one source, and the roles they have only because of them.

    A role that somebody gave by hand is not listed here, so no change of a group takes it away.
    """

    user = models.ForeignKey(User, models.CASCADE, related_name="group_grants")
    provider = models.CharField(max_length=30)
    groups = ArrayField(models.CharField(max_length=255), default=list)
    roles = ArrayField(models.CharField(max_length=20, choices=Role), default=list)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["provider"]
        constraints = [models.UniqueConstraint(fields=["user", "provider"], name="group_grant_once")]

    def __str__(self) -> str:
        return f"{self.user}: {', '.join(self.groups)}"


class BrowserSession(models.Model):
    """One browser somebody is signed in with. Ending it deletes the session it belongs to, and itself.

    The tokens of a provider are sealed (registry.accounts.sealing). Times are those of the real clock.
    """

    id = models.UUIDField(primary_key=True, default=ids.new_id, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="browser_sessions")
    session_key = models.CharField(max_length=40, unique=True)
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())
    address = models.GenericIPAddressField(null=True, blank=True)
    agent = models.CharField(max_length=300, blank=True)
    provider = models.CharField(max_length=30, blank=True)
    identity = models.ForeignKey(ExternalIdentity, models.CASCADE, related_name="+", null=True, blank=True)
    sid = models.CharField(max_length=255, blank=True)
    id_token = models.TextField(blank=True)
    refresh_token = models.TextField(blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)
    asked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-seen_at"]
        indexes = [models.Index(fields=["provider", "sid"], name="browser_session_sid")]

    def __str__(self) -> str:
        return f"{self.user} since {self.started_at}"

"""People, their teams and roles."""

from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Coalesce, Lower, NullIf
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from registry.core import clock
from registry.core.actors import READS_ONLY
from registry.core.models import Record, kept_forever


class Role(models.TextChoices):
    """What a person may do across the registry; any role makes a member."""

    MEMBER = "member", _("Member")
    REVIEWER = "reviewer", _("Reviewer")
    CAMPAIGN_MANAGER = "campaign_manager", _("Campaign manager")
    SECURITY = "security", _("Security")
    AUDITOR = "auditor", _("Auditor")
    ADMINISTRATOR = "administrator", _("Administrator")


CALLED = Lower(Coalesce(NullIf("user_name", models.Value("")), "email", output_field=models.CharField()))
"""How the directory finds somebody: by the name it gave them, and whoever was added by hand by their address."""


class UserManager(BaseUserManager["User"]):
    def called(self, name: str) -> models.QuerySet["User"]:
        return self.alias(called=CALLED).filter(called=Lower(models.Value(name)))

    def with_address(self, address: str) -> models.QuerySet["User"]:
        """Whoever has this address, or is called by it in the directory: nobody else may have it."""
        return self.alias(called=CALLED).filter(
            models.Q(email__iexact=address) | models.Q(called=Lower(models.Value(address)))
        )

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email__iexact=username)


class User(Record, AbstractBaseUser):
    email = models.EmailField(_("e-mail"))
    name = models.CharField(_("name"), max_length=120)
    roles = ArrayField(models.CharField(max_length=20, choices=Role), default=list, blank=True)
    is_active = models.BooleanField(default=True)
    left_at = models.DateTimeField(
        _("left"), null=True, blank=True, editable=False, help_text=_("When they were deactivated; empty while active.")
    )
    manager = models.ForeignKey("self", models.PROTECT, related_name="reports", null=True, blank=True)
    given_name = models.CharField(_("given name"), max_length=120, blank=True)
    family_name = models.CharField(_("family name"), max_length=120, blank=True)
    # How the directory calls them (SCIM); empty for people added by hand, who are found by their address.
    external_id = models.CharField(max_length=255, blank=True)
    user_name = models.CharField(max_length=255, blank=True)
    removed_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text=_("When the directory deleted them; it may bring them back.")
    )
    # Break-glass (see models.roles.Elevation): kept here too, so that asking who may costs no query.
    elevated_role = models.CharField(max_length=20, choices=Role, blank=True, editable=False)
    elevated_until = models.DateTimeField(null=True, blank=True, editable=False)
    # When a provider last confirmed that it lets them in (empty: none ever did), and since when it no longer does:
    # until they sign in again, what acts for them without a browser rests (services.vouching). By the real clock.
    vouched_at = models.DateTimeField(null=True, blank=True, editable=False)
    unvouched_at = models.DateTimeField(null=True, blank=True, editable=False)
    password_given = models.BooleanField(
        default=False, editable=False, help_text=_("Somebody else chose their password; they set their own first.")
    )
    single_keys = models.BooleanField(_("single-key shortcuts"), default=True)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["name"]
    objects = UserManager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(Lower("email"), name="user_email_once"),
            models.UniqueConstraint(CALLED, name="user_called_once"),
            models.UniqueConstraint(
                fields=["external_id"], condition=~models.Q(external_id=""), name="user_external_id_once"
            ),
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return self.name

    @property
    def initials(self) -> str:
        parts = self.name.split() or ["?"]
        return (parts[0][0] + (parts[-1][0] if len(parts) > 1 else "")).upper()

    @property
    def only_reads(self) -> bool:
        """An auditor and nothing else: nobody makes such a person answer for what they oversee."""
        return bool(self.roles) and READS_ONLY.issuperset(self.roles)

    @property
    def elevation(self) -> str:
        """The role they took for a few hours, or "". It is over at its instant, whether or not anything ran."""
        return self.elevated_role if self.elevated_until and clock.now() < self.elevated_until else ""

    @property
    def rests_at(self) -> datetime | None:
        """From when on what acts for them without a browser rests, past or to come; None where nothing is planned."""
        if self.unvouched_at is not None:
            return self.unvouched_at
        of_directory = self.removed_at is None and bool(self.external_id or self.user_name)
        if self.vouched_at is None or of_directory or not settings.OIDC_CONFIRM_DAYS:
            return None
        return self.vouched_at + timedelta(days=settings.OIDC_CONFIRM_DAYS)

    @property
    def is_resting(self) -> bool:
        return self.rests_at is not None and self.rests_at <= timezone.now()

    def save(self, *args: Any, **kwargs: Any) -> None:
        # A sign-in only moves last_login; it is not a new version of the person.
        if kwargs.get("update_fields") == ["last_login"]:
            models.Model.save(self, *args, **kwargs)
        else:
            super().save(*args, **kwargs)


class Team(Record):
    name = models.CharField(_("name"), max_length=120, unique=True)
    slug = models.SlugField(max_length=60, unique=True)
    lead = models.ForeignKey(User, models.PROTECT, related_name="led_teams", null=True, blank=True)
    members = models.ManyToManyField(User, through="Membership", related_name="teams")
    provisioned = models.BooleanField(default=False, editable=False, help_text=_("The directory says who belongs."))
    external_id = models.CharField(max_length=255, blank=True, help_text=_("Of its group in the directory."))
    removed_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text=_("When the directory deleted its group.")
    )

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["external_id"], condition=~models.Q(external_id=""), name="team_external_id_once"
            )
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    team = models.ForeignKey(Team, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "user"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.user} in {self.team}"

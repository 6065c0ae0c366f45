"""Whether a secret source is what the catalog says: looked up as metadata, or said by a person. Never a value."""

from functools import reduce
from operator import or_
from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.catalog.models import SecretSource, Server
from registry.core import clock, ids
from registry.core.actors import Actor
from registry.core.models import append_only
from registry.core.permissions import allows


class AboutSecretQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        """By oversight, and by who answers for the server; others see the state of a source, and no more."""
        visible = self.filter(server__in=Server.objects.visible_to(actor))
        if allows(actor, "discovery.view_secret_checks"):
            return visible
        if actor.user_id is None:
            return self.none()
        roles = (Q(**{f"server__{role}": actor.user_id}) for role in ("owner", "deputy", "operator"))
        return visible.filter(reduce(or_, roles))


class SecretCheck(models.Model):
    """One look at the metadata of one secret. Append-only."""

    class Outcome(models.TextChoices):
        VERIFIED = "verified", _("Verified")
        NOT_FOUND = "not_found", _("Not found")
        DELETED = "deleted", _("Marked for deletion")
        CANNOT_CHECK = "cannot_check", _("Cannot be checked")

    id = models.UUIDField(primary_key=True, default=ids.new_id, editable=False)
    server = models.ForeignKey(Server, models.PROTECT, related_name="secret_checks")
    source = models.ForeignKey(SecretSource, models.PROTECT, related_name="checks")
    at = models.DateTimeField(default=clock.now)
    by = models.ForeignKey(User, models.PROTECT, related_name="+", null=True)
    outcome = models.CharField(max_length=12, choices=Outcome)
    detail = models.CharField(max_length=500, blank=True)
    rotation_enabled = models.BooleanField(null=True)
    last_rotated_at = models.DateTimeField(null=True)
    last_changed_at = models.DateTimeField(null=True)
    last_accessed_at = models.DateTimeField(null=True)
    facts = models.JSONField(default=dict)
    """Metadata as the store names it: versions, rotation interval, tags' names. Never a value."""

    objects = AboutSecretQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["source", "-id"], name="secret_check_newest")]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.source}: {self.get_outcome_display()}"


class SecretAttestation(models.Model):
    """A person's word, with an end, on a source no program can look up. Append-only; a newer one supersedes."""

    id = models.UUIDField(primary_key=True, default=ids.new_id, editable=False)
    server = models.ForeignKey(Server, models.PROTECT, related_name="secret_attestations")
    source = models.ForeignKey(SecretSource, models.PROTECT, related_name="attestations")
    at = models.DateTimeField(default=clock.now)
    by = models.ForeignKey(User, models.PROTECT, related_name="+")
    statement = models.TextField(max_length=2000)
    last_rotated_on = models.DateField(null=True, blank=True)
    until = models.DateField()

    objects = AboutSecretQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [models.CheckConstraint(condition=~Q(statement=""), name="attestation_says_something")]
        indexes = [models.Index(fields=["source", "-id"], name="attestation_newest")]
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.source}: {self.by}"


class SecretWatch(models.Model):
    """When a source is looked up next, and the newest of what was seen and said of it, for lists."""

    source = models.OneToOneField(SecretSource, models.PROTECT, primary_key=True, related_name="watch")
    last = models.ForeignKey(SecretCheck, models.PROTECT, related_name="+", null=True)
    attestation = models.ForeignKey(SecretAttestation, models.PROTECT, related_name="+", null=True)
    due_at = models.DateTimeField(null=True, db_index=True)
    """Moved ahead by whoever takes it up, so that what a killed worker left comes again."""
    failures = models.PositiveSmallIntegerField(default=0)
    """How often in a row its store could not be asked."""

    def __str__(self) -> str:
        return str(self.source)

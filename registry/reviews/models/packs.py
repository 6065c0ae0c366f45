"""Audit packs: who asked for one, about what, and what became of it. The archive itself lies in a folder."""

from pathlib import Path
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.text import slugify
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.core.actors import Actor
from registry.core.models import Record, kept_forever
from registry.core.permissions import allows
from registry.reviews.models.campaigns import Campaign
from registry.reviews.states import PACK_UNFINISHED, PackState


class AuditPackQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        """All for those who oversee; those of the campaigns one owns for everybody else."""
        if not allows(actor, "reviews.view"):
            return self.none()
        if actor.is_system or allows(actor, "reviews.view_all"):
            return self
        return self.filter(campaign__owner=actor.user_id)


class AuditPack(Record):
    """One archive of what a campaign or a period left behind; what it is about is one of the two."""

    campaign = models.ForeignKey(Campaign, models.PROTECT, related_name="packs", null=True, blank=True)
    since = models.DateField(null=True, blank=True)
    until = models.DateField(null=True, blank=True)
    """The last day of the period, itself included."""
    asked_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    state = models.CharField(max_length=8, choices=PackState, default=PackState.WAITING)
    step = models.CharField(max_length=60, blank=True)
    """The file that is being written."""
    processed = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    """Files written, and files there will be."""
    progressed_at = models.DateTimeField(null=True, blank=True)
    failure = models.CharField(max_length=300, blank=True)
    digest = models.CharField(max_length=64, blank=True, help_text=_("SHA-256 of the archive."))
    manifest_digest = models.CharField(max_length=64, blank=True, help_text=_("SHA-256 of manifest.json in it."))
    size = models.PositiveBigIntegerField(default=0)
    made_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    objects = AuditPackQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(campaign__isnull=False, since=None, until=None)
                | Q(campaign=None, since__isnull=False, until__gte=F("since")),
                name="pack_of_a_campaign_or_a_period",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["ready", "expired"])
                | (~Q(digest="") & Q(made_at__isnull=False, expires_at__isnull=False)),
                name="pack_made_has_digest_and_end",
            ),
            models.CheckConstraint(condition=~Q(state="failed") | ~Q(failure=""), name="pack_failed_says_why"),
            models.UniqueConstraint(
                fields=["campaign"],
                condition=Q(state__in=PACK_UNFINISHED, campaign__isnull=False),
                name="pack_unfinished_once_per_campaign",
            ),
            models.UniqueConstraint(
                fields=["since", "until"],
                condition=Q(state__in=PACK_UNFINISHED, campaign=None),
                name="pack_unfinished_once_per_period",
            ),
        ]
        triggers = [kept_forever()]

    def __str__(self) -> str:
        if self.campaign is not None:
            return self.campaign.name
        return _now("%(since)s to %(until)s") % {"since": self.since, "until": self.until}

    @property
    def running(self) -> bool:
        return self.state in PACK_UNFINISHED

    @property
    def about(self) -> dict[str, str]:
        """For the manifest."""
        if self.campaign is not None:
            return {"campaign": str(self.campaign.pk), "name": self.campaign.name}
        return {"since": str(self.since), "until": str(self.until)}

    @property
    def path(self) -> Path:
        return Path(settings.PACKS_DIR) / f"{self.pk}.zip"

    @property
    def file_name(self) -> str:
        about = slugify(self.campaign.name) if self.campaign is not None else f"{self.since}-to-{self.until}"
        return f"audit-pack-{about or 'campaign'}-{self.made_at:%Y-%m-%d}.zip"

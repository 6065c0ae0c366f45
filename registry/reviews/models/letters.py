"""Mails that are written but perhaps not sent yet."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from registry.accounts.models import User
from registry.core import clock, ids
from registry.reviews.models.campaigns import Campaign


class Letter(models.Model):
    """One mail to one person, written in the transaction of what it tells of, sent after it (an outbox).

    `key` names the occasion: the same occasion is written once, whatever was killed in between. The mail's Message-ID
    is made of `id`, so that the copy a crash may cause is recognised as a copy.
    """

    id = models.UUIDField(primary_key=True, default=ids.new_id, editable=False)
    key = models.CharField(max_length=200, unique=True, help_text=_("The occasion; nobody hears of it twice."))
    to = models.ForeignKey(User, models.PROTECT, related_name="+")
    campaign = models.ForeignKey(Campaign, models.PROTECT, related_name="letters", null=True)
    subject = models.CharField(max_length=250)
    text = models.TextField()
    html = models.TextField()
    written_at = models.DateTimeField(default=clock.now)
    due_at = models.DateTimeField(default=clock.now, help_text=_("Not to be tried before; moves on when it fails."))
    attempts = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    dropped_because = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["written_at", "id"]
        indexes = [
            models.Index(
                fields=["due_at"], condition=models.Q(sent_at=None, dropped_because=""), name="letter_to_be_sent"
            ),
            models.Index(fields=["campaign", "to", "-written_at"], name="letter_last_to_somebody"),
        ]

    def __str__(self) -> str:
        return self.subject

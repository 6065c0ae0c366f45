"""Certificates: the one row gateways read."""

from datetime import datetime
from typing import Any, Self

import pgtrigger
from django.db import models
from django.db.models import Q

from registry.core import clock
from registry.core.actors import Actor
from registry.core.models import Record, kept_forever
from registry.core.permissions import allows
from registry.reviews.models.decisions import Decision
from registry.reviews.models.subjects import AboutSubject, about_what_is_seen_by, exactly_one_subject


class CertificateQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        """As visible as what it certifies."""
        if not allows(actor, "reviews.view"):
            return self.none()
        if actor.is_system or allows(actor, "reviews.view_all"):
            return self
        return self.filter(about_what_is_seen_by(actor))

    def signed_after(self, instant: datetime) -> Self:
        """Valid ones by a newer signature: what they certify was looked at again since `instant`."""
        return self.filter(ended_at=None, certified_until__gt=clock.now(), decision__signed_at__gt=instant)


class Certificate(Record, AboutSubject):
    """The one row gateways read. Written only by the sign-off transaction; the newest one per subject counts."""

    fingerprint = models.CharField(max_length=64)
    certified_until = models.DateTimeField()
    decision = models.ForeignKey(Decision, models.PROTECT, related_name="certificates")
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_because = models.CharField(max_length=200, blank=True)

    objects = CertificateQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            exactly_one_subject("certificate_about_one_subject"),
            *(
                models.UniqueConstraint(
                    fields=[kind], condition=Q(kind=kind, ended_at=None), name=f"certificate_one_valid_per_{kind}"
                )
                for kind in ("server", "grant", "connection", "agent")
            ),
            models.CheckConstraint(
                condition=Q(ended_at=None) | ~Q(ended_because=""), name="certificate_end_has_reason"
            ),
        ]
        triggers = [
            kept_forever(),
            # Nothing but a signature that keeps something starts or prolongs certification (invariant 9).
            pgtrigger.Trigger(
                name="certificate_needs_signature",
                operation=pgtrigger.Insert,
                when=pgtrigger.Before,
                func="""
                    IF NOT EXISTS (
                        SELECT FROM reviews_decision
                        WHERE id = NEW.decision_id AND signed_at IS NOT NULL
                          AND value IN ('certify', 'certify_reduced', 'certify_until')
                    ) THEN
                        RAISE EXCEPTION 'a certificate needs a signed decision that keeps something';
                    END IF;
                    RETURN NEW;
                """,
            ),
            pgtrigger.Protect(
                name="certificate_only_ends",
                operation=pgtrigger.Update,
                condition=pgtrigger.AnyChange(
                    "fingerprint",
                    "certified_until",
                    "decision",
                    "kind",
                    "server",
                    "grant",
                    "connection",
                    "agent",
                ),
            ),
            pgtrigger.Protect(
                name="ended_stays_ended",
                operation=pgtrigger.Update,
                condition=pgtrigger.Q(old__ended_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subject} until {self.certified_until:%Y-%m-%d}"

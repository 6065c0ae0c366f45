"""What a gateway reads of one subject: is it certified at this instant, until when, and for exactly which facts."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import F, QuerySet
from django.utils.translation import gettext as _

from registry.catalog.models import Agent, Server, System
from registry.catalog.states import Lifecycle, Standing
from registry.core.canonical import digest
from registry.reviews.facts import collect
from registry.reviews.models import Certificate
from registry.reviews.models.subjects import about
from registry.trust.states import Status

FRESH = timedelta(seconds=15)
"""How long an answer may be kept: certification ends within a minute of a change, whoever caches."""


@dataclass(frozen=True)
class Certification:
    """The valid certificate of a subject, or the last one; `because` says why it is not certified, if it is not."""

    certificate: Certificate
    certified: bool
    because: str
    present_fingerprint: str
    max_age: int

    @property
    def fingerprint_matches(self) -> bool:
        return self.present_fingerprint == self.certificate.fingerprint

    @property
    def etag(self) -> str:
        """Changes with whatever the answer says, also with what no certificate is told of, such as a suspension."""
        held = self.certificate
        return f'"{digest([str(held.pk), held.version, self.certified, self.because, self.present_fingerprint])}"'


def certification(visible: QuerySet[Certificate], subject: UUID, now: datetime) -> Certification | None:
    """None when the subject never had a certificate among those `visible`."""
    # The one that has not ended first, else the one that ended last.
    newest = F("ended_at").desc(nulls_first=True)
    certificate = visible.filter(about(subject)).order_by(newest, "-created_at").first()
    if certificate is None:
        return None
    evidence = collect(certificate.kind, [subject])[subject]
    because = _why_not(certificate, evidence.subject, evidence.fingerprint, now)
    left = max(int((certificate.certified_until - now).total_seconds()), 0)
    fresh = int(FRESH.total_seconds())
    return Certification(
        certificate, not because, because, evidence.fingerprint, fresh if because else min(fresh, left)
    )


def _why_not(certificate: Certificate, subject: Any, fingerprint: str, now: datetime) -> str:
    """Why a gateway must not take the subject for certified; empty when it may."""
    if certificate.ended_at is not None:
        return certificate.ended_because
    if certificate.certified_until <= now:
        return _("Its time was over.")
    if certificate.fingerprint != fingerprint:
        return _("The certified facts changed.")
    state, in_force = _state(subject)
    if not in_force:
        return _("It is %(state)s.") % {"state": str(state).lower()}
    if isinstance(subject, Server | Agent):
        return ""
    if subject.valid_until <= now:
        return _("Its validity is over.")
    if (end := subject.resting_end) is not None:
        return _("%(end)s is %(state)s.") % {"end": end, "state": str(_state(end)[0]).lower()}
    return ""


def _state(subject: Any) -> tuple[object, bool]:
    if isinstance(subject, Server):
        return subject.get_lifecycle_display(), subject.lifecycle == Lifecycle.ACTIVE
    if isinstance(subject, Agent | System):
        return subject.get_standing_display(), subject.standing == Standing.ACTIVE
    return subject.get_status_display(), subject.status == Status.ACTIVE

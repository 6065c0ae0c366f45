"""Certificates: written by sign-off, ended by time, by change, or with what they certify. Nothing else touches them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from registry.audit.services import record
from registry.catalog import services as catalog
from registry.catalog.models import Agent, Server
from registry.core import clock
from registry.core.actors import Actor
from registry.reviews.facts import Evidence
from registry.reviews.models import Certificate, Decision
from registry.trust import services as trust
from registry.trust.states import HELD

MIRROR = Actor.system("certificates")
CHUNK = 200


def issue(*, actor: Actor, kind: str, evidence: Evidence, until: datetime, decision: Decision) -> Certificate:
    """Certify `evidence` until `until` and write that down on the thing. Part of a sign-off's transaction."""
    end_valid(actor=actor, kind=kind, subject_id=evidence.subject.pk, because="A newer certificate took its place.")
    certificate = Certificate.objects.create(
        kind=kind,
        **{f"{kind}_id": evidence.subject.pk},
        fingerprint=evidence.fingerprint,
        certified_until=until,
        decision=decision,
    )
    mirror(evidence.subject, until)
    record(
        actor=actor,
        act="certificate.issued",
        subject=certificate,
        data={
            "kind": kind,
            "subject": str(evidence.subject.pk),
            "fingerprint": evidence.fingerprint,
            "certified_until": until,
            "decision": str(decision.pk),
        },
    )
    return certificate


def end_valid(*, actor: Actor, kind: str, subject_id: UUID, because: str) -> Certificate | None:
    """End the valid certificate of a subject, if there is one; the mirror on the thing is the caller's."""
    certificate = (
        Certificate.objects.select_for_update(of=("self",)).filter(**{kind: subject_id}, ended_at=None).first()
    )
    if certificate is not None:
        end(actor, certificate, because)
    return certificate


def clear(*, actor: Actor, kind: str, subject: Any, because: str) -> None:
    """End certification of a subject and say so on the thing."""
    end_valid(actor=actor, kind=kind, subject_id=subject.pk, because=because)
    mirror(subject, None)


def end(actor: Actor, certificate: Certificate, because: str) -> None:
    certificate.ended_at, certificate.ended_because = clock.now(), because[:200]
    certificate.save(update_fields=["ended_at", "ended_because"])
    record(
        actor=actor,
        act="certificate.ended",
        subject=certificate,
        data={"kind": certificate.kind, "subject": str(certificate.subject_pk), "because": because},
    )


def mirror(subject: Any, until: datetime | None) -> None:
    if isinstance(subject, Server | Agent):
        catalog.set_certified_until(actor=MIRROR, thing=subject, until=until)
    elif until is None or subject.status in HELD:
        trust.set_certified_until(actor=MIRROR, relationship=subject, until=until)

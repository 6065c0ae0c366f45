"""Certificates: written by sign-off, ended by time, by change, or with what they certify. Nothing else touches them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from registry.audit.services import record
from registry.catalog import services as catalog
from registry.catalog.models import Agent, Server
from registry.core import clock
from registry.core.actors import Actor
from registry.core.permissions import require
from registry.reviews.facts import Evidence, collect
from registry.reviews.models import Certificate, Decision, SubjectKind
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
    _mirror(evidence.subject, until)
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
        _end(actor, certificate, because)
    return certificate


def clear(*, actor: Actor, kind: str, subject: Any, because: str) -> None:
    """End certification of a subject and say so on the thing."""
    end_valid(actor=actor, kind=kind, subject_id=subject.pk, because=because)
    _mirror(subject, None)


def _end(actor: Actor, certificate: Certificate, because: str) -> None:
    certificate.ended_at, certificate.ended_because = clock.now(), because[:200]
    certificate.save(update_fields=["ended_at", "ended_because"])
    record(
        actor=actor,
        act="certificate.ended",
        subject=certificate,
        data={"kind": certificate.kind, "subject": str(certificate.subject_pk), "because": because},
    )


def _mirror(subject: Any, until: datetime | None) -> None:
    if isinstance(subject, Server | Agent):
        catalog.set_certified_until(actor=MIRROR, thing=subject, until=until)
    elif until is None or subject.status in HELD:
        trust.set_certified_until(actor=MIRROR, relationship=subject, until=until)


def end_stale_certificates(*, server_ids: Iterable[UUID] | None = None, actor: Actor = MIRROR) -> int:
    """End certificates whose time is over, whose facts changed or whose subject is gone. Returns how many ended.

    With `server_ids` only what rests on those servers.
    """
    require(actor, "reviews.manage_campaign")
    valid = Certificate.objects.filter(ended_at=None).order_by("pk")
    if server_ids is not None:
        ids = list(server_ids)
        valid = valid.filter(Q(server__in=ids) | Q(grant__server__in=ids) | Q(connection__server__in=ids))
    ended, last = 0, None
    while True:
        chunk = list((valid.filter(pk__gt=last) if last else valid).values_list("pk", flat=True)[:CHUNK])
        if not chunk:
            return ended
        ended += _end_stale(actor, chunk)
        last = chunk[-1]


@transaction.atomic
def _end_stale(actor: Actor, pks: list[UUID]) -> int:
    certificates = list(
        Certificate.objects.select_for_update(of=("self",)).filter(pk__in=pks, ended_at=None).order_by("pk")
    )
    now, ended = clock.now(), 0
    for kind in SubjectKind.values:
        part = [certificate for certificate in certificates if certificate.kind == kind]
        evidence = collect(kind, [certificate.subject_pk for certificate in part]) if part else {}
        for certificate in part:
            present = evidence[certificate.subject_pk]
            if not present.in_place:
                _end(actor, certificate, "What it certified is no longer in place.")
                _mirror(present.subject, None)
            elif present.fingerprint != certificate.fingerprint:
                _end(actor, certificate, "The certified facts changed.")
                _mirror(present.subject, None)
            elif certificate.certified_until <= now:
                # The date stays on the thing: it shows since when the certification has lapsed.
                _end(actor, certificate, "Its time was over.")
            else:
                continue
            ended += 1
    return ended

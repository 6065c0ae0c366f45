"""Certificates: written by sign-off, ended by time, by change, or with what they certify. Nothing else touches them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F, Q

from registry.audit.models import Event
from registry.audit.services import build_event, record_all
from registry.catalog import services as catalog
from registry.catalog.models import Agent, Server
from registry.core import clock
from registry.core.actors import Actor
from registry.core.bulk import among
from registry.reviews.facts import Evidence, collect
from registry.reviews.models import Certificate, Decision, SubjectKind
from registry.trust import services as trust
from registry.trust.models import Connection, Grant
from registry.trust.states import HELD

MIRROR = Actor.system("certificates")
SUBJECTS = ("server", "agent", "grant__agent", "grant__server", "connection__server", "connection__system")


@dataclass(frozen=True)
class Shown:
    """What a reviewer saw and nothing has changed since: the subject, and the fingerprint of its facts."""

    subject: Any
    fingerprint: str


@dataclass(frozen=True)
class Issue:
    """A certificate to be: of exactly this evidence, until then, by this signed decision."""

    kind: str
    evidence: Evidence | Shown
    until: datetime
    decision: Decision


def issue_all(actor: Actor, issues: Sequence[Issue]) -> list[Certificate]:
    """Certify and write that down on the things, each of them once; part of a sign-off's transaction.

    The number of statements does not grow with the number of issues: a reviewer may sign thousands.
    """
    made: list[Certificate] = []
    for kind in SubjectKind.values:
        part = {each.evidence.subject.pk: each for each in issues if each.kind == kind}
        if not part:
            continue
        rows = _locked(Q(**{f"{kind}__in": part}))
        end_all(actor, rows, "A newer certificate took its place.")
        fresh = [
            Certificate(
                kind=kind,
                **{kind: each.evidence.subject},
                fingerprint=each.evidence.fingerprint,
                certified_until=each.until,
                decision=each.decision,
            )
            for each in part.values()
        ]
        Certificate.objects.bulk_create(fresh, batch_size=500)
        mirror_all(kind, {pk: each.until for pk, each in part.items()})
        record_all([_issued(actor, certificate) for certificate in fresh])
        made += fresh
    return made


def issue(*, actor: Actor, kind: str, evidence: Evidence, until: datetime, decision: Decision) -> Certificate:
    """Certify `evidence` until `until`, as `issue_all` does for many."""
    return issue_all(actor, [Issue(kind, evidence, until, decision)])[0]


def _locked(about: Q) -> list[Certificate]:
    """Valid certificates, locked in one order, with the names that events carry."""
    rows = Certificate.objects.select_for_update(of=("self",)).select_related(*SUBJECTS)
    return list(rows.filter(about, ended_at=None).order_by("pk"))


def _issued(actor: Actor, certificate: Certificate) -> Event:
    return build_event(
        actor=actor,
        act="certificate.issued",
        subject=certificate,
        data={
            "kind": certificate.kind,
            "subject": str(certificate.subject_pk),
            "fingerprint": certificate.fingerprint,
            "certified_until": certificate.certified_until,
            "decision": str(certificate.decision_id),
        },
    )


def mirror_all(kind: str, until: Mapping[UUID, datetime | None]) -> None:
    """Write down on many things of one kind until when each is certified; None: no longer."""
    match kind:
        case SubjectKind.SERVER:
            catalog.set_certified_until_of(actor=MIRROR, model=Server, until=until)
        case SubjectKind.AGENT:
            catalog.set_certified_until_of(actor=MIRROR, model=Agent, until=until)
        case SubjectKind.GRANT:
            trust.set_certified_until_of(actor=MIRROR, model=Grant, until=until)
        case SubjectKind.CONNECTION:
            trust.set_certified_until_of(actor=MIRROR, model=Connection, until=until)


def end_all(actor: Actor, rows: Sequence[Certificate], because: str) -> None:
    """End certificates the caller holds; the mirrors on the things are the caller's."""
    if not rows:
        return
    now = clock.now()
    for certificate in rows:
        certificate.ended_at, certificate.ended_because = now, because[:200]
        certificate.version, certificate.updated_at = certificate.version + 1, now
    Certificate.objects.filter(pk__in=among([certificate.pk for certificate in rows])).update(
        ended_at=now, ended_because=because[:200], version=F("version") + 1, updated_at=now
    )
    record_all([_ended(actor, certificate) for certificate in rows])


def _ended(actor: Actor, certificate: Certificate) -> Event:
    return build_event(
        actor=actor,
        act="certificate.ended",
        subject=certificate,
        data={
            "kind": certificate.kind,
            "subject": str(certificate.subject_pk),
            "because": certificate.ended_because,
        },
    )


def end_valid(*, actor: Actor, kind: str, subject_id: UUID, because: str) -> Certificate | None:
    """End the valid certificate of a subject, if there is one; the mirror on the thing is the caller's."""
    certificate = next(iter(_locked(Q(**{kind: subject_id}))), None)
    if certificate is not None:
        end(actor, certificate, because)
    return certificate


def clear(*, actor: Actor, kind: str, subject: Any, because: str) -> None:
    """End certification of a subject and say so on the thing."""
    end_valid(actor=actor, kind=kind, subject_id=subject.pk, because=because)
    mirror(subject, None)


def end(actor: Actor, certificate: Certificate, because: str) -> None:
    end_all(actor, [certificate], because)


def mirror(subject: Any, until: datetime | None) -> None:
    if isinstance(subject, Server | Agent):
        catalog.set_certified_until(actor=MIRROR, thing=subject, until=until)
    elif until is None or subject.status in HELD:
        trust.set_certified_until(actor=MIRROR, relationship=subject, until=until)


# --- Certificates of others that a reduction narrows -----------------------------------------------------


def resting_on(narrowed: Iterable[Any]) -> list[tuple[Certificate, bool]]:
    """Valid certificates whose facts include what is about to shrink, and whether they hold as things stand.

    Asked before it shrinks: a server and its grants carry in their fingerprint what the server reaches, an agent what
    it may call.
    """
    things = list(narrowed)
    servers = {thing.server_id for thing in things if isinstance(thing, Connection)}
    agents = {thing.agent_id for thing in things if isinstance(thing, Grant)}
    if not servers and not agents:
        return []
    touched = _locked(Q(server__in=servers) | Q(grant__server__in=servers) | Q(agent__in=agents))
    present = _present(touched)
    return [(each, present[each.pk].fingerprint == each.fingerprint) for each in touched]


def carry_over(actor: Actor, touched: Sequence[tuple[Certificate, bool]]) -> None:
    """Re-issue what only became narrower by a signed reduction: somebody independent certified more than remains.

    Until the same instant, by the same decision. What had drifted before stays for the sweep to end.
    """
    held = Certificate.objects.filter(pk__in=[each.pk for each, holds in touched if holds], ended_at=None)
    still = {certificate.pk: certificate for certificate in held}
    present = _present(list(still.values()))
    narrower: list[Issue] = []
    replaced: list[Certificate] = []
    for pk, certificate in still.items():
        if present[pk].in_place and present[pk].fingerprint != certificate.fingerprint:
            narrower.append(Issue(certificate.kind, present[pk], certificate.certified_until, certificate.decision))
            replaced.append(certificate)
    end_all(
        actor, replaced, "A sign-off narrowed what it reaches; a certificate of the remaining facts took its place."
    )
    issue_all(actor, narrower)


def _present(found: Sequence[Certificate]) -> dict[UUID, Evidence]:
    present: dict[UUID, Evidence] = {}
    for kind in SubjectKind.values:
        part = [certificate for certificate in found if certificate.kind == kind]
        evidence = collect(kind, [certificate.subject_pk for certificate in part]) if part else {}
        present |= {certificate.pk: evidence[certificate.subject_pk] for certificate in part}
    return present

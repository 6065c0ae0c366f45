"""What a signed reduce or revoke brings about, until somebody independent has seen that it took effect."""

from typing import Any

from django.db import transaction

from registry.audit.services import record
from registry.catalog import services as catalog
from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid, NotIndependent
from registry.core.independence import require_independent
from registry.core.permissions import allows, require
from registry.core.secrets import refuse_secrets
from registry.reviews.facts import ACCESS_LADDER
from registry.reviews.models import Decision, Item, Remediation, SubjectKind, Verification
from registry.reviews.outcome import Outcome, Resolution
from registry.reviews.services import certificates
from registry.reviews.services.campaigns import complete_if_remediated, locked_campaign
from registry.reviews.states import REMEDIATION, RemediationState
from registry.trust import services as trust
from registry.trust.models import Connection, Grant
from registry.trust.states import Status


def dispatch(actor: Actor, item: Item, resolution: Resolution, decision: Decision) -> Grant | Connection | None:
    """Carry a signed reduction or revocation out. Returns the narrower version that remains, None when nothing does.

    Done here is not verified: REPORTED_DONE and VERIFIED are different states (invariant 11).
    """
    kind = Remediation.Kind.REDUCE if resolution.value is Outcome.REDUCE else Remediation.Kind.REVOKE
    row = Remediation.objects.create(item=item, decision=decision, kind=kind)
    REMEDIATION.move(row, RemediationState.DISPATCHED, field="state")
    row.attempts = 1
    subject, reason = item.subject, f"Review {item.campaign}: {decision.reason}"[:2000]
    remains: Grant | Connection | None = None
    because = "A review revoked it."
    if kind == Remediation.Kind.REDUCE:
        because = "A review reduced it; the narrower version has its own certificate."
    # The certificate ends before what it certifies does, and in the same order as everywhere: certificate, then thing.
    certificates.end_valid(actor=actor, kind=item.kind, subject_id=subject.pk, because=because)
    if item.kind == SubjectKind.SERVER:
        by = _on_behalf_of(actor, "catalog.suspend_server", subject)
        if subject.lifecycle == Lifecycle.ACTIVE:
            catalog.suspend_server(actor=by, server=subject, reason=reason)
        certificates.clear(actor=actor, kind=item.kind, subject=subject, because=because)
    elif kind == Remediation.Kind.REVOKE:
        by = _on_behalf_of(actor, "trust.revoke_relationship", subject)
        trust.revoke_relationship(actor=by, relationship=subject, reason=reason)
    else:
        remains = _reduce(_on_behalf_of(actor, "trust.reduce_relationship", subject), item, resolution, reason)
    row.channel_reference = f"{item.kind} {remains.pk if remains is not None else subject.pk}"
    row.reported_at = clock.now()
    REMEDIATION.move(row, RemediationState.REPORTED_DONE, field="state")
    REMEDIATION.move(row, RemediationState.VERIFYING, field="state")
    row.save()
    record(
        actor=actor,
        act="remediation.carried_out",
        subject=item,
        data={
            "remediation": str(row.pk),
            "kind": kind,
            "kept": sorted(resolution.kept),
            "reference": row.channel_reference,
        },
    )
    return remains


def _on_behalf_of(actor: Actor, permission: str, subject: Any) -> Actor:
    """The signature is the authority: where the signer may not do it by hand, the registry does it for them."""
    return actor if allows(actor, permission, subject) else Actor.system(f"sign-off of {actor.label}")


def _reduce(actor: Actor, item: Item, resolution: Resolution, reason: str) -> Grant | Connection:
    if item.kind == SubjectKind.GRANT:
        return trust.reduce_grant(actor=actor, grant=item.subject, kept_tools=sorted(resolution.kept), reason=reason)
    levels = [level for level in ACCESS_LADDER if f"access:{level}" in resolution.kept]
    return trust.reduce_connection(
        actor=actor,
        connection=item.subject,
        access=levels[-1],
        kept_scopes=sorted(atom for atom in resolution.kept if not atom.startswith("access:")) or None,
        reason=reason,
    )


@transaction.atomic
def confirm_remediation(
    *, actor: Actor, remediation: Remediation, proof: str, effective: bool = True, expected_version: str | None = None
) -> Remediation:
    """A second, independent person has looked whether the access is really gone, and says what they saw.

    Raises `NotIndependent` for whoever decided it, `Conflict` when the registry itself shows the contrary.
    """
    require(actor, "reviews.confirm_remediation", remediation)
    refuse_secrets({"proof": proof})
    row: Remediation = (
        Remediation.objects.select_for_update(of=("self",))
        .select_related("item__campaign", "decision__work_item")
        .get(pk=remediation.pk)
    )
    row.check_version(expected_version)
    item = row.item
    require_independent(actor, item)
    if row.decision is not None and actor.is_person(row.decision.work_item.reviewer_id):
        raise NotIndependent("Whoever decided it cannot also confirm that it took effect.")
    if not proof.strip():
        raise Invalid(fields={"proof": ["Say what you looked at and what you saw."]})
    if row.state == RemediationState.NOT_VERIFIED:
        REMEDIATION.move(row, RemediationState.VERIFYING, field="state")
        row.attempts += 1
    if effective and (still := _still_there(row)):
        raise Conflict(still)
    now = clock.now()
    REMEDIATION.move(row, RemediationState.VERIFIED if effective else RemediationState.NOT_VERIFIED, field="state")
    row.verified_at = now if effective else None
    row.save()
    Verification.objects.create(
        remediation=row,
        source=Verification.Source.ATTESTATION,
        confirmed=effective,
        observed_at=now,
        proof=proof.strip(),
        by=actor.user,
    )
    record(
        actor=actor,
        act=f"remediation.{row.state}",
        subject=item,
        data={"remediation": str(row.pk), "proof": proof.strip()},
    )
    complete_if_remediated(actor, locked_campaign(item.campaign_id))
    return row


def _still_there(row: Remediation) -> str:
    """Why the registry contradicts the attestation; empty when it does not."""
    subject = row.item.subject
    if row.item.kind == SubjectKind.SERVER:
        return f"{subject} is active again." if subject.lifecycle == Lifecycle.ACTIVE else ""
    if subject.status in (Status.ACTIVE, Status.SUSPENDED):
        return f"{subject} is still {subject.status}."
    again = type(subject).objects.filter(lineage=subject.lineage, status=Status.ACTIVE)
    if row.kind == Remediation.Kind.REVOKE and again.exists():
        return f"{subject} was approved again since."
    return ""

"""The signature: drafts become final, outcomes are computed and applied, certificates are written. One transaction."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from registry.audit.services import record
from registry.catalog import services as catalog
from registry.core import clock
from registry.core.actors import Actor
from registry.core.canonical import digest
from registry.core.errors import Changed, Conflict, Invalid, NotIndependent
from registry.core.independence import bars
from registry.core.permissions import allows, require
from registry.core.secrets import refuse_secrets
from registry.reviews.desk import same_subject
from registry.reviews.facts import Evidence, collect
from registry.reviews.models import (
    Campaign,
    Certificate,
    Decision,
    Item,
    SignOff,
    SubjectKind,
    WorkItem,
)
from registry.reviews.outcome import Answer, Outcome, Resolution, one_deny_denies
from registry.reviews.population import KIND_ORDER
from registry.reviews.services import certificates, remediation
from registry.reviews.services.campaigns import advance_campaign, locked_campaign
from registry.reviews.services.decisions import certified_until, require_decidable
from registry.reviews.services.items import FactsChanged, escalate, locked_item, move_item
from registry.reviews.services.watch import check_items
from registry.reviews.states import WORK_ITEM, CampaignState, ItemState, WorkItemState

_FINAL = {
    Outcome.CERTIFY: ItemState.CERTIFIED,
    Outcome.UNTIL: ItemState.CERTIFIED_UNTIL,
    Outcome.REDUCE: ItemState.CERTIFIED_REDUCED,
    Outcome.REVOKE: ItemState.REVOKED,
}


def sign_off(
    *, actor: Actor, campaign: Campaign, statement: str, auth_method: str, expected: str | None = None
) -> SignOff:
    """Sign all of one's drafts in a campaign. The caller has re-authenticated the person, and says how.

    `expected` is the `drafts_digest` of what the person was shown; nothing is signed when the drafts are others now.
    Raises `FactsChanged` naming the items whose facts moved (their drafts are gone), `Changed` when the drafts are
    not the expected ones, `NotIndependent` naming those one may no longer decide, `TooLate`, and `Conflict` when
    there is nothing to sign.
    """
    require(actor, "reviews.sign_off", campaign)
    drafted = _drafted(actor, campaign)
    check_items(item_ids=[work_item.item_id for work_item in drafted])
    suspects = Q(pk__in=[work_item.item_id for work_item in drafted])
    if expected is not None and drafts_digest(_unsigned(_drafted(actor, campaign))) != expected:
        # The sweep may have discarded drafts between the page and this act; their items are in the same hands.
        open_here = WorkItem.objects.filter(reviewer=actor.user_id, state=WorkItemState.OPEN)
        suspects |= Q(campaign=campaign, pk__in=open_here.values("item"))
    moved = Item.objects.filter(suspects, state=ItemState.INVALIDATED).order_by("label")
    if labels := list(moved.values_list("label", flat=True)):
        raise FactsChanged(
            f"Nothing is signed: the facts of these changed since you decided; look at them again: {', '.join(labels)}."
        )
    return _sign(actor=actor, campaign=campaign, statement=statement, auth_method=auth_method, expected=expected)


def drafts_digest(drafts: Iterable[Decision]) -> str:
    """Names a set of drafts as they stand: another draft, one less or one edited gives another digest."""
    return digest(sorted([str(draft.pk), draft.version] for draft in drafts))


def _unsigned(work_items: Sequence[WorkItem]) -> list[Decision]:
    return list(Decision.objects.filter(work_item__in=work_items, signed_at=None))


def _drafted(actor: Actor, campaign: Campaign) -> list[WorkItem]:
    return list(
        WorkItem.objects.filter(
            item__campaign=campaign, reviewer=actor.user_id, state=WorkItemState.RESPONDED, decisions__signed_at=None
        ).order_by("item", "pk")
    )


@transaction.atomic
def _sign(*, actor: Actor, campaign: Campaign, statement: str, auth_method: str, expected: str | None) -> SignOff:
    refuse_secrets({"statement": statement})
    campaign = locked_campaign(campaign.pk)
    if campaign.state != CampaignState.ACTIVE:
        raise Conflict(f"This campaign is {campaign.get_state_display().lower()}; nothing can be signed.")
    if not statement.strip():
        raise Invalid(fields={"statement": ["Say what you sign."]})
    work_items = _drafted(actor, campaign)
    if not work_items:
        raise Conflict("There is nothing to sign: decide on at least one item first.")
    found, drafts, barred = [], [], []
    for work_item in work_items:
        work_item.item = locked_item(work_item.item_id)
        draft = Decision.objects.select_for_update(of=("self",)).get(work_item=work_item, signed_at=None)
        draft.work_item = work_item
        found.append(draft)
        if reasons := bars(actor.user_id, work_item.item):
            barred.append(f"{work_item.item} (you {' and '.join(reasons)})")
            continue
        require_decidable(actor, work_item, draft.evidence_hash)
        drafts.append(draft)
    if expected is not None and drafts_digest(found) != expected:
        raise Changed(
            "Something changed since you looked: these are other decisions than the page showed. Nothing is signed; "
            "read what you would sign now, then sign again."
        )
    if barred:
        raise NotIndependent(f"Step back from these first, somebody else must decide them: {'; '.join(barred)}.")
    signature = put_signature(actor, campaign, drafts, statement=statement.strip(), auth_method=auth_method)
    resolve(actor, campaign, [draft.work_item.item for draft in drafts])
    advance_campaign(actor, campaign)
    return signature


def put_signature(
    actor: Actor, campaign: Campaign, drafts: Sequence[Decision], *, statement: str, auth_method: str
) -> SignOff:
    """Make drafts final under one signature. From here a trigger refuses every change of them."""
    if actor.user is None:
        raise Conflict("Only a named person signs decisions.")
    ordered = sorted(drafts, key=lambda draft: draft.pk)
    now = clock.now()
    signature = SignOff.objects.create(
        campaign=campaign,
        reviewer=actor.user,
        decisions_root=digest([signed_form(draft) for draft in ordered]),
        decision_count=len(ordered),
        statement=statement,
        auth_method=auth_method,
        at=now,
    )
    for draft in ordered:
        draft.supersedes = _superseded_by(draft)
        draft.signed_at, draft.sign_off = now, signature
        draft.save()
        WORK_ITEM.move(draft.work_item, WorkItemState.CLOSED, field="state")
        draft.work_item.save()
    record(
        actor=actor,
        act="campaign.signed",
        subject=campaign,
        data={
            "sign_off": str(signature.pk),
            "root": signature.decisions_root,
            "decisions": len(ordered),
            "auth_method": auth_method,
        },
    )
    return signature


def signed_form(decision: Decision) -> dict[str, Any]:
    """What a signature covers of a decision; `decisions_root` is the digest of these, ordered by id."""
    return {
        "id": str(decision.pk),
        "item": str(decision.work_item.item_id),
        "value": decision.value,
        "kept": sorted(decision.kept),
        "until": decision.until.isoformat() if decision.until else None,
        "reason": decision.reason,
        "evidence_hash": decision.evidence_hash,
    }


def _superseded_by(draft: Decision) -> Decision | None:
    """The last signed decision on the same subject that nothing supersedes yet."""
    earlier = Decision.objects.filter(
        work_item__item__in=same_subject(draft.work_item.item), signed_at__isnull=False, superseded_by=None
    )
    return earlier.exclude(work_item__item=draft.work_item.item_id).order_by("-signed_at").first()


# --- From answers to effects -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Resolved:
    item: Item
    resolution: Resolution
    decision: Decision


def resolve(actor: Actor, campaign: Campaign, items: Sequence[Item]) -> None:
    """Outcome and effect of every item whose answers are all in.

    What is taken away goes first, so that certificates are about what remains.
    """
    resolved = [found for item in items if (found := _outcome_of(item)) is not None]
    taken = [each for each in resolved if each.resolution.value in (Outcome.REDUCE, Outcome.REVOKE)]
    carried = _certificates_touched(taken)
    remaining: dict[UUID, Any] = {}
    for each in taken:
        subject = remediation.dispatch(actor, each.item, each.resolution, each.decision)
        if subject is not None:
            remaining[each.item.pk] = subject
    _certify(actor, resolved, remaining)
    _carry_over(actor, carried)
    for each in resolved:
        if each.resolution.value is Outcome.NOT_DECIDED:
            closed = each.decision.work_item
            escalate(actor, each.item, closed, each.decision.reason or "Not sure.")
            continue
        each.item.outcome = each.resolution.value
        move_item(actor, each.item, ItemState.SIGNED, decision=str(each.decision.pk))
        move_item(actor, each.item, _FINAL[each.resolution.value], outcome=each.resolution.value)


def _outcome_of(item: Item) -> _Resolved | None:
    """None while somebody's answer is still open."""
    work_items = list(item.work_items.all())
    if any(work_item.state != WorkItemState.CLOSED for work_item in work_items):
        return None
    decisions = list(
        Decision.objects.filter(work_item__in=work_items, signed_at__isnull=False)
        .select_related("work_item__reviewer")
        .order_by("signed_at", "pk")
    )
    # "Not sure" was answered by asking somebody else; once somebody decided, it no longer counts.
    counting = [decision for decision in decisions if decision.value != Decision.Value.NOT_DECIDED] or decisions
    resolution = one_deny_denies([Answer(Outcome(d.value), frozenset(d.kept), d.until) for d in counting])
    decisive = [d for d in counting if d.value == resolution.value] or counting
    return _Resolved(item, resolution, decisive[-1])


def _certify(actor: Actor, resolved: Sequence[_Resolved], remaining: dict[UUID, Any]) -> None:
    """Write the certificates, about the facts as they are once everything was taken away."""
    by_kind: dict[str, list[tuple[_Resolved, UUID]]] = defaultdict(list)
    for each in resolved:
        if each.resolution.value in (Outcome.CERTIFY, Outcome.UNTIL, Outcome.REDUCE):
            subject = remaining.get(each.item.pk)
            by_kind[each.item.kind].append((each, subject.pk if subject is not None else each.item.subject_pk))
    for kind in KIND_ORDER:
        evidence = collect(kind, [pk for _each, pk in by_kind[kind]]) if by_kind[kind] else {}
        for each, pk in by_kind[kind]:
            until = certified_until(each.item, each.resolution.until)
            if until <= clock.now():
                raise Conflict(f"{each.item} can no longer be certified: what it is for has ended.")
            certificates.issue(actor=actor, kind=kind, evidence=evidence[pk], until=until, decision=each.decision)
            if kind == SubjectKind.SERVER:
                _approve_tools(actor, evidence[pk])


def _approve_tools(actor: Actor, evidence: Evidence) -> None:
    """Certifying a server approves the tool definitions that were shown (DESIGN, invariant 5)."""
    if any(not tool["approved"] for tool in evidence.context["tools"]) and allows(
        actor, "catalog.decide_intake", evidence.subject
    ):
        catalog.approve_tools(actor=actor, server=evidence.subject)


# --- Certificates of others that a reduction narrows -----------------------------------------------------


def _certificates_touched(taken: Sequence[_Resolved]) -> list[tuple[Certificate, bool]]:
    """Valid certificates whose facts include a connection that is about to shrink, and whether they hold until then.

    A server and its grants carry what the server reaches in their fingerprint.
    """
    narrowed = {each.item.subject.server_id for each in taken if each.item.kind == SubjectKind.CONNECTION}
    about = Q(server__in=narrowed) | Q(grant__server__in=narrowed)
    touched = (
        list(Certificate.objects.select_for_update(of=("self",)).filter(about, ended_at=None).order_by("pk"))
        if narrowed
        else []
    )
    present = _present(touched)
    return [(each, present[each.pk].fingerprint == each.fingerprint) for each in touched]


def _carry_over(actor: Actor, carried: Sequence[tuple[Certificate, bool]]) -> None:
    """Re-issue what only became narrower by this very signature: somebody independent certified more than remains.

    What had drifted before stays for the sweep to end.
    """
    still = {
        certificate.pk: certificate
        for certificate in Certificate.objects.filter(pk__in=[c.pk for c, held in carried if held], ended_at=None)
    }
    present = _present(list(still.values()))
    for pk, certificate in still.items():
        if present[pk].in_place and present[pk].fingerprint != certificate.fingerprint:
            certificates.end_valid(
                actor=actor,
                kind=certificate.kind,
                subject_id=certificate.subject_pk,
                because="A sign-off narrowed what it reaches; a certificate of the remaining facts took its place.",
            )
            certificates.issue(
                actor=actor,
                kind=certificate.kind,
                evidence=present[pk],
                until=certificate.certified_until,
                decision=certificate.decision,
            )


def _present(found: Sequence[Certificate]) -> dict[UUID, Evidence]:
    present: dict[UUID, Evidence] = {}
    for kind in SubjectKind.values:
        part = [certificate for certificate in found if certificate.kind == kind]
        evidence = collect(kind, [certificate.subject_pk for certificate in part]) if part else {}
        present |= {certificate.pk: evidence[certificate.subject_pk] for certificate in part}
    return present

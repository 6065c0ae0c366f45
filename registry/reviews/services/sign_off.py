"""The signature: drafts become final, outcomes are computed and applied, certificates are written. One transaction."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils.translation import gettext as _

from registry.audit.services import record
from registry.catalog import services as catalog
from registry.catalog.models import Server, Tool
from registry.core import clock
from registry.core.actors import Actor
from registry.core.canonical import digest
from registry.core.errors import Changed, Conflict, Invalid, NotIndependent
from registry.core.independence import bars
from registry.core.permissions import allows, require
from registry.core.secrets import refuse_secrets
from registry.core.step_up import require_recent
from registry.reviews.drift import drifted_items
from registry.reviews.facts import collect, reducible
from registry.reviews.models import Campaign, Decision, Item, SignOff, SubjectKind, WorkItem, WorkItemMove
from registry.reviews.outcome import KEEPS, VALID, Answer, Outcome, Resolution, resolve
from registry.reviews.seats import decisive, over_all_stages, resolution_of, seats_of
from registry.reviews.services import certificates, remediation
from registry.reviews.services.actions import give_back_certified
from registry.reviews.services.campaigns import advance_campaign
from registry.reviews.services.decisions import certified_until, drafts_digest, require_decidable
from registry.reviews.services.items import FactsChanged, ask_another
from registry.reviews.services.moves import (
    close_work,
    locked_campaign,
    locked_item,
    locked_items,
    move_item,
    move_items,
)
from registry.reviews.services.quality import assess, require_careful
from registry.reviews.services.watch import check_items
from registry.reviews.states import CampaignState, ItemState, WorkItemState

VERSIONED = (SubjectKind.GRANT, SubjectKind.CONNECTION)
"""Reducing or replacing one of these makes a new row of the same lineage."""
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
    not the expected ones, `NotIndependent` naming those one may no longer decide, `Careless` when the figures say that
    nobody looked and no second person confirmed, `TooLate`, and `Conflict` when there is nothing to sign.
    """
    require(actor, "reviews.sign_off", campaign)
    require_recent(actor, _("Sign off"))
    drafted = _drafted(actor, campaign)
    sign = partial(
        _sign, actor=actor, campaign=campaign, statement=statement, auth_method=auth_method, expected=expected
    )
    if drafted:
        # In its own transaction: the verdict is kept although the signature is refused.
        assess(actor=actor, campaign=campaign)
    try:
        return sign()
    except (_Drifted, Changed) as refusal:
        # In its own transaction: what moved waits to be seen although nothing is signed.
        check_items(item_ids=[work_item.item_id for work_item in drafted])
        _refuse_moved(actor, campaign, drafted)
        if isinstance(refusal, Changed):
            raise
    # What drifted is gone altogether, and its draft with it; the rest can be signed.
    return sign()


class _Drifted(Exception):
    """Facts moved under the drafts; nothing is signed before somebody looked which."""


def _refuse_moved(actor: Actor, campaign: Campaign, drafted: Sequence[WorkItem]) -> None:
    """Raise `FactsChanged` naming what has to be looked at again.

    A sweep may have discarded drafts between the page and this act; their items are in the same hands.
    """
    open_here = WorkItem.objects.filter(reviewer=actor.user_id, state=WorkItemState.OPEN)
    suspects = Q(pk__in=[work_item.item_id for work_item in drafted]) | Q(
        campaign=campaign, pk__in=open_here.values("item")
    )
    moved = Item.objects.filter(suspects, state=ItemState.INVALIDATED).order_by("label")
    if labels := list(moved.values_list("label", flat=True)):
        raise FactsChanged(
            f"Nothing is signed: the facts of these changed since you decided; look at them again: {', '.join(labels)}."
        )


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
        if (before := why_nothing(actor, campaign)).signature is not None:
            raise Conflict(before.words)
        raise Conflict(f"This campaign is {campaign.get_state_display().lower()}; nothing can be signed.")
    if not statement.strip():
        raise Invalid(fields={"statement": ["Say what you sign."]})
    drafts = _locked_drafts(actor, campaign)
    if not drafts:
        raise Conflict(why_nothing(actor, campaign).words)
    barred = []
    for draft in drafts:
        if reasons := bars(actor.user_id, draft.work_item.item):
            barred.append(f"{draft.work_item.item} (you {' and '.join(reasons)})")
        else:
            require_decidable(actor, draft.work_item, draft.evidence_hash)
    if expected is not None and drafts_digest(drafts) != expected:
        raise Changed(
            "Something changed since you looked: these are other decisions than the page showed. Nothing is signed; "
            "read what you would sign now, then sign again."
        )
    if barred:
        raise NotIndependent(f"Step back from these first, somebody else must decide them: {'; '.join(barred)}.")
    if drifted_items(Q(pk__in=[draft.work_item.item_id for draft in drafts])):
        raise _Drifted
    require_careful(actor, campaign, drafts)
    signature = put_signature(actor, campaign, drafts, statement=statement.strip(), auth_method=auth_method)
    settle(actor, campaign, [draft.work_item.item for draft in drafts])
    advance_campaign(actor, campaign)
    return signature


@dataclass(frozen=True)
class NothingToSign:
    """Why no draft of somebody waits for their signature: they signed, or others' answers settled what they drafted."""

    signature: SignOff | None
    """Their newest in this campaign."""
    overtaken: Sequence[Decision]
    """Signed answers of others that decided an item which was theirs too, the newest first."""

    @property
    def words(self) -> str:
        said = []
        if self.signature is not None:
            said.append(f"You signed {self.signature.decision_count} on {self.signature.at:%d %B %Y, %H:%M} UTC.")
        for each in self.overtaken:
            said.append(f"{each.work_item.reviewer} signed {each.work_item.item} before you, and that decided it.")
        if not said:
            return "There is nothing to sign: decide on at least one item first."
        return f"There is nothing left to sign. {' '.join(said)}"


NAMED_OVERTAKEN = 5


def why_nothing(actor: Actor, campaign: Campaign) -> NothingToSign:
    own = SignOff.objects.filter(campaign=campaign, reviewer=actor.user_id, kind=SignOff.Kind.REVIEWER)
    let_go = WorkItem.objects.filter(
        item=OuterRef("work_item__item"),
        stage=OuterRef("work_item__stage"),
        reviewer=actor.user_id,
        state=WorkItemState.CLOSED,
        decisions=None,
    ).exclude(moves__kind=WorkItemMove.Kind.ESCALATED)
    others = (
        Decision.objects.filter(Exists(let_go), work_item__item__campaign=campaign, signed_at__isnull=False)
        .select_related("work_item__item", "work_item__reviewer")
        .defer("work_item__item__snapshot")
        .order_by("-signed_at", "-pk")
    )
    return NothingToSign(own.order_by("-at").first(), list(others[:NAMED_OVERTAKEN]))


def _locked_drafts(actor: Actor, campaign: Campaign) -> list[Decision]:
    """One's unsigned answers with their work items and locked items, in a fixed number of queries."""
    work_items = {work_item.pk: work_item for work_item in _drafted(actor, campaign)}
    items = {item.pk: item for item in locked_items({work_item.item_id for work_item in work_items.values()})}
    drafts = list(
        Decision.objects.select_for_update(of=("self",)).filter(work_item__in=work_items, signed_at=None).order_by("pk")
    )
    for draft in drafts:
        draft.work_item = work_items[draft.work_item_id]
        draft.work_item.item = items[draft.work_item.item_id]
    return drafts


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
        stage=campaign.stage,
        decisions_root=digest([signed_form(draft) for draft in ordered]),
        decision_count=len(ordered),
        statement=statement,
        auth_method=auth_method,
        at=now,
    )
    _supersede(ordered)
    for draft in ordered:
        draft.signed_at, draft.sign_off = now, signature
        draft.version += 1
    Decision.objects.filter(pk__in=[draft.pk for draft in ordered]).update(
        signed_at=now, sign_off=signature, version=F("version") + 1, updated_at=now
    )
    close_work([draft.work_item for draft in ordered])
    record(
        actor=actor,
        act="decisions.signed",
        subject=campaign,
        data={
            "sign_off": str(signature.pk),
            "stage": signature.stage,
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


def _supersede(drafts: Sequence[Decision]) -> None:
    """Each draft names the last signed decision of an earlier review of the same thing that nothing supersedes yet.

    That is the only way a signed decision stops counting: by a new row that points to it. Versions of one
    relationship are one thing.
    """
    changed = []
    for kind in SubjectKind.values:
        about = {draft.pk: draft for draft in drafts if draft.work_item.item.kind == kind}
        if not about:
            continue
        same = f"{kind}__lineage" if kind in VERSIONED else kind
        keys = {pk: _identity(draft.work_item.item) for pk, draft in about.items()}
        earlier = (
            Decision.objects.filter(signed_at__isnull=False, superseded_by=None)
            .filter(**{f"work_item__item__{same}__in": list(keys.values())})
            .exclude(work_item__item__in=[draft.work_item.item_id for draft in about.values()])
            .order_by("signed_at", "pk")
            .values_list(f"work_item__item__{same}", "pk")
        )
        last = dict(earlier)
        for pk, key in keys.items():
            if key in last:
                about[pk].supersedes_id = last[key]
                changed.append(about[pk])
    Decision.objects.bulk_update(changed, ["supersedes"], batch_size=500)


def _identity(item: Item) -> UUID:
    """What stays the same from one version of the thing to the next."""
    identity: UUID = item.subject.lineage if item.kind in VERSIONED else item.subject_pk
    return identity


# --- From answers to effects -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Settled:
    item: Item
    resolution: Resolution
    decision: Decision


def settle(actor: Actor, campaign: Campaign, items: Sequence[Item]) -> None:
    """What follows from the answers that are in: nothing yet, somebody else is asked, the next stage, or the end.

    A denial ends an item in whatever stage it falls; everything else waits for the last one, whose outcome is the
    most cautious of all stages. Who need not answer any more is let go. The caller holds campaign and items.
    """
    seats = seats_of(items)
    final: list[_Settled] = []
    decided: list[Item] = []
    unsettled: list[Item] = []
    for item in items:
        asked = seats[item.pk]
        found = resolution_of(item, asked, item.stage)
        if found.value is Outcome.WAIT:
            continue
        if found.asks_another:
            unsettled.append(item)
            continue
        decided.append(item)
        if found.is_denial or item.stage == len(campaign.stages):
            resolution = _as_things_are(item, over_all_stages(item, asked))
            final.append(_Settled(item, resolution, decisive(asked, resolution)))
    close_work([seat.work_item for item in decided for seat in seats[item.pk][item.stage] if seat.taken])
    move_items(actor, [item for item in decided if item.state != ItemState.DECIDED], ItemState.DECIDED)
    _apply(actor, final)
    for item in unsettled:
        vacant = [seat for seat in seats[item.pk][item.stage] if seat.vacant(item)]
        said = [seat.decision.reason for seat in vacant if seat.decision is not None and seat.decision.reason]
        ask_another(
            actor, item, [seat.work_item for seat in vacant], because=said[-1] if said else "Too few answers to decide."
        )


def settle_unanswered(actor: Actor, item: Item) -> bool:
    """The time is over: whoever did not answer has not, and what the others signed decides, if it does.

    A CERTIFY beside a missing answer certifies where one denial denies; where all must certify it does not. True when
    the item is settled by that. The caller holds neither item nor campaign.
    """
    require(actor, "reviews.manage_campaign", item.campaign)
    check_items(item_ids=[item.pk])
    with transaction.atomic():
        campaign, item = locked_campaign(item.campaign_id), locked_item(item.pk)
        if item.state not in (ItemState.IN_REVIEW, ItemState.DECIDED, ItemState.ESCALATED):
            return False
        asked = seats_of([item])[item.pk].get(item.stage, [])
        answers = [Answer(Outcome.NO_RESPONSE) if seat.taken else seat.answer(item) for seat in asked]
        if resolve(campaign.stages[item.stage - 1]["strategy"], item.tier, answers).value not in VALID:
            return False
        close_work([seat.work_item for seat in asked if seat.taken])
        if item.state == ItemState.ESCALATED:
            move_item(actor, item, ItemState.IN_REVIEW, because="the time is over")
        settle(actor, campaign, [item])
        advance_campaign(actor, campaign)
        return True


def _as_things_are(item: Item, resolution: Resolution) -> Resolution:
    """A reduction in terms of what the last stage saw: facts may have shrunk since an earlier stage reduced them."""
    if resolution.value is not Outcome.REDUCE:
        return resolution
    possible = frozenset(reducible(item.seen.snapshot))
    kept = resolution.kept & possible
    if not kept:
        return Resolution(Outcome.REVOKE)
    if kept == possible and not item.seen.snapshot["facts"].get("all_tools"):
        return Resolution(Outcome.UNTIL if resolution.until else Outcome.CERTIFY, until=resolution.until)
    return Resolution(Outcome.REDUCE, kept, resolution.until)


def _apply(actor: Actor, settled: Sequence[_Settled]) -> None:
    """Carry outcomes out. What is taken away goes first, so that certificates are about what remains."""
    taken = [each for each in settled if each.resolution.value in (Outcome.REDUCE, Outcome.REVOKE)]
    touched = certificates.resting_on(each.item.subject for each in taken)
    remaining: dict[UUID, Any] = {}
    for each in taken:
        subject = remediation.dispatch(actor, each.item, each.resolution, each.decision)
        if subject is not None:
            remaining[each.item.pk] = subject
    _certify(actor, settled, taken, remaining)
    certificates.carry_over(actor, touched)
    give_back_certified({each.item: each.decision for each in settled if each.resolution.value in KEEPS}, remaining)
    by_outcome: dict[Outcome, list[Item]] = defaultdict(list)
    decisions = {each.item.pk: str(each.decision.pk) for each in settled}
    for each in settled:
        each.item.outcome = each.resolution.value
        by_outcome[each.resolution.value].append(each.item)
    for outcome, items in by_outcome.items():
        move_items(
            actor,
            items,
            ItemState.SIGNED,
            _FINAL[outcome],
            said=lambda item: {"outcome": item.outcome, "decision": decisions[item.pk]},
        )


def _certify(
    actor: Actor, settled: Sequence[_Settled], taken: Sequence[_Settled], remaining: Mapping[UUID, Any]
) -> None:
    """Write the certificates, about the facts as they are once everything was taken away.

    What nothing was taken from is as it was seen: that was compared a moment ago.
    """
    narrowed = {each.item.rests_on_id for each in taken}
    issues: list[certificates.Issue] = []
    anew: dict[str, list[tuple[_Settled, UUID]]] = defaultdict(list)
    for each in settled:
        item = each.item
        if each.resolution.value not in KEEPS:
            continue
        if each.resolution.value is Outcome.REDUCE:
            # One that waits for objections is certified when it is carried out.
            if item.pk in remaining:
                anew[item.kind].append((each, remaining[item.pk].pk))
        elif taken and (item.kind == SubjectKind.AGENT or item.rests_on_id in narrowed):
            anew[item.kind].append((each, item.subject_pk))
        else:
            shown = certificates.Shown(item.subject, item.seen.fingerprint)
            issues.append(certificates.Issue(item.kind, shown, _until(each), each.decision))
    for kind, parts in anew.items():
        present = collect(kind, [pk for _each, pk in parts])
        issues += [certificates.Issue(kind, present[pk], _until(each), each.decision) for each, pk in parts]
    certificates.issue_all(actor, issues)
    _approve_tools(actor, [issue.evidence.subject for issue in issues if issue.kind == SubjectKind.SERVER])


def _until(each: _Settled) -> datetime:
    until = certified_until(each.item, each.resolution.until)
    if until <= clock.now():
        raise Conflict(f"{each.item} can no longer be certified: what it is for has ended.")
    return until


def _approve_tools(actor: Actor, servers: Sequence[Server]) -> None:
    """Certifying a server approves the definitions that were shown (DESIGN, invariant 5)."""
    unapproved = Tool.objects.filter(server__in=servers, retired_at=None).exclude(approved_digest=F("digest"))
    waiting = set(unapproved.values_list("server", flat=True))
    for server in servers:
        untold = server.said_digest != server.approved_said_digest
        if (untold or server.pk in waiting) and allows(actor, "catalog.decide_intake", server):
            catalog.approve_tools(actor=actor, server=server)

"""The rows of every file of an audit pack, read through cursors, campaign by campaign, in a fixed order."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from typing import Any
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from registry.accounts.models import User
from registry.core.bulk import among
from registry.core.canonical import canonical_json
from registry.reviews.barred import barred
from registry.reviews.models import (
    Campaign,
    Challenge,
    Decision,
    EvidenceBlock,
    ExceptionRecord,
    Item,
    ItemRefresh,
    PopulationEntry,
    Remediation,
    SignOff,
    SubjectKind,
    WorkItem,
    WorkItemMove,
)
from registry.reviews.pack_format import evidence_line, frozen_stake
from registry.reviews.reports import SIGN_OFF
from registry.trust.models import Connection, Grant

Row = dict[str, Any]
CHUNK = 1000
_SUBJECT = Coalesce("server", "grant", "connection", "agent")
_SUBJECT_OF_WORK = Coalesce(*(f"item__{kind}" for kind in ("server", "grant", "connection", "agent")))
_SUBJECT_OF_ANSWER = Coalesce(*(f"work_item__item__{kind}" for kind in ("server", "grant", "connection", "agent")))
_OWNS = "owns this campaign"


@dataclass(frozen=True)
class Scope:
    """Campaigns in the order of their launch; of a period also its two ends, the second of which is not in it."""

    campaigns: Sequence[Campaign]
    since: datetime | None = None
    until: datetime | None = None

    @property
    def ids(self) -> list[UUID]:
        return [campaign.pk for campaign in self.campaigns]

    @property
    def is_period(self) -> bool:
        return self.since is not None


def _plain(value: Any) -> Any:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    return value


def _chunks(queryset: QuerySet[Any], columns: Sequence[str]) -> Iterator[list[Row]]:
    rows = queryset.values_list(*columns).iterator(chunk_size=CHUNK)
    while chunk := list(islice(rows, CHUNK)):
        yield [dict(zip(columns, map(_plain, values), strict=True)) for values in chunk]


def _selected(queryset: QuerySet[Any], columns: Mapping[str, str]) -> Iterator[Row]:
    for values in queryset.values_list(*columns.values()).iterator(chunk_size=CHUNK):
        yield dict(zip(columns, map(_plain, values), strict=True))


# --- Population --------------------------------------------------------------------------------------------

POPULATION_COLUMNS = (
    "campaign", "position", "kind", "subject", "label", "included", "excluded_because", "item", "tier", "state",
    "outcome", "due_at", "fingerprint", "evidence_hash",
)  # fmt: skip
_OF_ITEM = ("id", "label", "tier", "state", "outcome", "due_at", "fingerprint", "evidence_hash")
_NAMES = {
    "server": ("server__name",),
    "grant": ("grant__agent__name", "grant__server__name"),
    "connection": ("connection__server__name", "connection__system__name"),
    "agent": ("agent__name",),
}
_NAME_COLUMNS = [name for several in _NAMES.values() for name in several]


def population(scope: Scope) -> Iterator[Row]:
    """Everything that was in scope at each launch, in its order: with the item it became, or why it became none."""
    for campaign in scope.campaigns:
        entries = PopulationEntry.objects.filter(campaign=campaign).order_by("position").annotate(about=_SUBJECT)
        for chunk in _chunks(entries, ("position", "kind", "about", "excluded_because", *_NAME_COLUMNS)):
            items = _items_about(campaign, chunk)
            for entry in chunk:
                item = items.get(entry["about"], {}) if not entry["excluded_because"] else {}
                yield {
                    "campaign": str(campaign.pk),
                    "position": entry["position"],
                    "kind": entry["kind"],
                    "subject": entry["about"],
                    "included": not entry["excluded_because"],
                    "excluded_because": entry["excluded_because"],
                    "item": item.get("id"),
                    **{name: item.get(name) for name in _OF_ITEM[2:]},
                    "label": item.get("label") or " → ".join(str(entry[name]) for name in _NAMES[entry["kind"]]),
                }


def _items_about(campaign: Campaign, entries: Sequence[Row]) -> dict[str, Row]:
    wanted = Q()
    for kind in SubjectKind.values:
        wanted |= Q(**{f"{kind}__in": among([UUID(each["about"]) for each in entries if each["kind"] == kind])})
    rows = Item.objects.filter(wanted, campaign=campaign).order_by().annotate(about=_SUBJECT)
    return {row["about"]: row for chunk in _chunks(rows, ("about", *_OF_ITEM)) for row in chunk}


# --- Who was asked -----------------------------------------------------------------------------------------

ASSIGNMENT_COLUMNS = (
    "campaign", "item", "label", "kind", "tier", "stage", "side", "reviewer", "reviewer_email", "first_assigned_to",
    "chosen_because", "state", "moves", "signed", "signed_at", "stakeholders", "independent", "because",
)  # fmt: skip


def assignments(scope: Scope) -> Iterator[Row]:
    """Everybody who was asked about each item, who has a stake in it, and whether they are one of those.

    Stakes are those of the moment the pack is made; what they were when an answer was given, the registry asked then
    (invariant 3), and the frozen evidence says.
    """
    people: dict[UUID, User] = {}
    for campaign in scope.campaigns:
        items = campaign.items.order_by("id").annotate(about=_SUBJECT)
        columns = ("id", "label", "kind", "tier", "about")
        rows = items.values_list(*columns).iterator(chunk_size=CHUNK)
        while chunk := [dict(zip(columns, values, strict=True)) for values in islice(rows, CHUNK)]:
            stakes = _stakes(chunk, campaign)
            work = list(
                WorkItem.objects.filter(item__in=among([each["id"] for each in chunk]))
                .order_by("item_id", "stage", "id")
                .values_list(
                    "id", "item_id", "stage", "side", "reviewer_id", "original_reviewer_id", "chosen_because", "state"
                )
            )
            moves = _moves([each[0] for each in work])
            signed = _signed([each[0] for each in work])
            named = {person for each in stakes.values() for person in each}
            named |= {person for each in work for person in each[4:6]}
            named |= {person for several in moves.values() for _kind, *both in several for person in both if person}
            people |= User.objects.in_bulk(named - people.keys())
            by_id = {each["id"]: each for each in chunk}
            for pk, item_id, stage, side, reviewer, first, because, state in work:
                item, about, answer = by_id[item_id], stakes[item_id], signed.get(pk)
                own = about.get(reviewer, [])
                told = [f"{people[person].name}: {', '.join(why)}" for person, why in _ordered(about, people)]
                yield {
                    "campaign": str(campaign.pk),
                    "item": str(item_id),
                    **{name: item[name] for name in ("label", "kind", "tier")},
                    "stage": stage,
                    "side": side,
                    "reviewer": people[reviewer].name,
                    "reviewer_email": people[reviewer].email,
                    "first_assigned_to": people[first].email,
                    "chosen_because": because,
                    "state": state,
                    "moves": "; ".join(_move(*each, people=people) for each in moves.get(pk, [])),
                    "signed": answer[0] if answer else "",
                    "signed_at": answer[1].isoformat() if answer else "",
                    "stakeholders": "; ".join(told),
                    "independent": "stake today" if own else "yes",
                    "because": _why(people[reviewer].name, own, bool(told)),
                }


def _stakes(items: Sequence[Row], campaign: Campaign) -> dict[UUID, dict[UUID, list[str]]]:
    found: dict[UUID, dict[UUID, list[str]]] = {each["id"]: {} for each in items}
    for kind in SubjectKind.values:
        about = {each["about"]: each["id"] for each in items if each["kind"] == kind}
        for subject, people in (barred(kind, list(about)) if about else {}).items():
            found[about[subject]] = {person: list(why) for person, why in people.items()}
    if campaign.owner_id is not None:
        for each in found.values():
            each.setdefault(campaign.owner_id, []).append(_OWNS)
    return found


def _ordered(stakes: Mapping[UUID, list[str]], people: Mapping[UUID, User]) -> list[tuple[UUID, list[str]]]:
    return sorted(stakes.items(), key=lambda each: (people[each[0]].name, each[0]))


def _why(reviewer: str, own: Sequence[str], anybody: bool) -> str:
    if own:
        return _("%(name)s has a stake today: %(what)s.") % {"name": reviewer, "what": ", ".join(own)}
    if anybody:
        return _("%(name)s is none of the stakeholders.") % {"name": reviewer}
    return _("Nobody has a stake in it.")


def _moves(work: Sequence[UUID]) -> dict[UUID, list[tuple[str, UUID, UUID | None]]]:
    found: dict[UUID, list[tuple[str, UUID, UUID | None]]] = {}
    rows = WorkItemMove.objects.filter(work_item__in=among(work)).order_by("at", "id")
    for pk, kind, before, after in rows.values_list("work_item_id", "kind", "from_reviewer_id", "to_reviewer_id"):
        found.setdefault(pk, []).append((kind, before, after))
    return found


def _move(kind: str, before: UUID, after: UUID | None, *, people: Mapping[UUID, User]) -> str:
    whom = people[after].email if after else _("nobody yet")
    return f"{kind}: {people[before].email} → {whom}"


def _signed(work: Sequence[UUID]) -> dict[UUID, tuple[str, datetime]]:
    rows = Decision.objects.filter(work_item__in=among(work), signed_at__isnull=False).order_by("id")
    answers = rows.values_list("work_item_id", "value", "signed_at")
    return {pk: (value, at) for pk, value, at in answers if at is not None}


# --- Answers -----------------------------------------------------------------------------------------------

_DECISION = {
    "campaign": "work_item__item__campaign_id",
    "id": "id",
    "item": "work_item__item_id",
    "label": "work_item__item__label",
    "kind": "work_item__item__kind",
    "tier": "work_item__item__tier",
    "due_at": "work_item__item__due_at",
    "stage": "work_item__stage",
    "side": "work_item__side",
    "reviewer": "work_item__reviewer_id",
    "reviewer_name": "work_item__reviewer__name",
    "reviewer_email": "work_item__reviewer__email",
    "value": "value",
    "kept": "kept",
    "until": "until",
    "reason": "reason",
    "evidence_hash": "evidence_hash",
    "opened_evidence_at": "opened_evidence_at",
    "decided_at": "decided_at",
    "decided_ms": "decided_ms",
    "bulk": "bulk_id",
    "first_value": "first_value",
    "recommended": "recommended",
    "signed_at": "signed_at",
    "sign_off": "sign_off_id",
    "supersedes": "supersedes_id",
}
DECISION_COLUMNS = (*_DECISION, "stakes_today")
SIGN_OFF_COLUMNS: Mapping[str, str] = {"campaign": "campaign_id", **SIGN_OFF}


def decisions(scope: Scope) -> Iterator[Row]:
    """Signed answers, and what stake whoever gave them has today; drafts are their authors' business."""
    for campaign in scope.campaigns:
        signed = Decision.objects.filter(work_item__item__campaign=campaign, signed_at__isnull=False)
        rows = _selected(signed.order_by("id").annotate(about=_SUBJECT_OF_ANSWER), {**_DECISION, "about": "about"})
        while chunk := list(islice(rows, CHUNK)):
            stakes = _own_stakes([(row["kind"], row["about"], row["reviewer"]) for row in chunk], campaign)
            for row in chunk:
                about = row.pop("about")
                told = stakes.get((about, row["reviewer"]), [])
                yield row | {"kept": sorted(row["kept"]), "stakes_today": "; ".join(told)}


def conflicts(scope: Scope) -> Iterator[tuple[bool, Sequence[str]]]:
    """Each assignment to somebody who has a stake in the item today: whether they decided, and what stakes."""
    for campaign in scope.campaigns:
        asked = WorkItem.objects.filter(item__campaign=campaign).order_by("id").annotate(about=_SUBJECT_OF_WORK)
        decided = Exists(Decision.objects.filter(work_item=OuterRef("pk"), signed_at__isnull=False))
        columns = {"kind": "item__kind", "about": "about", "reviewer": "reviewer_id", "decided": "decided"}
        rows = _selected(asked.annotate(decided=decided), columns)
        while chunk := list(islice(rows, CHUNK)):
            stakes = _own_stakes([(row["kind"], row["about"], row["reviewer"]) for row in chunk], campaign)
            for row in chunk:
                if told := stakes.get((row["about"], row["reviewer"])):
                    yield row["decided"], told


_FROZEN_FACTS = ("owner", "deputy", "operator", "agent_owner")


def decided_against_evidence(scope: Scope) -> int:
    """Signed answers of people who are barred by the very evidence they answered on."""
    around = {
        digest: json.loads(text)["server"]["stakes"]
        for digest, text in _blocks(scope).values_list("digest", "text").iterator(chunk_size=CHUNK // 4)
    }
    count = 0
    for campaign in scope.campaigns:
        signed = Decision.objects.filter(work_item__item__campaign=campaign, signed_at__isnull=False)
        for frozen in ("work_item__item", "work_item__item__refreshes"):
            answered = signed.filter(**{f"{frozen}__evidence_hash": F("evidence_hash")}).order_by().distinct()
            rows = answered.values_list(
                "id", "work_item__reviewer_id", f"{frozen}__block_id", f"{frozen}__snapshot__context__stakes",
                *(f"{frozen}__snapshot__facts__{name}" for name in _FROZEN_FACTS),
            )  # fmt: skip
            for _id, reviewer, block, own, *people in rows.iterator(chunk_size=CHUNK):
                facts = dict(zip(_FROZEN_FACTS, people, strict=True))
                count += bool(frozen_stake(facts, {**around.get(block, {}), **(own or {})}, str(reviewer)))
    return count


def _own_stakes(asked: Sequence[tuple[str, str, str]], campaign: Campaign) -> dict[tuple[str, str], list[str]]:
    """Of those who were asked about something (kind, subject, person), the stakes they have in it themselves."""
    found: dict[tuple[str, str], list[str]] = {}
    people = {UUID(person) for _kind, _about, person in asked}
    for kind in SubjectKind.values:
        about = {UUID(subject) for each, subject, _person in asked if each == kind}
        for subject, stakes in (barred(kind, about, among=people) if about else {}).items():
            found |= {(str(subject), str(person)): list(why) for person, why in stakes.items()}
    owner = str(campaign.owner_id)
    for owned in {about for _kind, about, reviewer in asked if reviewer == owner}:
        found.setdefault((owned, owner), []).append(_OWNS)
    return found


def sign_offs(scope: Scope) -> Iterator[Row]:
    for campaign in scope.campaigns:
        yield from _selected(SignOff.objects.filter(campaign=campaign).order_by("id"), SIGN_OFF_COLUMNS)


# --- What followed -----------------------------------------------------------------------------------------

_REMEDIATION = {
    "campaign": "item__campaign_id",
    "id": "id",
    "item": "item_id",
    "label": "item__label",
    "tier": "item__tier",
    "kind": "kind",
    "state": "state",
    "decision": "decision_id",
    "reason": "reason",
    "kept": "kept",
    "channel": "channel",
    "channel_reference": "channel_reference",
    "attempts": "attempts",
    "challenge_until": "challenge_until",
    "dispatched_at": "dispatched_at",
    "reported_at": "reported_at",
    "verify_by": "verify_by",
    "verified_at": "verified_at",
    "proof_source": "verifications__source",
    "proof_confirmed": "verifications__confirmed",
    "proof_observed_at": "verifications__observed_at",
    "proof_by": "verifications__by__email",
    "proof": "verifications__proof",
}
REMEDIATION_COLUMNS = tuple(_REMEDIATION)
_EXCEPTION = {
    "campaign": "remediation__item__campaign_id",
    "id": "id",
    "remediation": "remediation_id",
    "item": "remediation__item_id",
    "label": "remediation__item__label",
    "tier": "remediation__item__tier",
    "reason": "reason",
    "compensating_control": "compensating_control",
    "requested_by": "requested_by__email",
    "approver": "approver__email",
    "approved_at": "approved_at",
    "refused_because": "refused_because",
    "expires_at": "expires_at",
    "ended_at": "ended_at",
    "ended_because": "ended_because",
}
EXCEPTION_COLUMNS = tuple(_EXCEPTION)
_CHALLENGE = {
    "campaign": "remediation__item__campaign_id",
    "id": "id",
    "remediation": "remediation_id",
    "label": "remediation__item__label",
    "by": "by__email",
    "reason": "reason",
    "upheld": "upheld",
    "decided_by": "decided_by__email",
    "decided_at": "decided_at",
    "answer": "answer",
}
CHALLENGE_COLUMNS = tuple(_CHALLENGE)


def remediations(scope: Scope) -> Iterator[Row]:
    """What was taken away: one line for each observation of it, one without any where nobody looked yet."""
    for campaign in scope.campaigns:
        made = Remediation.objects.filter(item__campaign=campaign)
        yield from _selected(made.order_by("id", "verifications__observed_at", "verifications__id"), _REMEDIATION)


def exceptions(scope: Scope) -> Iterator[Row]:
    for campaign in scope.campaigns:
        asked = ExceptionRecord.objects.filter(remediation__item__campaign=campaign)
        yield from _selected(asked.order_by("id"), _EXCEPTION)


def challenges(scope: Scope) -> Iterator[Row]:
    for campaign in scope.campaigns:
        raised = Challenge.objects.filter(remediation__item__campaign=campaign)
        yield from _selected(raised.order_by("id"), _CHALLENGE)


# --- Access in the period ----------------------------------------------------------------------------------

_ACCESS = {
    "id": "id",
    "status": "status",
    "reason": "reason",
    "requested_by": "requested_by__email",
    "requested_at": "created_at",
    "decided_by": "decided_by__email",
    "decided_at": "decided_at",
    "activated_at": "activated_at",
    "valid_until": "valid_until",
    "certified_until": "certified_until",
    "ended_at": "ended_at",
    "status_reason": "status_reason",
}
_ENDS: tuple[tuple[str, type[Grant] | type[Connection], str, str], ...] = (
    ("grant", Grant, "agent__name", "server__name"),
    ("connection", Connection, "server__name", "system__name"),
)
ACCESS_COLUMNS = ("kind", "from", "to", *_ACCESS)


def access(scope: Scope) -> Iterator[Row]:
    """Grants and connections that were asked for, approved, or ended within the period."""
    if scope.since is None or scope.until is None:
        return
    for kind, model, begin, end in _ENDS:
        moved = Q()
        for moment in ("created_at", "decided_at", "activated_at", "ended_at"):
            moved |= Q(**{f"{moment}__gte": scope.since, f"{moment}__lt": scope.until})
        for row in _selected(model.objects.filter(moved).order_by("id"), {"from": begin, "to": end, **_ACCESS}):
            yield {"kind": kind, **row}


# --- Evidence ----------------------------------------------------------------------------------------------


def snapshots(scope: Scope) -> Iterator[bytes]:
    """What reviewers looked at: as frozen at the launch of each item, and as seen later where facts had moved."""
    for campaign in scope.campaigns:
        for frozen in (
            campaign.items.order_by("id"),
            ItemRefresh.objects.filter(item__campaign=campaign).order_by("item_id", "at", "id"),
        ):
            rows = frozen.values_list("snapshot", "evidence_hash").iterator(chunk_size=CHUNK // 4)
            for snapshot, sha256 in rows:
                yield evidence_line(canonical_json(snapshot), sha256)


def blocks(scope: Scope) -> Iterator[bytes]:
    """What surrounds the servers, once each, by digest."""
    rows = _blocks(scope).order_by("digest").values_list("text", "digest")
    for text, sha256 in rows.iterator(chunk_size=CHUNK // 4):
        yield evidence_line(text.encode(), sha256)


def _blocks(scope: Scope) -> QuerySet[EvidenceBlock]:
    ids = among(scope.ids)
    named = Q(pk__in=Item.objects.filter(campaign__in=ids).order_by().values("block")) | Q(
        pk__in=ItemRefresh.objects.filter(item__campaign__in=ids).order_by().values("block")
    )
    return EvidenceBlock.objects.filter(named)

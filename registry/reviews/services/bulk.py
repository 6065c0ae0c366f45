"""Several equal items answered at once: as many decisions as items, each on its own evidence, under one bulk id.

What is equal: the material facts, apart from what only names the subject itself (`IDENTITY`) and the time of day its
validity ends. Twenty agents that hold the same tools of one server for the same purpose are equal; one with another
owner, another tool definition or another end date is not. `BulkKey` computes that in the database, so that no
snapshot travels.

What may not be decided like this, whoever asks: tiers above medium, more than `MOST` at once, anything new, changed,
or that the rules would answer otherwise, and a set of which nobody opened a sample.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from hashlib import sha256
from math import ceil
from uuid import UUID

from django.db import transaction
from django.db.models import F, Func, QuerySet, TextField
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from registry.catalog.models import Tier
from registry.core import clock, ids
from registry.core.actors import Actor
from registry.core.errors import Invalid, NotAllowed, NotFound, RegistryError
from registry.core.independence import require_decider
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.reviews.desk import CERTIFIED, CERTIFYING
from registry.reviews.models import Campaign, Decision, Item, SubjectKind, WorkItem
from registry.reviews.recommendation import recommend
from registry.reviews.services.decisions import Given, draft_answer, last_answer, take_back
from registry.reviews.services.watch import check_items
from registry.reviews.states import ItemState, WorkItemState

MOST = 25
TIERS = (Tier.MEDIUM, Tier.LOW)
SAMPLE = 0.10
LOOKED_AT = 200
"""Equal items that are read at once; what lies beyond shows when these are decided."""
IDENTITY = ("agent", "agent_identity", "client_id", "endpoints", "identity", "name", "server", "spiffe_id", "system")
"""Stored facts that only name the subject or its two ends. No kind uses one of these names for anything else."""
_DAY = timedelta(days=1)


class BulkKey(Func):
    """Digest of an item's facts without its own identity: equal for items that may be decided together."""

    function = "MD5"
    names = ", ".join(f"'{name}'" for name in (*IDENTITY, "valid_until"))
    template = (
        f"MD5(((%(expressions)s -> 'facts') - ARRAY[{names}])::text"
        " || COALESCE(LEFT(%(expressions)s -> 'facts' ->> 'valid_until', 10), ''))"
    )
    output_field = TextField()


@dataclass(frozen=True)
class Candidate:
    """An item that is equal to the one it was asked for, and why it is taken out, if it is."""

    work_item: WorkItem
    because: str = ""

    @property
    def item(self) -> Item:
        item: Item = self.work_item.item
        return item

    @property
    def opened(self) -> bool:
        return self.work_item.first_shown_at is not None


@dataclass(frozen=True)
class Candidates:
    """What may be decided together (`fit`, at most `MOST`), what is taken out, and what is to be opened before."""

    fit: Sequence[Candidate] = ()
    outliers: Sequence[Candidate] = ()
    sample: Sequence[Candidate] = ()
    more: int = 0
    """Equal ones beyond the limit; they come next."""

    @property
    def enough_opened(self) -> bool:
        return sum(candidate.opened for candidate in self.fit) >= sample_size(len(self.fit))


def sample_size(number: int) -> int:
    """How many of so many must have been opened: a tenth, and at least one."""
    return max(1, ceil(number * SAMPLE))


def bulk_candidates(*, actor: Actor, work_item: WorkItem, chosen: Collection[UUID] | None = None) -> Candidates:
    """The actor's undecided items that are equal to this one.

    With `chosen` (item ids) only these are fit; of the chosen, those that are not equal are outliers as well.
    Raises `NotAllowed` for somebody else's work item. Six queries, however many items.
    """
    require(actor, "reviews.decide", work_item)
    item = work_item.item
    if item.tier not in TIERS and chosen is None:
        return Candidates(outliers=[Candidate(work_item, _why_not_equal(item))])
    open_here = (
        WorkItem.objects.filter(
            reviewer=work_item.reviewer_id,
            item__campaign=item.campaign_id,
            state=WorkItemState.OPEN,
            item__state=ItemState.IN_REVIEW,
        )
        .select_related(
            "item__campaign", "item__block", "item__grant", "item__connection", "item__server", "item__agent"
        )
        .prefetch_related("item__refreshes")
    )
    key = Item.objects.filter(pk=item.pk).values_list(BulkKey("snapshot"), flat=True).get()
    equal = list(
        open_here.filter(item__kind=item.kind, item__tier__in=TIERS)
        .annotate(bulk_key=BulkKey("item__snapshot"))
        .filter(bulk_key=key)
        .order_by("item__label", "pk")[:LOOKED_AT]
    )
    found = _told_apart(equal)
    if chosen is None:
        fit, outliers = [c for c in found if not c.because], [c for c in found if c.because]
    else:
        wanted = set(chosen)
        fit = [c for c in found if not c.because and c.item.pk in wanted]
        outliers = [c for c in found if c.because and c.item.pk in wanted]
        others = wanted - {c.item.pk for c in found}
        outliers += [Candidate(w, _why_not_equal(w.item)) for w in open_here.filter(item__in=others).order_by("pk")]
    shown = fit[:MOST]
    return Candidates(
        fit=shown,
        outliers=outliers,
        sample=sorted(shown, key=_draw)[: sample_size(len(shown))] if shown else (),
        more=len(fit) - len(shown),
    )


def _draw(candidate: Candidate) -> str:
    """An order nobody chooses and that stays the same: which of them are the sample."""
    work_item = candidate.work_item
    return sha256(f"{work_item.pk}{work_item.reviewer_id}".encode()).hexdigest()


def _why_not_equal(item: Item) -> str:
    if item.tier not in TIERS:
        return _("Its tier is %(tier)s: decide on it by itself.") % {"tier": item.get_tier_display().lower()}
    return _("Its facts differ from the others'.")


def _told_apart(work_items: Sequence[WorkItem]) -> list[Candidate]:
    """Each with the reason that takes it out, if there is one."""
    certified = _last_certified([work_item.item for work_item in work_items])
    return [Candidate(each, _outlier(each.item, certified.get(each.item_id))) for each in work_items]


def _outlier(item: Item, certified: tuple[str, datetime] | None) -> str:
    if item.refreshes.all():
        return _("Its facts changed during this review.")
    if certified is None:
        return _("It is new: it was never certified.")
    fingerprint, at = certified
    if fingerprint != item.fingerprint:
        return _("It changed since it was certified on %(day)s.") % {"day": date_format(at.date(), "j F Y")}
    advice = recommend(item)
    if advice.value:
        return " ".join(advice.reasons)
    return ""


def _last_certified(items: Sequence[Item]) -> dict[UUID, tuple[str, datetime]]:
    """By item: the fingerprint that was certified last on its subject in an earlier review, and when."""
    if not items:
        return {}
    kind = items[0].kind
    versioned = kind in (SubjectKind.GRANT, SubjectKind.CONNECTION)
    # The column, not the relation: ordering by a relation would follow the ordering of its model.
    path = f"work_item__item__{kind}__lineage" if versioned else f"work_item__item__{kind}_id"
    subjects = {item.pk: item.subject.lineage if versioned else item.subject_pk for item in items}
    decisions = (
        Decision.objects.filter(
            **{f"{path}__in": set(subjects.values())},
            signed_at__isnull=False,
            value__in=CERTIFYING,
            work_item__item__state__in=CERTIFIED,
        )
        .exclude(work_item__item__campaign=items[0].campaign_id)
        .annotate(about=F(path))
        .select_related("work_item__item")
        .prefetch_related("work_item__item__refreshes")
        .defer("work_item__item__snapshot")
        .order_by(path, "-signed_at")
        .distinct(path)
    )
    last = {d.about: (d.work_item.item.seen.fingerprint, d.signed_at) for d in decisions if d.signed_at is not None}
    return {pk: last[about] for pk, about in subjects.items() if about in last}


# --- Acts ------------------------------------------------------------------------------------------------


@dataclass
class _Refusals:
    """What is wrong with which item; nothing is saved while there is anything."""

    of: dict[str, list[str]] = field(default_factory=dict)

    def add(self, item_id: UUID, *messages: str) -> None:
        self.of.setdefault(f"items.{item_id}", []).extend(messages)


def decide_bulk(
    *,
    actor: Actor,
    campaign: Campaign,
    work_items: Sequence[WorkItem],
    value: str,
    evidence: Mapping[UUID, str],
    reason: str = "",
    kept: Sequence[str] = (),
    until: date | None = None,
    versions: Mapping[UUID, str] | None = None,
) -> list[Decision]:
    """Draft the same answer on several equal items: all of them, or none.

    `evidence` and `versions` name by item id what was looked at, as for a single decision. Raises `Invalid` with
    `items.<item id>` for each item that stands in the way, or `items` for the set; `NotAllowed`, `NotIndependent`.
    """
    refuse_secrets({"reason": reason})
    if not work_items:
        raise Invalid(fields={"items": ["Choose at least one item."]})
    if len(work_items) > MOST:
        raise Invalid(fields={"items": [f"At most {MOST} at once; you chose {len(work_items)}."]})
    for work_item in work_items:
        require_decider(actor, "reviews.decide", work_item)
        if work_item.item.campaign_id != campaign.pk:
            raise NotAllowed("All items of a bulk belong to one campaign.")
    check_items(item_ids=[work_item.item_id for work_item in work_items])
    with transaction.atomic():
        return _draft_all(actor, work_items, Given(value, reason, kept, until), evidence, versions or {})


def _draft_all(
    actor: Actor,
    work_items: Sequence[WorkItem],
    given: Given,
    evidence: Mapping[UUID, str],
    versions: Mapping[UUID, str],
) -> list[Decision]:
    # Items are locked first and in one order, as everywhere; what is equal is asked on the locked rows.
    locked = Item.objects.select_for_update(of=("self",)).filter(pk__in=[w.item_id for w in work_items])
    rows = {item.pk: item for item in locked.order_by("pk")}
    fresh = {w.pk: w for w in WorkItem.objects.filter(pk__in=[w.pk for w in work_items])}
    found = bulk_candidates(actor=actor, work_item=_with(fresh[work_items[0].pk], rows), chosen=set(rows))
    refused = _Refusals()
    for outlier in found.outliers:
        refused.add(outlier.item.pk, outlier.because)
    fit = {candidate.item.pk: candidate for candidate in found.fit}
    for work_item in work_items:
        if work_item.item_id not in fit and f"items.{work_item.item_id}" not in refused.of:
            refused.add(work_item.item_id, "It was decided or handed on meanwhile, or its facts changed.")
    if not refused.of and not found.enough_opened:
        needed = sample_size(len(found.fit))
        names = ", ".join(str(candidate.item) for candidate in found.sample)
        raise Invalid(fields={"items": [f"Open at least {needed} of them before, for example {names}."]})
    bulk_id = ids.new_id()
    share = _share_of_time(actor, [candidate.work_item for candidate in found.fit])
    decisions = []
    for work_item in sorted(work_items, key=lambda each: each.item_id):
        if f"items.{work_item.item_id}" in refused.of:
            continue
        try:
            with transaction.atomic():
                decisions.append(
                    draft_answer(
                        actor,
                        work_item.pk,
                        given,
                        evidence_hash=evidence.get(work_item.item_id, ""),
                        expected_version=versions.get(work_item.item_id),
                        bulk_id=bulk_id,
                        taken_ms=share,
                    )
                )
        except Invalid as error:
            refused.add(work_item.item_id, *(message for messages in error.fields.values() for message in messages))
        except RegistryError as error:
            refused.add(work_item.item_id, error.message)
    if refused.of:
        raise Invalid("Nothing is saved: some of these need a decision of their own.", fields=refused.of)
    return decisions


def _with(work_item: WorkItem, items: Mapping[UUID, Item]) -> WorkItem:
    work_item.item = items[work_item.item_id]
    return work_item


def _share_of_time(actor: Actor, work_items: Sequence[WorkItem]) -> int:
    """Milliseconds of each: what passed since the last answer or since the first of them was opened, divided.

    Nothing opened is no time; such a set is refused anyway.
    """
    now = clock.now()
    since = sorted(w.first_shown_at for w in work_items if w.first_shown_at is not None)[:1]
    if not since:
        return 0
    if actor.user_id is not None and (before := last_answer(actor.user_id, after=max(since[0], now - _DAY))):
        since.append(before)
    return max(int((now - max(since)).total_seconds() * 1000), 0) // len(work_items)


def drafts_of_bulk(actor: Actor, campaign: Campaign, bulk_id: UUID) -> QuerySet[Decision]:
    """The actor's own drafts that one bulk made and nobody signed or changed since."""
    return Decision.objects.filter(
        bulk_id=bulk_id,
        work_item__reviewer=actor.user_id,
        work_item__item__campaign=campaign,
        signed_at=None,
    )


@transaction.atomic
def undo_bulk(*, actor: Actor, campaign: Campaign, bulk_id: UUID) -> int:
    """Take back what one bulk drafted, except what was decided anew since. Returns how many.

    Raises `NotFound` when nothing of it is the actor's and unsigned.
    """
    drafts = drafts_of_bulk(actor, campaign, bulk_id)
    found = list(drafts.order_by("work_item__item", "pk").values_list("work_item", flat=True))
    if not found:
        raise NotFound("Nothing of this is left to take back.")
    for work_item_id in found:
        take_back(actor, work_item_id)
    return len(found)


def by_item(error: Invalid) -> dict[UUID, list[str]]:
    """Messages of a refused bulk by item id."""
    return {
        UUID(path.removeprefix("items.")): messages
        for path, messages in error.fields.items()
        if path.startswith("items.")
    }


def without_items(error: Invalid) -> Invalid:
    """The rest of it: what is wrong with the whole."""
    rest = {path: messages for path, messages in error.fields.items() if not path.startswith("items.")}
    if "items" in rest:
        return Invalid(" ".join(rest.pop("items")), fields=rest)
    return Invalid(error.message, fields=rest)

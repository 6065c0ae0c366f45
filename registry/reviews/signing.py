"""What a reviewer is about to sign: counts that tie out, drafts by consequence, and what each of them changes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Case, Count, Exists, IntegerField, OuterRef, Q, QuerySet, Value, When
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from registry.reviews.carefulness import Metrics
from registry.reviews.facts import reducible
from registry.reviews.models import Campaign, Decision, Item, SubjectKind, WorkItem, WorkItemMove
from registry.reviews.models.decisions import answer_word
from registry.reviews.services.decisions import drafts_of, latest_day
from registry.reviews.states import OPEN_ITEM, WorkItemState

BY_CONSEQUENCE = (
    Decision.Value.REVOKE,
    Decision.Value.CERTIFY_REDUCED,
    Decision.Value.NOT_DECIDED,
    Decision.Value.CERTIFY_UNTIL,
    Decision.Value.CERTIFY,
)
"""What takes most away is read first."""
SUBJECT = (
    "item__block", "item__server", "item__grant__agent", "item__grant__server", "item__connection__server",
    "item__connection__system", "item__agent",
)  # fmt: skip


@dataclass(frozen=True)
class Tally:
    """Where every item that was ever assigned to a reviewer in a campaign is now.

    `assigned` is counted apart from the rest, so that the page can show whether the parts make up the whole.
    """

    assigned: int
    decided: int
    signed: int
    open: int
    handed_on: int
    gone: int
    """Items whose subject vanished or that were closed without this person."""

    @property
    def ties_out(self) -> bool:
        return self.assigned == self.decided + self.signed + self.open + self.handed_on + self.gone


def tally(campaign: Campaign, reviewer_id: UUID | None) -> Tally:
    """Counts of one reviewer in one campaign: three queries, however many items."""
    moved = Q(pk__in=_moved(campaign, reviewer_id))
    assigned = WorkItem.objects.filter(Q(reviewer=reviewer_id) | moved, item__campaign=campaign).count()
    answered = Exists(Decision.objects.filter(work_item=OuterRef("pk"), signed_at__isnull=False))
    own = WorkItem.objects.filter(item__campaign=campaign, reviewer=reviewer_id).annotate(answered=answered)
    still = Q(item__state__in=OPEN_ITEM)
    counts = own.aggregate(
        decided=Count("pk", filter=Q(state=WorkItemState.RESPONDED)),
        signed=Count("pk", filter=Q(state=WorkItemState.CLOSED, answered=True)),
        open=Count("pk", filter=Q(state=WorkItemState.OPEN) & still),
        stepped_back=Count("pk", filter=Q(state=WorkItemState.CLOSED, answered=False) & moved),
        gone=Count(
            "pk",
            filter=Q(state=WorkItemState.OPEN) & ~still | Q(state=WorkItemState.CLOSED, answered=False) & ~moved,
        ),
    )
    elsewhere = WorkItem.objects.filter(moved, item__campaign=campaign).exclude(reviewer=reviewer_id).count()
    stepped_back = counts.pop("stepped_back")
    return Tally(assigned=assigned, handed_on=stepped_back + elsewhere, **counts)


def _moved(campaign: Campaign, reviewer_id: UUID | None) -> QuerySet[Any]:
    moves = WorkItemMove.objects.filter(from_reviewer=reviewer_id, work_item__item__campaign=campaign)
    return moves.exclude(kind=WorkItemMove.Kind.ESCALATED, work_item__reviewer=reviewer_id).values("work_item")


def drafts_by_consequence(campaign: Campaign, reviewer_id: UUID | None) -> QuerySet[Decision]:
    """The drafts with all that their lines say, to be paged by `("rank", "id")`."""
    ranks = [When(value=value, then=Value(place)) for place, value in enumerate(BY_CONSEQUENCE)]
    return (
        drafts_of(reviewer_id, campaign)
        .annotate(rank=Case(*ranks, default=Value(len(ranks)), output_field=IntegerField()))
        .select_related(*(f"work_item__{path}" for path in SUBJECT))
        .prefetch_related("work_item__item__refreshes__block")
    )


def count_by_value(campaign: Campaign, reviewer_id: UUID | None) -> list[tuple[str, str, int]]:
    """Value, what it is called where its usual word misleads, and number of drafts, in the order of consequence."""
    found = drafts_of(reviewer_id, campaign).order_by().values_list("value", "work_item__item__kind")
    counts: Counter[tuple[str, str]] = Counter()
    for value, kind, number in found.annotate(n=Count("pk")):
        counts[value, str(answer_word(kind, value))] += number
    ordered = sorted(counts, key=lambda each: (BY_CONSEQUENCE.index(each[0]), each[1]))
    return [(value, word, counts[value, word]) for value, word in ordered]


def true_statement(metrics: Metrics | None) -> str:
    """What a reviewer may sign as it stands: that all evidence was looked at only where it was opened."""
    if metrics is None or metrics.opened >= 1:
        return _("I have looked at the evidence of each item and decided independently.")
    opened = min(round(metrics.opened * metrics.decisions), metrics.decisions - 1)
    if not opened:
        return _("I have decided independently, by what the list of items shows, without opening the evidence.")
    words = _("I have decided independently. I have opened the evidence of %(n)d of %(of)d items.")
    return words % {"n": opened, "of": metrics.decisions}


@dataclass(frozen=True)
class Line:
    """One draft as it reads before the signature."""

    decision: Decision
    changes: str
    """What the signature does, in a sentence."""
    removed: Sequence[str] = ()
    word: str = ""
    """What the answer is called where its usual word misleads."""

    @property
    def item(self) -> Item:
        item: Item = self.decision.work_item.item
        return item

    @property
    def seconds(self) -> int:
        return round(self.decision.decided_ms / 1000)


def lines(decisions: Sequence[Decision], campaign: Campaign) -> list[Line]:
    found = []
    for decision in decisions:
        item = decision.work_item.item
        item.campaign = campaign
        word = str(answer_word(item.kind, decision.value))
        found.append(Line(decision, _changes(decision, item), _removed(decision, item), word))
    return found


FOLDED = 10
"""Decisions that keep everything are folded above this number: what is taken away is what one reads."""


@dataclass(frozen=True)
class Group:
    """Lines of one page with the same consequence. `number` is how many there are on all pages."""

    value: str
    word: str
    number: int
    lines: Sequence[Line]

    @property
    def folded(self) -> bool:
        return self.value == Decision.Value.CERTIFY and self.number > FOLDED


def grouped(lines: Sequence[Line], by_value: Sequence[tuple[str, str, int]]) -> list[Group]:
    """The lines of a page under their consequence; they come ordered by it, words of one value may alternate."""
    numbers = {(value, word): number for value, word, number in by_value}
    of: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        of.setdefault((line.decision.value, line.word), []).append(line)
    return [Group(*key, numbers.get(key, len(found)), found) for key, found in of.items()]


def _removed(decision: Decision, item: Item) -> list[str]:
    if decision.value != Decision.Value.CERTIFY_REDUCED:
        return []
    gone = [atom for atom in reducible(item.seen.evidence) if atom not in set(decision.kept)]
    return [atom.removeprefix("access:") for atom in gone]


def _changes(decision: Decision, item: Item) -> str:
    match decision.value:
        case Decision.Value.REVOKE:
            return _revoked(item)
        case Decision.Value.CERTIFY_REDUCED:
            return _("Is narrowed; what is left is certified.")
        case Decision.Value.NOT_DECIDED:
            return _("Nothing is kept by not knowing: somebody else is asked.")
        case Decision.Value.CERTIFY_UNTIL if decision.until is not None:
            return _("Stays as it is until %(day)s.") % {"day": _day(decision.until)}
    return _("Stays as it is, certified until %(day)s.") % {"day": _day(latest_day(item))}


def _revoked(item: Item) -> str:
    subject = item.subject
    match item.kind:
        case SubjectKind.GRANT:
            return _("%(agent)s loses %(server)s.") % {"agent": subject.agent.name, "server": subject.server.label}
        case SubjectKind.CONNECTION:
            return _("%(server)s loses %(system)s.") % {"server": subject.server.label, "system": subject.system.name}
        case SubjectKind.AGENT:
            return _("%(agent)s loses everything it may call.") % {"agent": subject.name}
    number = item.seen.evidence["context"]["server"]["agents"]
    loses = ngettext("%(n)d agent loses function.", "%(n)d agents lose function.", number) % {"n": number}
    return f"{_('The server is suspended.')} {loses if number else _('No agent has a grant on it.')}"


def _day(day: object) -> str:
    return date_format(day, "j F Y")  # type: ignore[arg-type]

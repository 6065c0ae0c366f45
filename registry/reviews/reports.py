"""What is left of a campaign for those who were not there: its report, and its rows as files.

Files are read through a cursor in the database and written row by row, so that a hundred thousand items take no more
memory than ten. Each names the population and the link of the audit chain it was taken at (invariant 18); a file
without its last lines is not whole.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

import orjson
from django.db.models import Count, Exists, F, FilteredRelation, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce
from django.http import StreamingHttpResponse
from django.utils.text import slugify

from registry.accounts.models import User
from registry.audit.log import EMPTY, last_batch
from registry.core import clock
from registry.core.actors import Actor
from registry.core.bulk import among
from registry.core.csv import stream_csv
from registry.core.errors import NotAllowed
from registry.core.permissions import allows
from registry.reviews import queries
from registry.reviews.carefulness import UNCUT
from registry.reviews.models import (
    AutomaticAction,
    Campaign,
    Decision,
    ExceptionRecord,
    Item,
    PopulationEntry,
    QualityVerdict,
    Remediation,
    SignOff,
    Verification,
    WorkItem,
    WorkItemMove,
)
from registry.reviews.models.decisions import answer_word
from registry.reviews.queries import Standing
from registry.reviews.services.quality import Percentile, ReviewerStatistics, reviewer_statistics
from registry.reviews.states import OPEN_ITEM, ItemState, WorkItemState

CHUNK = 2000
"""Rows the database hands over at once."""

Row = dict[str, Any]


# --- What every file says about itself -------------------------------------------------------------------


@dataclass(frozen=True)
class TakenAt:
    """When something was read, and the newest link of the audit chain at that instant."""

    at: datetime
    audit_batch: int
    audit_head: str
    sealed_at: datetime | None


def taken_now() -> TakenAt:
    last = last_batch()
    if last is None:
        return TakenAt(clock.now(), 0, EMPTY, None)
    return TakenAt(clock.now(), last.number, last.root_hash, last.sealed_at)


def heading(what: str, campaign: Campaign, taken: TakenAt, actor: Actor) -> Row:
    """What a file says besides its rows. A population says how many of its subjects the reader may not see: without
    them its rows do not come to the hash."""
    hidden = {"hidden": hidden_entries(campaign, actor)} if what == "population" else {}
    return hidden | {
        "campaign": str(campaign.pk),
        "name": campaign.name,
        "state": campaign.state,
        "population_hash": campaign.population_hash,
        "scope_hash": campaign.scope_hash,
        "taken_at": taken.at.isoformat(),
        "audit_batch": taken.audit_batch,
        "audit_head": taken.audit_head,
    }


# --- Rows ------------------------------------------------------------------------------------------------

_SUBJECT = Coalesce("server", "grant", "connection", "agent")
_ITEM: Mapping[str, str] = {
    "id": "id",
    "kind": "kind",
    "subject": "about",
    "label": "label",
    "tier": "tier",
    "stage": "stage",
    "state": "state",
    "outcome": "outcome",
    "due_at": "due_at",
    "fingerprint": "fingerprint",
    "evidence_hash": "evidence_hash",
}
_WORK: Mapping[str, str] = {
    "stage": "stage",
    "side": "side",
    "reviewer": "reviewer__name",
    "reviewer_email": "reviewer__email",
    "assigned_first_to": "original_reviewer__email",
    "chosen_because": "chosen_because",
    "state": "state",
    "decision": "signed__value",
    "kept": "signed__kept",
    "until": "signed__until",
    "reason": "signed__reason",
    "decided_at": "signed__decided_at",
    "decided_ms": "signed__decided_ms",
    "opened_evidence_at": "signed__opened_evidence_at",
    "bulk": "signed__bulk_id",
    "signed_at": "signed__signed_at",
    "sign_off": "signed__sign_off",
    "decision_evidence_hash": "signed__evidence_hash",
}
_EMPTY_WORK: Row = dict.fromkeys(_WORK)


def items(queryset: QuerySet[Item]) -> Iterator[tuple[Row, list[Row]]]:
    """Each item with everybody who was asked about it; a decision appears once it is signed, before it is a draft.

    Items come through a cursor; who was asked about them is looked up by their ids, one chunk at a time. Joined as a
    whole the two are at the mercy of the planner: on fresh tables it compared every row with every other.
    """
    ordered = queryset.annotate(about=_SUBJECT).order_by("id").values_list(*_ITEM.values())
    rows = ordered.iterator(chunk_size=CHUNK)
    while chunk := list(islice(rows, CHUNK)):
        asked = _asked([values[0] for values in chunk])
        for values in chunk:
            yield dict(zip(_ITEM, values, strict=True)), asked.get(values[0], [])


def _asked(item_ids: Sequence[UUID]) -> dict[UUID, list[Row]]:
    """Who was asked about these items, in the order of stages, with what they signed."""
    signed = FilteredRelation("decisions", condition=Q(decisions__signed_at__isnull=False))
    work = WorkItem.objects.filter(item__in=among(item_ids)).annotate(signed=signed)
    found: dict[UUID, list[Row]] = defaultdict(list)
    for item_id, *values in work.order_by("stage", "id", "signed__id").values_list("item_id", *_WORK.values()):
        found[item_id].append(dict(zip(_WORK, values, strict=True)))
    return found


def _flat_items(queryset: QuerySet[Item]) -> Iterator[Row]:
    """One line for each person who was asked; an item nobody was asked about has one line too."""
    for item, work in items(queryset):
        for each in work or [_EMPTY_WORK]:
            yield item | {name if name not in item else f"work_{name}": value for name, value in each.items()}


def _nested_items(queryset: QuerySet[Item]) -> Iterator[Row]:
    for item, work in items(queryset):
        yield item | {"work": work}


def entries_seen(campaign: Campaign, actor: Actor) -> QuerySet[PopulationEntry]:
    """The part of the population that may be named to `actor`."""
    seen: QuerySet[PopulationEntry] = PopulationEntry.objects.filter(campaign=campaign).visible_to(actor)
    return seen


def hidden_entries(campaign: Campaign, actor: Actor) -> int:
    """How many subjects of the population may not be named to `actor`."""
    return campaign.population.count() - entries_seen(campaign, actor).count()


_NAMES = {
    "server": ("server__name",),
    "grant": ("grant__agent__name", "grant__server__name"),
    "connection": ("connection__server__name", "connection__system__name"),
    "agent": ("agent__name",),
}


def population(campaign: Campaign, actor: Actor) -> Iterator[Row]:
    """Every subject that was in scope at the launch, in its order: it became an item, or says why not.

    What `actor` may not see is left out; the file's `hidden` counts it.
    """
    names = [name for several in _NAMES.values() for name in several]
    entries = entries_seen(campaign, actor).order_by("position").annotate(about=_SUBJECT)
    columns = ("position", "kind", "about", "excluded_because", *names)
    for values in entries.values_list(*columns).iterator(chunk_size=CHUNK):
        row = dict(zip(columns, values, strict=True))
        label = " → ".join(str(row[name]) for name in _NAMES[row["kind"]])
        yield {
            "position": row["position"],
            "kind": row["kind"],
            "subject": row["about"],
            "label": label,
            "included": not row["excluded_because"],
            "excluded_because": row["excluded_because"],
        }


SIGN_OFF: Mapping[str, str] = {
    "id": "id",
    "kind": "kind",
    "stage": "stage",
    "signed_by": "reviewer__name",
    "email": "reviewer__email",
    "decisions": "decision_count",
    "root": "decisions_root",
    "statement": "statement",
    "auth_method": "auth_method",
    "at": "at",
}
_REMEDIATION: Mapping[str, str] = {
    "id": "id",
    "item": "item_id",
    "label": "item__label",
    "tier": "item__tier",
    "kind": "kind",
    "state": "state",
    "decision": "decision_id",
    "decided_by": "decision__work_item__reviewer__email",
    "kept": "kept",
    "channel": "channel",
    "channel_reference": "channel_reference",
    "attempts": "attempts",
    "dispatched_at": "dispatched_at",
    "reported_at": "reported_at",
    "verified_at": "verified_at",
    "verification_source": "verifications__source",
    "verification_confirmed": "verifications__confirmed",
    "verification_observed_at": "verifications__observed_at",
    "verification_by": "verifications__by__email",
    "verification_proof": "verifications__proof",
    "exception_reason": "exceptions__reason",
    "exception_control": "exceptions__compensating_control",
    "exception_approver": "exceptions__approver__email",
    "exception_expires_at": "exceptions__expires_at",
    "exception_ended_at": "exceptions__ended_at",
}


def _selected(queryset: QuerySet[Any], columns: Mapping[str, str]) -> Iterator[Row]:
    for values in queryset.values_list(*columns.values()).iterator(chunk_size=CHUNK):
        yield dict(zip(columns, values, strict=True))


def sign_offs(campaign: Campaign) -> Iterator[Row]:
    return _selected(SignOff.objects.filter(campaign=campaign).order_by("at", "id"), SIGN_OFF)


def remediations(campaign: Campaign, seen: QuerySet[Item]) -> Iterator[Row]:
    """What was taken away: one line for each observation and exception of it."""
    made = Remediation.objects.filter(item__in=seen.order_by().values("pk"))
    return _selected(
        made.order_by("created_at", "id", "verifications__observed_at", "exceptions__created_at"), _REMEDIATION
    )


# --- Files -----------------------------------------------------------------------------------------------

KINDS_OF_FILE = ("items", "population", "sign-offs", "remediations")
COLUMNS: Mapping[str, Sequence[str]] = {
    "items": [*_ITEM, *(name if name not in _ITEM else f"work_{name}" for name in _WORK)],
    "population": ["position", "kind", "subject", "label", "included", "excluded_because"],
    "sign-offs": list(SIGN_OFF),
    "remediations": list(_REMEDIATION),
}


def may_read_population(actor: Actor, campaign: Campaign) -> bool:
    """For those who run the campaign, and those who oversee all; its rows are as visible as what they are about."""
    return allows(actor, "reviews.manage_campaign", campaign) or allows(actor, "reviews.view_all")


def require_population(actor: Actor, campaign: Campaign) -> None:
    """Raise `NotAllowed` unless `actor` may read what was in scope, and what was left out of it."""
    if not may_read_population(actor, campaign):
        raise NotAllowed("Only those who run the campaign or oversee it read its population.")


def rows_of(
    what: str, campaign: Campaign, actor: Actor, seen: QuerySet[Item], *, nested: bool = False
) -> Iterator[Row]:
    """The rows of one kind of file. `seen` are the items of the campaign that are asked for and may be seen."""
    match what:
        case "items":
            return _nested_items(seen) if nested else _flat_items(seen)
        case "population":
            return population(campaign, actor)
        case "sign-offs":
            return sign_offs(campaign)
        case "remediations":
            return remediations(campaign, seen)
    raise ValueError(what)


def csv_rows(what: str, rows: Iterable[Row], head: Row) -> Iterator[list[Any]]:
    """The rows, then what the file says about itself: at the end, where it disturbs no reader of the header and
    shows that nothing is missing."""
    columns, count = COLUMNS[what], 0
    for row in rows:
        count += 1
        yield [" ".join(value) if isinstance(value := row[name], list) else value for name in columns]
    for name, value in {**head, "rows": count}.items():
        yield [f"# {name}", value]


def json_chunks(what: str, rows: Iterable[Row], head: Row) -> Iterator[bytes]:
    """One JSON object: what the file says about itself, then the rows, then how many there were."""
    yield orjson.dumps(head)[:-1] + b',"' + what.replace("-", "_").encode() + b'":['
    count = 0
    for row in rows:
        yield (b",\n" if count else b"\n") + orjson.dumps(row, default=str)
        count += 1
    yield b'\n],"rows":' + str(count).encode() + b"}\n"


def answer_file(what: str, form: str, campaign: Campaign, actor: Actor, seen: QuerySet[Item]) -> StreamingHttpResponse:
    """One kind of rows as CSV or JSON, written while it is read."""
    taken = taken_now()
    head = heading(what, campaign, taken, actor)
    rows = rows_of(what, campaign, actor, seen, nested=form == "json")
    name = f"{slugify(campaign.name) or 'campaign'}-{what}"
    if form == "csv":
        response = stream_csv(name, COLUMNS[what], csv_rows(what, rows, head))
    else:
        response = StreamingHttpResponse(json_chunks(what, rows, head), content_type="application/json")
        response["Content-Disposition"] = f'attachment; filename="{name}.json"'
        response["Cache-Control"] = "no-store"
    response["X-Audit-Chain-Head"] = taken.audit_head
    response["X-Population-Hash"] = campaign.population_hash
    return response


# --- The report ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Summary:
    """A campaign on paper. Counts only, but for what has to be named: exclusions, exceptions, signatures."""

    taken: TakenAt
    items: int
    exclusions: int
    population: int
    excluded_because: list[tuple[str, int]]
    """Reasons for leaving out what the reader may see; `excluded_hidden` counts the rest."""
    excluded_hidden: int
    standing: Standing
    answers: list[tuple[str, str, dict[str, int], int]]
    """Signed decisions by value and by what its reviewers read it as: `(value, word, {tier: count}, all)`."""
    by_people: int
    by_system: list[tuple[str, int]]
    """Items that got their outcome without anybody's signed answer, by state (invariant 8)."""
    automatic: list[tuple[str, str, int]]
    """What the ladder did or holds back: `(kind, state, count)`."""
    assigned: int
    deciders: int
    moves: list[tuple[str, int]]
    stood_in: int
    overdue: int
    remediations: list[tuple[str, int]]
    verified_by: list[tuple[str, int]]
    exceptions: list[ExceptionRecord]
    statistics: list[ReviewerStatistics]
    sign_offs: list[SignOff]

    @property
    def ties_out(self) -> bool:
        return self.items + self.exclusions == self.population

    @property
    def decided(self) -> list[tuple[str, dict[str, int], int]]:
        """Signed decisions by value: `(value, {tier: count}, all)`."""
        values: dict[str, Counter[str]] = {}
        for value, _word, by_tier, _all in self.answers:
            values.setdefault(value, Counter()).update(by_tier)
        return [(value, dict(tiers), tiers.total()) for value, tiers in values.items()]

    @property
    def parts(self) -> list[tuple[str, int]]:
        """What became of every item of the population, `(name, count)`: together all of them."""
        progress = self.standing.progress
        return [
            ("by_people", self.by_people),
            ("by_clock", sum(n for _state, n in self.by_system)),
            ("unsigned", progress.count(ItemState.DECIDED, ItemState.SIGNED)),
            ("undecided", progress.left),
            ("obsolete", progress.count(ItemState.OBSOLETE)),
            ("cancelled", progress.count(ItemState.CANCELLED)),
        ]

    @property
    def parts_tie_out(self) -> bool:
        return sum(n for _name, n in self.parts) == self.items

    @property
    def tiers(self) -> list[str]:
        return [tier for tier, _progress in self.standing.tiers]


def summary(campaign: Campaign, actor: Actor) -> Summary:
    """The report of a campaign, in a fixed number of queries. What reviewers' pace was is for those who oversee."""
    entries = PopulationEntry.objects.filter(campaign=campaign)
    excluded = entries.exclude(excluded_because="")
    # A reason may name the campaign that reviews the thing instead, and by that the thing.
    reasons = entries_seen(campaign, actor).exclude(excluded_because="")
    signed = Decision.objects.filter(work_item__item__campaign=campaign, signed_at__isnull=False)
    work = WorkItem.objects.filter(item__campaign=campaign)
    made = Remediation.objects.filter(item__campaign=campaign)
    standing = queries.standing(campaign)
    values: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for value, kind, tier, n in _counted(signed, "value", "work_item__item__kind", "work_item__item__tier"):
        values[value, answer_word(kind, value)][tier] += n
    answered = Exists(Decision.objects.filter(work_item__item=OuterRef("pk"), signed_at__isnull=False))
    unanswered = campaign.items.filter(~answered, state__in=queries.WITH_OUTCOME)
    # An item changes hands within a work item, or when another takes the place of one that is closed.
    passed_on = Exists(WorkItemMove.objects.filter(work_item=OuterRef("pk"), to_reviewer__isnull=False))
    held = work.annotate(passed_on=passed_on).aggregate(
        n=Count("pk"),
        others=Count("item", filter=~Q(reviewer=F("original_reviewer")) | Q(passed_on=True), distinct=True),
    )
    oversees = may_read_population(actor, campaign)
    by_system = _counted(unanswered, "state")
    signatures = list(campaign.sign_offs.select_related("reviewer").order_by("at", "id"))
    return Summary(
        taken=taken_now(),
        items=standing.all_items,
        exclusions=excluded.count(),
        population=entries.count(),
        excluded_because=_counted(reasons, "excluded_because")[:MOST_REASONS],
        excluded_hidden=excluded.count() - reasons.count(),
        standing=standing,
        answers=[
            (value, word, dict(tiers), tiers.total())
            for wanted in Decision.Value.values
            for (value, word), tiers in sorted(values.items())
            if value == wanted
        ],
        by_people=standing.progress.signed - sum(n for _state, n in by_system),
        by_system=by_system,
        automatic=_counted(AutomaticAction.objects.filter(item__campaign=campaign), "kind", "state"),
        assigned=held["n"],
        deciders=len({each.reviewer_id for each in signatures if each.kind == SignOff.Kind.REVIEWER}),
        moves=_counted(WorkItemMove.objects.filter(work_item__item__campaign=campaign), "kind"),
        stood_in=held["others"],
        overdue=campaign.items.filter(state__in=queries.UNDECIDED, due_at__lt=clock.now()).count(),
        remediations=_counted(made, "state"),
        verified_by=_counted(
            Verification.objects.filter(remediation__in=made.order_by().values("pk"), confirmed=True), "source"
        ),
        exceptions=list(
            ExceptionRecord.objects.filter(remediation__in=made, approver__isnull=False)
            .filter(remediation__item__in=Item.objects.visible_to(actor))
            .select_related("remediation__item", "approver", "requested_by")
            .defer("remediation__item__snapshot")
            .order_by("expires_at")
        ),
        statistics=reviewer_statistics(campaign) if oversees else [],
        sign_offs=signatures,
    )


MOST_REASONS = 50
"""Reasons for leaving something out that the report lists; the file lists each subject."""


def _counted(queryset: QuerySet[Any], *columns: str) -> list[Any]:
    """Rows `(*columns, count)`, the most frequent first."""
    rows = queryset.order_by().values_list(*columns).annotate(n=Count("pk"))
    return sorted(rows, key=lambda row: (-row[-1], *map(str, row[:-1])))


# --- How reviewers decide --------------------------------------------------------------------------------

STATISTICS_DAYS = 365


@dataclass(frozen=True)
class ReviewerLine:
    """How one person decided over all campaigns of a year. Shares from 0 to 1, the median in seconds."""

    reviewer: User
    campaigns: int
    decisions: int
    median: float
    kept: float
    opened: float
    bulk: float
    open: int
    overdue: int
    red: int
    confirmed: int
    """Red verdicts that a second person looked at and let through."""


def reviewer_table(actor: Actor) -> list[ReviewerLine]:
    """One line per reviewer who signed, or has, something: everybody for those who oversee, else oneself.

    Four queries, however many decisions.
    """
    since = clock.now() - clock.days(STATISTICS_DAYS)
    signed = Decision.objects.filter(decided_at__gte=since, signed_at__isnull=False)
    # Registrations are activated or returned in one act; nobody's pace is measured there.
    signed = signed.exclude(sign_off__campaign__kind=Campaign.Kind.INTAKE)
    waiting = WorkItem.objects.filter(state=WorkItemState.OPEN, item__state__in=OPEN_ITEM)
    verdicts = QualityVerdict.objects.filter(at__gte=since, verdict=QualityVerdict.Verdict.RED)
    if not allows(actor, "reviews.view_statistics"):
        signed = signed.filter(work_item__reviewer=actor.user_id)
        waiting, verdicts = waiting.filter(reviewer=actor.user_id), verdicts.filter(reviewer=actor.user_id)
    decided: dict[UUID, Row] = {
        row["work_item__reviewer"]: dict(row)
        for row in signed.order_by()
        .values("work_item__reviewer")
        .annotate(
            n=Count("pk"),
            campaigns=Count("sign_off__campaign", distinct=True),
            kept=Count("pk", filter=Q(value__in=UNCUT)),
            opened=Count("opened_evidence_at"),
            bulk=Count("bulk_id"),
            median=Percentile("decided_ms", 0.5),
        )
    }
    load: dict[UUID, Row] = {
        row["reviewer"]: dict(row)
        for row in waiting.order_by()
        .values("reviewer")
        .annotate(open=Count("pk"), overdue=Count("pk", filter=Q(item__due_at__lt=clock.now())))
    }
    red: dict[UUID, Row] = {
        row["reviewer"]: dict(row)
        for row in verdicts.order_by().values("reviewer").annotate(red=Count("pk"), confirmed=Count("confirmation"))
    }
    people = User.objects.in_bulk({*decided, *load, *red})
    lines = []
    for pk, person in people.items():
        row, held, warned = decided.get(pk, Row()), load.get(pk, Row()), red.get(pk, Row())
        n = row.get("n", 0)
        lines.append(
            ReviewerLine(
                reviewer=person,
                campaigns=row.get("campaigns", 0),
                decisions=n,
                median=round((row.get("median") or 0) / 1000, 1),
                kept=row.get("kept", 0) / n if n else 0,
                opened=row.get("opened", 0) / n if n else 0,
                bulk=row.get("bulk", 0) / n if n else 0,
                open=held.get("open", 0),
                overdue=held.get("overdue", 0),
                red=warned.get("red", 0),
                confirmed=warned.get("confirmed", 0),
            )
        )
    return sorted(lines, key=lambda line: (-line.red, -line.overdue, -line.decisions, line.reviewer.name))

"""From the fixed population to items, chunk by chunk, so that a killed worker loses what it had in hand, nothing else.

`Campaign.processed` is the position of the last subject that is done; it moves in the transaction that writes the
chunk, together with what each reviewer was given. Whoever comes next goes on from there and chooses whom the first
one would have chosen. Items and work items are written by the database from its own rows: only ids pass through here.

Two database sessions take turns: while one hands out the items of a chunk and commits, the other freezes the evidence
of the next. A chunk counts only if the campaign stands exactly before it when its turn comes, so that neither a
cancellation nor another worker, nor a chunk that failed before it, can leave a gap or a double.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce

from registry.accounts.models import User
from registry.audit.services import record
from registry.catalog import services as catalog
from registry.catalog.models import Agent, Server, System
from registry.core import clock, ids
from registry.core.actors import Actor
from registry.core.bulk import Sql, among, insert_select, table_of, uuid_array
from registry.core.events import publish
from registry.core.lanes import Come, Overtaken, in_lanes
from registry.core.permissions import require
from registry.reviews.assignment import Assigner, Choice, barred_in, named_by
from registry.reviews.barred import barred
from registry.reviews.events import CampaignLaunched
from registry.reviews.facts import frozen_select, write_blocks
from registry.reviews.gate import gate
from registry.reviews.models import Campaign, Item, PopulationEntry, SubjectKind, WorkItem
from registry.reviews.population import KIND_ORDER, REVIEWED, population_hash
from registry.reviews.services.launch import due_at, try_to_open
from registry.reviews.services.moves import locked_campaign, move_campaign
from registry.reviews.states import OPEN_ITEM, CampaignState, ItemState, WorkItemState

log = structlog.get_logger(__name__)
CHUNK = 5_000
STALE_AFTER = timedelta(seconds=30)
LANE_PATIENCE = "20s"
BIG = 1_000
"""From this many items on the planner is told what came: its own statistics would follow a minute later."""
GENERATOR = Actor.system("campaign launch")
REPEATABLE = (IntegrityError, OperationalError)
"""The facts moved between two statements of a chunk, or two acts waited for each other."""
_LOCK_CLASS = 7_301_002


def generate_items(*, campaign_id: UUID, actor: Actor = GENERATOR) -> bool:
    """Work through the population until it is done. False when another worker is on it, or nothing is left to do."""
    require(actor, "reviews.launch_campaign")
    while (advanced := _advance(campaign_id, actor)) is not None:
        if not advanced:
            return _stage(campaign_id, actor)
    return False


def _advance(campaign_id: UUID, actor: Actor) -> bool | None:
    """As far as two sessions come, then one chunk, or the end, alone and patiently. Returns as `_generate_chunk`."""
    # Other sessions would not see what surrounds us, nor could what they commit be rolled back with it.
    if not connection.in_atomic_block:
        try:
            _generate_in_lanes(campaign_id, actor)
        except REPEATABLE:
            log.warning("lanes_left", campaign_id=str(campaign_id), exc_info=True)
    return _patiently(_generate_chunk, campaign_id, actor)


def _patiently(
    chunk: Callable[[UUID, Actor], bool | None], campaign_id: UUID, actor: Actor, tries: int = 3
) -> bool | None:
    """Once more when the facts moved between two statements of a chunk, or two acts waited for each other."""
    for left in reversed(range(tries)):
        try:
            return chunk(campaign_id, actor)
        except REPEATABLE:
            if not left:
                raise
            log.warning("chunk_repeated", campaign_id=str(campaign_id), exc_info=True)
    return None


def fail_generation(*, campaign_id: UUID, reason: str, actor: Actor = GENERATOR) -> None:
    """Stop a launch that cannot go on, with words for the campaign's owner."""
    require(actor, "reviews.launch_campaign")
    with transaction.atomic():
        campaign = locked_campaign(campaign_id)
        if campaign.state == CampaignState.GENERATING:
            campaign.state_reason = reason[:2000]
            move_campaign(actor, campaign, CampaignState.GENERATION_FAILED, reason=campaign.state_reason)


def resume_generation(*, now: datetime) -> list[UUID]:
    """Enqueue launches that stopped moving: their message died with the worker, their rows did not."""
    stale = Campaign.objects.filter(state=CampaignState.GENERATING, progressed_at__lt=now - STALE_AFTER)
    found = list(stale.values_list("pk", flat=True))
    with transaction.atomic():
        for pk in found:
            publish(CampaignLaunched(campaign_id=pk))
    return found


# --- One chunk -------------------------------------------------------------------------------------------


Written = Mapping[str, str]
"""New items: the end of the id of each, and the id of what it is about; as text, for they only pass through."""


@dataclass(frozen=True)
class _Part:
    """The subjects of one kind in one chunk, and the items that were written of them.

    `ids` begins the id of each item; their position ends it.
    """

    campaign: Campaign
    kind: str
    ids: str
    subjects: Sql
    written: Written


class _Seat(NamedTuple):
    position: str
    choice: Choice


class _Chunk(NamedTuple):
    """Positions of the population, and how the ids of their items begin."""

    first: int
    last: int
    ids: str


@transaction.atomic
def _generate_in_lanes(campaign_id: UUID, actor: Actor) -> None:
    """What is left, if that is more than one chunk, in two sessions; this one keeps other workers away meanwhile."""
    campaign = _claim(campaign_id)
    if campaign is None or campaign.total - campaign.processed <= CHUNK:
        return

    @transaction.atomic
    def work(chunk: _Chunk, come: Come) -> None:
        with connection.cursor() as cursor:
            # That one session waits for its turn is unknown to the database, which would not see a circle through it.
            cursor.execute(f"SET LOCAL lock_timeout = '{LANE_PATIENCE}'")
        _write_chunk(campaign_id, actor, chunk, come)

    in_lanes(list(_chunks(campaign)), work)


@transaction.atomic
def _generate_chunk(campaign_id: UUID, actor: Actor) -> bool | None:
    """One chunk. True: go on; False: the population is done; None: not ours, or no longer generating."""
    campaign = _claim(campaign_id)
    if campaign is None:
        return None
    if campaign.processed >= campaign.total:
        return False
    chunk = _Chunk(campaign.processed + 1, min(campaign.processed + CHUNK, campaign.total), _prefix())
    try:
        with transaction.atomic():
            _write_chunk(campaign_id, actor, chunk)
    except Overtaken:
        return None
    return True


def _claim(campaign_id: UUID) -> Campaign | None:
    """The campaign, kept from other workers for this transaction; None when one has it, or nobody is to have it."""
    with connection.cursor() as cursor:
        # Of the transaction, not of the session, so that it also works behind a transaction-pooling proxy.
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, hashtext(%s))", [_LOCK_CLASS, str(campaign_id)])
        if not cursor.fetchone()[0]:
            return None
    return Campaign.objects.filter(pk=campaign_id, state=CampaignState.GENERATING).first()


def _chunks(campaign: Campaign) -> Iterator[_Chunk]:
    """What is left of the population. All begin their ids alike: drawn here, these follow the population."""
    ids, done = _prefix(), campaign.processed
    while done < campaign.total:
        last = _end_of_server(campaign, done + 1, min(done + CHUNK, campaign.total))
        yield _Chunk(done + 1, last, ids)
        done = last


def _end_of_server(campaign: Campaign, first: int, last: int) -> int:
    """Where a chunk ends that should at `last`: with its server, for of two sessions that freeze the same one waits."""
    server = Coalesce("server_id", "grant__server_id", "connection__server_id")
    near = PopulationEntry.objects.filter(
        campaign=campaign, position__range=(max(first, last - CHUNK // 2), last + 1)
    ).annotate(rests_on=server)
    rests_on = dict(near.order_by("-position").values_list("position", "rests_on"))
    behind = rests_on.pop(last + 1, None)
    ends = (position for position, server in rests_on.items() if server != behind)
    return last if behind is None else next(ends, last)


def _nothing() -> None:
    """Of a chunk that is alone anyway."""


def _write_chunk(campaign_id: UUID, actor: Actor, chunk: _Chunk, come: Come = _nothing) -> None:
    """Freeze, then hand out. Between the two it is this chunk's turn; `Overtaken` when that will never be."""
    campaign = Campaign.objects.get(pk=campaign_id)
    parts = [part for kind in KIND_ORDER if (part := _freeze(campaign, kind, chunk))]
    # What items refer to is looked up here, where it costs nobody else time, and not at the commit.
    connection.check_constraints()
    come()
    # The row is held to the end: a cancellation waits for the chunk, and finds all of its items to close. Its key is
    # not, because frozen items refer to it and the next session is writing some.
    campaign = Campaign.objects.select_for_update(of=("self",), no_key=True).get(pk=campaign_id)
    if campaign.state != CampaignState.GENERATING or campaign.processed != chunk.first - 1:
        raise Overtaken
    stage = campaign.stages[0]
    assigner = Assigner.of(stage, given=stage.get("given"))
    waiting, done = 0, set[int]()
    for part in parts:
        seats = _choose(part, assigner)
        _write_work(part, seats)
        waiting += _hold_back(part, seats, len(assigner.seats))
        _admit(part, seats)
        done |= {int(position, 16) for position in part.written}
    excluded = set(range(chunk.first, chunk.last + 1)) - done
    _exclude(campaign, excluded)
    stage["given"] = assigner.given
    Campaign.objects.filter(pk=campaign.pk).update(
        processed=chunk.last, progressed_at=clock.now(), stages=campaign.stages
    )
    record(
        actor=actor,
        act="campaign.items_generated",
        subject=campaign,
        data={
            "positions": [chunk.first, chunk.last],
            "items": len(done),
            "excluded": len(excluded),
            "waiting_for_reviewers": waiting,
            "assignments": _assignments(chunk),
        },
    )


def _prefix() -> str:
    """The beginning of ids that follow time; a number of eight hexadecimal digits completes each.

    So ids are in the order of the population, which is the order of queues and pages, and need no journey each.
    """
    return str(ids.new_id())[:-8]


class _InScope(NamedTuple):
    """Subjects and their positions, as literals of arrays.

    Arrays, because the planner sees how long they are: of a subquery over rows that were written a moment ago it
    would expect a single one.
    """

    subjects: str
    positions: str

    @property
    def ids(self) -> Sql:
        return Sql(f"SELECT unnest({self.subjects})")


def _in_scope(campaign: Campaign, kind: str, chunk: _Chunk) -> _InScope | None:
    """The subjects of this kind; None when there are none."""
    sql = f"""
        SELECT array_agg(entry.{kind}_id)::text, array_agg(entry.position)::text
        FROM {table_of(PopulationEntry)} entry
        WHERE entry.campaign_id = %s AND entry.kind = %s AND entry.position BETWEEN %s AND %s
    """  # noqa: S608 - our own names
    with connection.cursor() as cursor:
        cursor.execute(sql, [campaign.pk, kind, chunk.first, chunk.last])
        subjects, positions = cursor.fetchone()
    return _InScope(f"'{subjects}'::uuid[]", f"'{positions}'::int[]") if subjects else None


def _freeze(campaign: Campaign, kind: str, chunk: _Chunk) -> _Part | None:
    """Freeze what these subjects are at this moment, one item each, in the order of the population.

    What ended since the launch gets none, nor what a campaign has an open item for: the database refuses a second one
    (invariant 15). None when that leaves nothing.
    """
    in_scope = _in_scope(campaign, kind, chunk)
    if in_scope is None:
        return None
    about = table_of(REVIEWED[kind].model)
    if kind != SubjectKind.AGENT:
        server = "id" if kind == SubjectKind.SERVER else "server_id"
        write_blocks(f"SELECT DISTINCT {server} FROM {about} WHERE id = ANY({in_scope.subjects})")  # noqa: S608
    now, until = clock.now(), due_at(campaign)
    rows = insert_select(
        Item,
        {
            "id": Sql(f"('{chunk.ids}' || lpad(to_hex(entry.position), 8, '0'))::uuid"),
            "created_at": now,
            "updated_at": now,
            "campaign_id": campaign.pk,
            "kind": kind,
            f"{kind}_id": Sql("subject_id"),
            "rests_on_id": Sql("frozen.rests_on"),
            "label": Sql("left(frozen.label, 320)"),
            "tier": Sql("frozen.tier"),
            "due_at": until,
            "state": ItemState.IN_REVIEW,
            "snapshot": Sql("frozen.snapshot"),
            "block_id": Sql("frozen.block_digest"),
            "fingerprint": Sql("frozen.fingerprint"),
            "evidence_hash": Sql("frozen.evidence_hash"),
        },
        Sql(
            f"unnest({in_scope.subjects}, {in_scope.positions}) entry(subject_id, position) "
            "JOIN frozen USING (subject_id) "
            f"JOIN {about} subject ON subject.id = frozen.subject_id "
            "WHERE frozen.in_place ORDER BY entry.position "
            f"ON CONFLICT DO NOTHING RETURNING right(id::text, 8), {kind}_id::text"
        ),
        # Computed once, whatever the planner thinks of the joins around it.
        first=Sql(f"WITH frozen AS MATERIALIZED ({frozen_select(kind, in_scope.ids.text)})"),
    )
    return _Part(campaign, kind, chunk.ids, in_scope.ids, dict(rows)) if rows else None


def _choose(part: _Part, assigner: Assigner) -> list[_Seat]:
    named = {str(subject): each for subject, each in named_by(part.kind, part.subjects, assigner.rules).items()}
    assigner.learn(named.values())
    everywhere = barred_in(part.campaign, {}) if part.campaign.owner_id in assigner.people else {}
    bars = {
        str(subject): {**each, **everywhere}
        for subject, each in barred(part.kind, part.subjects, among=assigner.people).items()
    }
    return [
        _Seat(position, choice)
        for position, subject in part.written.items()
        for choice in assigner.choose(part.kind, named=named.get(subject, {}), barred=bars.get(subject, everywhere))
    ]


def _write_work(part: _Part, seats: Sequence[_Seat]) -> None:
    """A work item for each seat. People, reasons and sides recur, so rows carry their numbers."""
    reviewers = [choice.reviewer for _position, choice in seats]
    originals = [choice.meant for _position, choice in seats]
    reasons = [choice.because for _position, choice in seats]
    sides = [choice.side for _position, choice in seats]
    # By identity: a person is one object here, and comparing them by their ids would take longer than all the rest.
    people = {id(user): user for user in (*reviewers, *originals)}
    person, reason, side = _numbered(people), _numbered(reasons), _numbered(sides)
    pool, now = uuid_array(user.pk for user in people.values()), clock.now()
    insert_select(
        WorkItem,
        {
            "id": Sql(f"('{_prefix()}' || lpad(to_hex(seat.number), 8, '0'))::uuid"),
            "created_at": now,
            "updated_at": now,
            "item_id": Sql(f"('{part.ids}' || seat.position)::uuid"),
            "side": Sql("(%s::text[])[seat.side]", (list(side),)),
            "reviewer_id": Sql(f"({pool})[seat.reviewer]"),
            "original_reviewer_id": Sql(f"({pool})[seat.original]"),
            "chosen_because": Sql("left((%s::text[])[seat.because], 300)", (list(reason),)),
            "state": WorkItemState.OPEN,
        },
        Sql(
            "unnest(%s::text[], %s::int[], %s::int[], %s::int[], %s::int[]) "
            "WITH ORDINALITY seat(position, reviewer, original, side, because, number) ORDER BY seat.number",
            (
                _literal(position for position, _choice in seats),
                _literal(person[id(user)] for user in reviewers),
                _literal(person[id(user)] for user in originals),
                _literal(side[each] for each in sides),
                _literal(reason[each] for each in reasons),
            ),
        ),
    )


def _numbered(values: Iterable[Any]) -> dict[Any, int]:
    """Each different value with its place in an SQL array, which counts from 1."""
    return {value: number for number, value in enumerate(dict.fromkeys(values), 1)}


def _literal(values: Iterable[object]) -> str:
    """An array of numbers, decimal or hexadecimal, as PostgreSQL reads it."""
    return f"{{{','.join(map(str, values))}}}"


def _hold_back(part: _Part, seats: Sequence[_Seat], wanted: int) -> int:
    """Items with fewer people than their stage asks for wait, and the launch with them (invariant 6)."""
    found = Counter(seat.position for seat in seats)
    short = [UUID(part.ids + position) for position in part.written if found[position] < wanted]
    if short:
        Item.objects.filter(pk__in=among(short)).update(state=ItemState.PENDING)
    return len(short)


def _admit(part: _Part, seats: Sequence[_Seat]) -> None:
    def reviewers() -> dict[UUID, list[User]]:
        found = defaultdict(list)
        for position, choice in seats:
            found[UUID(part.written[position])].append(choice.reviewer)
        return found

    admit_all(part.kind, part.subjects, reviewers)


def _exclude(campaign: Campaign, positions: Collection[int]) -> None:
    """Give every subject that became no item the reason, so that the population ties out (invariant 5)."""
    if not positions:
        return
    entries = list(PopulationEntry.objects.filter(campaign=campaign, position__in=sorted(positions)))
    for kind in KIND_ORDER:
        part = [entry for entry in entries if entry.kind == kind]
        elsewhere = dict(
            Item.objects.filter(
                **{"kind": kind, f"{kind}__in": among(entry.subject_pk for entry in part)}, state__in=OPEN_ITEM
            ).values_list(f"{kind}_id", "campaign__name")
        )
        for entry in part:
            name = elsewhere.get(entry.subject_pk)
            entry.excluded_because = f"It is reviewed in {name}."[:300] if name else "It ended after the launch."
    PopulationEntry.objects.bulk_update(entries, ["excluded_because"], batch_size=1000)


def _assignments(chunk: _Chunk) -> str:
    """SHA-256 over one line per seat of these items: subject, fingerprint, reviewer, side."""
    lines = (
        f"SELECT concat_ws(' ', coalesce(item.server_id, item.grant_id, item.connection_id, item.agent_id), "  # noqa: S608
        f"item.fingerprint, work.reviewer_id, work.side) AS line, work.id FROM {table_of(Item)} item "
        f"JOIN {table_of(WorkItem)} work ON work.item_id = item.id WHERE item.id BETWEEN %s AND %s"
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT encode(sha256(convert_to(coalesce(string_agg(line, E'\\n' ORDER BY id), ''), 'UTF8')), 'hex') "  # noqa: S608
            f"FROM ({lines}) lines",
            [f"{chunk.ids}{chunk.first:08x}", f"{chunk.ids}{chunk.last:08x}"],
        )
        found: str = cursor.fetchone()[0]
    return found


# --- What reviewers may see ------------------------------------------------------------------------------

_ENDS: Mapping[str, Sequence[tuple[str, type[Any]]]] = {
    SubjectKind.SERVER: [("", Server)],
    SubjectKind.GRANT: [("server", Server), ("agent", Agent)],
    SubjectKind.CONNECTION: [("server", Server), ("system", System)],
    SubjectKind.AGENT: [("", Agent)],
}


def admit(subject: Any, users: Sequence[User]) -> None:
    """Reviewers see what they review, also when it is confidential."""
    admit_all(subject.subject_type, [subject.pk], lambda: {subject.pk: users})


def admit_all(
    kind: str, subjects: Collection[UUID] | Sql, reviewers: Callable[[], Mapping[UUID, Sequence[User]]]
) -> None:
    """Let the reviewers of many subjects of one kind see the confidential things among their ends.

    `reviewers` by subject is asked for only when there is something confidential.
    """
    for path, model in _ENDS[kind]:
        hidden = REVIEWED[kind].model.objects.filter(
            pk__in=among(subjects), **{f"{path}__confidential" if path else "confidential": True}
        )
        pairs = list(hidden.values_list("pk", f"{path}_id" if path else "pk"))
        by_subject = reviewers() if pairs else {}
        people: dict[UUID, dict[UUID, User]] = defaultdict(dict)
        for subject, thing in pairs:
            people[thing].update((user.pk, user) for user in by_subject.get(subject, ()))
        # In one order everywhere: each of these takes the row of the thing.
        for pk, thing in sorted(model.objects.in_bulk(people).items()):
            if people[pk].keys() - set(thing.admitted):
                catalog.admit_viewers(actor=GENERATOR, thing=thing, users=people[pk].values())


def admit_those_asked() -> int:
    """Who was asked to review a thing before it became confidential goes on seeing it. Returns how many were let in.

    Things become confidential by rules too, thousands at a time, so this looks at all of them.
    """
    fresh: dict[type[Any], dict[UUID, set[UUID]]] = defaultdict(lambda: defaultdict(set))
    for kind, ends in _ENDS.items():
        for path, model in ends:
            end = "__".join(filter(None, ("item", kind, path)))
            rows = WorkItem.objects.exclude(state=WorkItemState.CLOSED).filter(
                ~Q(**{f"{end}__admitted__contains": [F("reviewer_id")]}), **{f"{end}__confidential": True}
            )
            for thing, reviewer in rows.order_by().values_list(end, "reviewer").distinct():
                fresh[model][thing].add(reviewer)
    admitted = 0
    for model, reviewers in fresh.items():
        people = User.objects.in_bulk(set().union(*reviewers.values()))
        for pk, thing in sorted(model.objects.in_bulk(reviewers).items()):
            catalog.admit_viewers(actor=GENERATOR, thing=thing, users=[people[each] for each in sorted(reviewers[pk])])
            admitted += len(reviewers[pk])
    return admitted


# --- The end of the population ---------------------------------------------------------------------------


@transaction.atomic
def _stage(campaign_id: UUID, actor: Actor) -> bool:
    """GENERATING → STAGED with the population's hash, then ACTIVE if the launch gate lets it."""
    campaign = locked_campaign(campaign_id)
    if campaign.state != CampaignState.GENERATING:
        return False
    _tell_planner(campaign)
    campaign.population_hash = population_hash(campaign)
    # The first chunk froze its facts at about the launch.
    campaign.facts_checked_at = campaign.launched_at
    found = gate(campaign, hashed=campaign.population_hash)
    move_campaign(
        actor,
        campaign,
        CampaignState.STAGED,
        population_hash=campaign.population_hash,
        population=found.population,
        items=found.items,
        exclusions=found.exclusions,
    )
    if campaign.kind == Campaign.Kind.MICRO and not found.items:
        # What it was for is under review elsewhere or gone: said in its exclusions, and nobody has to clear it away.
        campaign.state_reason = " ".join(found.problems)[:2000]
        move_campaign(actor, campaign, CampaignState.CANCELLED, reason=campaign.state_reason)
        return True
    try_to_open(actor, campaign, found)
    return True


def _tell_planner(campaign: Campaign) -> None:
    if campaign.total < BIG:
        return
    with connection.cursor() as cursor:
        for model, columns in _PLANNED.items():
            cursor.execute(f"ANALYZE {table_of(model)} ({', '.join(columns)})")


_PLANNED = {
    Item: ("campaign_id", "state", "kind", "tier", "rests_on_id", "server_id", "grant_id", "connection_id", "agent_id"),
    WorkItem: ("item_id", "reviewer_id", "state", "stage"),
    PopulationEntry: ("campaign_id", "position", "excluded_because"),
}
"""What queries ask these tables by; the wide columns are left out."""

"""The queue of a reviewer: their items of one campaign in reading order, drawn as a window around one of them.

Somebody may hold thousands of items. One statement orders what is theirs, counts it, and hands out only the part
that is drawn, found by the place of the item one looks at; snapshots are read for that part alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

import orjson
from django.db import connection
from django.db.models import OuterRef, Subquery, TextChoices
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from registry.catalog.models import DataClass, Tier
from registry.core.actors import Actor
from registry.reviews.facts import Json, compose
from registry.reviews.models import Campaign, EvidenceBlock, Item, ItemRefresh, SubjectKind, Template, WorkItem
from registry.reviews.models.decisions import answer_word
from registry.reviews.states import OPEN_ITEM, ItemState, WorkItemState
from registry.trust.states import HELD

Grouping = Template.Grouping
WINDOW = 30
"""Lines drawn at once."""
BEFORE = 10
"""Of these, how many stand before the item one looks at."""


class Tab(TextChoices):
    OPEN = "open", _("To do")
    DECIDED = "decided", _("Decided")
    SIGNED = "signed", _("Signed")


class Changed(TextChoices):
    MEANWHILE = "meanwhile", _("Changed during the review")
    SINCE = "since", _("Changed since last certified")
    NEVER = "never", _("Never certified")
    NOTHING = "nothing", _("Nothing changed")


@dataclass(frozen=True)
class Question:
    """What a reviewer wants to see of their queue: the state of its address."""

    tab: str = Tab.OPEN
    grouping: str = Grouping.SERVER
    text: str = ""
    tier: str = ""
    kind: str = ""
    changed: str = ""

    @property
    def narrowed(self) -> bool:
        return bool(self.text or self.tier or self.kind or self.changed)


SUSPEND = "suspend"
"""The answer "revoke" about what is suspended rather than revoked, counted apart."""
ANSWERS: tuple[tuple[str, Promise, tuple[str, ...]], ...] = (
    ("ok", _("certified"), ("certify", "certify_until")),
    ("warn", _("reduced"), ("certify_reduced",)),
    ("danger", _("revoked"), ("revoke",)),
    ("danger", _("suspended"), (SUSPEND,)),
    ("warn", _("returned"), ("return",)),
    ("accent", _("not sure"), ("not_decided",)),
)
"""How answers are drawn in the bar: tone, word, values."""


@dataclass(frozen=True)
class Counts:
    """A reviewer's whole share of a campaign. `by_value` counts answers, signed or not."""

    todo: int = 0
    unsigned: int = 0
    signed: int = 0
    by_value: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.todo + self.decided

    @property
    def decided(self) -> int:
        return self.unsigned + self.signed

    @property
    def segments(self) -> list[tuple[str, int, str]]:
        """For `progress_bar`."""
        answers = [(tone, sum(self.by_value.get(v, 0) for v in values), str(word)) for tone, word, values in ANSWERS]
        return [*answers, ("idle", self.todo, str(_("to do")))]


@dataclass(frozen=True)
class Line:
    """One item of the queue. `since` is empty when nothing is to be said about its last certificate."""

    id: UUID
    kind: str
    label: str
    tier: str
    state: str
    tab: str
    value: str
    group_id: str
    group_name: str
    group_note: str
    group_title: str
    since: Literal["", "since", "never"]


@dataclass(frozen=True)
class Lineup:
    """The drawn part of a queue, and where it stands in the whole.

    `earlier` and `later` count the matching lines before and after those drawn; `groups` counts the matching lines of
    each group that is drawn; `next_open` is the undecided item to go to from the current one, from the top again at
    the end.
    """

    lines: Sequence[Line]
    counts: Counts
    groups: Mapping[str, int]
    matching: int = 0
    earlier: int = 0
    later: int = 0
    previous: UUID | None = None
    next: UUID | None = None
    next_open: UUID | None = None


# Of a mine row `m`: the id of its group, what has to be joined to know it, and the table that names groups.
_NOBODY = "00000000-0000-0000-0000-000000000000"
_GROUPS: Mapping[str, tuple[str, str, str]] = {
    Grouping.SERVER: ("m.rests_on_id", "", "catalog_server"),
    # A server and its grants stand with the most sensitive system the server reaches.
    Grouping.SYSTEM: (
        """
        CASE WHEN m.connection_id IS NULL THEN worst.system_id
             ELSE (SELECT c.system_id FROM trust_connection c WHERE c.id = m.connection_id) END
        """,
        """
        LEFT JOIN (
            WITH ranked AS MATERIALIZED (
                SELECT id, row_number() OVER (ORDER BY array_position(%(data)s, data_class::text) DESC, name, id) AS nth
                FROM catalog_system
            ), reached AS (
                SELECT h.server_id, min(ranked.nth) AS nth
                FROM trust_connection h JOIN ranked ON ranked.id = h.system_id
                WHERE h.status = ANY(%(held)s) AND h.server_id = ANY(ARRAY(SELECT rests_on_id FROM mine))
                GROUP BY h.server_id
            )
            SELECT reached.server_id, ranked.id AS system_id FROM reached JOIN ranked USING (nth)
        ) worst ON worst.server_id = m.rests_on_id
        """,
        "catalog_system",
    ),
    Grouping.TEAM: (
        "coalesce(s.team_id, a.team_id)",
        """
        LEFT JOIN catalog_server s ON s.id = m.rests_on_id
        LEFT JOIN catalog_agent a ON a.id = m.agent_id
        """,
        "accounts_team",
    ),
    Grouping.FLAT: ("NULL::uuid", "", "accounts_team"),
}
# What the newest certificate of the very subject of `item` says about it; empty when it certified these facts.
_SINCE = """
    (SELECT CASE WHEN print IS NULL THEN 'never' WHEN print <> item.fingerprint THEN 'since' ELSE '' END
     FROM (SELECT CASE item.kind {cases} END AS print) last)
""".replace(
    "{cases}",
    " ".join(
        f"WHEN '{kind}' THEN (SELECT fingerprint FROM reviews_certificate WHERE {kind}_id = item.{kind}_id"  # noqa: S608
        " ORDER BY created_at DESC, id DESC LIMIT 1)"
        for kind in SubjectKind.values
    ),
)
_BOUNDS = """
SELECT (SELECT id FROM reviews_item WHERE campaign_id = %(campaign)s ORDER BY id LIMIT 1),
       (SELECT id FROM reviews_item WHERE campaign_id = %(campaign)s ORDER BY id DESC LIMIT 1)
"""
# Thousands of rows pass every step up to `placed`, so that each carries only what a later one asks for. They are sorted
# once; from there on everything follows from their numbers.
_SQL = """
WITH held AS MATERIALIZED (
    -- From an index alone. A fence, because parallel workers take longer to start than the whole statement takes.
    SELECT id, state, item_id FROM reviews_workitem
    -- Ids follow time, so this leaves out years of other campaigns without looking at their items.
    WHERE reviewer_id = %(me)s AND item_id BETWEEN %(first)s AND %(last)s
), mine AS (
    SELECT i.id, i.kind, i.label, i.tier, i.state, i.rests_on_id, i.connection_id, i.agent_id,
           coalesce(d.value, '') AS value,
           array_position(%(tiers)s, i.tier::text) AS risk, array_position(%(kinds)s, i.kind::text) AS sort,
           CASE w.state WHEN 'responded' THEN 'decided' WHEN 'closed' THEN 'signed' ELSE 'open' END AS tab
    FROM held w
    -- Everything asked of an item stands in the index of its campaign: its row, with the snapshot, is not read.
    JOIN reviews_item i ON i.campaign_id = %(campaign)s AND i.id = w.item_id
    -- At most one: a draft is unique, and a signature closes its work item for good.
    LEFT JOIN reviews_decision d ON d.work_item_id = w.id
    WHERE i.state <> ALL(%(gone)s)
      -- Open although the item is not: nothing is asked any more. Closed without an answer: stepped back, handed on.
      AND CASE w.state WHEN 'open' THEN i.state = ANY(%(open)s) WHEN 'closed' THEN d.id IS NOT NULL ELSE true END
), keyed AS MATERIALIZED (
    SELECT m.id, m.kind, m.label, m.tier, m.state, m.value, m.tab, m.risk, m.sort,
           coalesce({key}, %(nobody)s::uuid) AS group_id
    FROM mine m {joins}
), grouped AS (
    SELECT k.group_id, k.group_risk, named.name AS group_name
    FROM (SELECT group_id, min(risk) AS group_risk FROM keyed GROUP BY group_id) k
    LEFT JOIN {table} named ON named.id = k.group_id
), matched AS (
    SELECT *, tab IN ('open', %(tab)s) {filters} AS matches FROM keyed JOIN grouped USING (group_id)
    OFFSET 0  -- A fence: filters are asked once of every line.
), placed AS MATERIALIZED (
    -- `place` counts all lines up to this one, `nth` those of them that are wanted.
    SELECT id, kind, tab, value, group_id, matches, wanted, row_number() OVER reading AS place,
           count(*) FILTER (WHERE wanted) OVER reading AS nth
    FROM (SELECT *, matches AND tab = %(tab)s AS wanted FROM matched) m
    WINDOW reading AS (ORDER BY {order} ROWS UNBOUNDED PRECEDING)
), here AS MATERIALIZED (
    -- How many wanted lines there are: in all, before the current one, up to it, and before what is drawn.
    SELECT max(nth) AS matching, max(place) FILTER (WHERE id = %(current)s) AS place,
           max(nth - wanted::int) FILTER (WHERE id = %(current)s) AS before,
           max(nth) FILTER (WHERE id = %(current)s) AS reached,
           coalesce(max(nth - (wanted AND NOT %(behind)s)::int) FILTER (WHERE id = %(anchor)s), 0) AS passed
    FROM placed
), line AS MATERIALIZED (
    SELECT placed.* FROM placed, here
    WHERE (wanted AND nth > passed - %(before)s
           AND nth <= least(greatest(passed - %(before)s, 0) + %(window)s, passed + %(beyond)s))
       -- What one looks at is drawn where it stands, whatever was asked for.
       OR (NOT wanted AND id = %(current)s AND %(current)s = %(anchor)s)
    -- More they cannot be; so that the planner knows it too.
    ORDER BY placed.place LIMIT %(window)s + 1
)
SELECT jsonb_build_object(
    'lines', coalesce((SELECT jsonb_agg(jsonb_build_object(
        'id', line.id, 'kind', item.kind, 'label', item.label, 'tier', item.tier, 'state', item.state,
        'tab', line.tab, 'value', line.value, 'group_id', line.group_id,
        'group_name', coalesce(named.name, ''), 'group_note', {note}, 'group_title', {title}, 'since', {since}
    ) ORDER BY line.place)
    FROM line JOIN reviews_item item ON item.id = line.id LEFT JOIN {table} named ON named.id = line.group_id), '[]'),
    'groups', coalesce((SELECT jsonb_object_agg(group_id, n) FROM (
        SELECT group_id, count(*) AS n FROM placed WHERE wanted AND group_id IN (SELECT group_id FROM line)
        GROUP BY group_id) g), '{{}}'),
    'tallies', coalesce((SELECT jsonb_agg(jsonb_build_array(tab, value, kind, n)) FROM (
        SELECT tab, value, kind, count(*) AS n FROM placed GROUP BY 1, 2, 3) t), '[]'),
    'matching', coalesce(here.matching, 0),
    'earlier', coalesce((SELECT min(nth - wanted::int) FROM line), 0),
    'later', coalesce(here.matching - (SELECT max(nth) FROM line), 0),
    'previous', (SELECT id FROM placed WHERE wanted AND nth = here.before),
    'next', (SELECT id FROM placed WHERE wanted AND nth = here.reached + 1),
    'next_open', (SELECT id FROM placed WHERE matches AND tab = 'open' AND id IS DISTINCT FROM %(current)s
                  ORDER BY place < coalesce(here.place, 0), place LIMIT 1)
) FROM here
"""
_ORDERS: Mapping[str, str] = {Grouping.FLAT: 'risk, label COLLATE "C", id'}
# A group without a name is what belongs to none: the last among those as risky.
_ORDER = 'group_risk, group_name COLLATE "C" NULLS LAST, group_id, risk, sort, label COLLATE "C", id'
_KINDS = [str(kind) for kind in (SubjectKind.SERVER, SubjectKind.GRANT, SubjectKind.CONNECTION, SubjectKind.AGENT)]
_TIERS = [str(tier) for tier in sorted(Tier, key=lambda tier: -tier.rank)]
_DATA = [str(data) for data in sorted(DataClass, key=lambda data: data.rank)]


def lineup(
    actor: Actor,
    campaign: Campaign,
    question: Question,
    *,
    current: UUID | None = None,
    after: UUID | None = None,
    until: UUID | None = None,
    window: int | None = None,
) -> Lineup:
    """The actor's own items of `campaign` that answer `question`: around `current`, after `after`, or before `until`.

    Two statements, whatever the length. Items that vanished or were cancelled ask nobody anything and are left out.
    """
    key, joins, table = _GROUPS[question.grouping]
    filters, given = _filters(question)
    sql = _SQL.format(
        key=key,
        joins=joins,
        table=table,
        note="coalesce(named.environment, '')" if question.grouping == Grouping.SERVER else "''",
        title="coalesce(named.title, '')" if question.grouping == Grouping.SERVER else "''",
        order=_ORDERS.get(question.grouping, _ORDER),
        filters=filters,
        since=_SINCE,
    )
    window = WINDOW if window is None else window
    before = window if until else 0 if after or not current else min(BEFORE, window // 3)
    params = {
        "me": actor.user_id,
        "campaign": campaign.pk,
        "current": current,
        "anchor": until or after or current,
        "before": before,
        "window": window,
        "beyond": 0 if until else window,
        # A later page starts behind the line it was asked from; the current item itself is drawn.
        "behind": bool(after and not until),
        "tab": question.tab,
        "tiers": _TIERS,
        "kinds": _KINDS,
        "data": _DATA,
        "held": [str(status) for status in HELD],
        "open": [str(state) for state in OPEN_ITEM],
        "gone": [str(ItemState.OBSOLETE), str(ItemState.CANCELLED)],
        "nobody": _NOBODY,
        **given,
    }
    with connection.cursor() as cursor:
        # Asked apart, so that the planner sees the bounds as values and starts from the reviewer.
        cursor.execute(_BOUNDS, params)
        params["first"], params["last"] = cursor.fetchone()
        cursor.execute(sql, params)
        found = orjson.loads(cursor.fetchone()[0])
    return Lineup(
        lines=[_line(row) for row in found["lines"]],
        counts=_counts(found["tallies"]),
        groups={"" if key == _NOBODY else key: n for key, n in found["groups"].items()},
        matching=found["matching"],
        earlier=found["earlier"],
        later=found["later"],
        previous=_id(found["previous"]),
        next=_id(found["next"]),
        next_open=_id(found["next_open"]),
    )


def waits_for(actor: Actor, campaign: Campaign, item: UUID) -> bool:
    """Whether this item of `campaign` is one of the actor's undecided ones: stands in their queue under `Tab.OPEN`."""
    held = WorkItem.objects.filter(reviewer=actor.user_id, state=WorkItemState.OPEN, item=item)
    return held.filter(item__campaign=campaign, item__state__in=OPEN_ITEM).exists()


def evidence_of(drawn: Lineup) -> dict[UUID, Json]:
    """The evidence of the lines that are drawn, as their page shows it: the newest that was seen since launch, else
    that of launch. They are the reader's own, so that they may be seen.
    """
    rows = Item.objects.filter(pk__in=[line.id for line in drawn.lines]).order_by()
    newest = ItemRefresh.objects.filter(item=OuterRef("pk")).order_by("-at", "-id")
    seen = rows.annotate(
        refresh=Subquery(newest.values("pk")[:1]),
        seen_snapshot=Subquery(newest.values("snapshot")[:1]),
        seen_block=Subquery(newest.values("block")[:1]),
    ).values_list("pk", "snapshot", "block", "refresh", "seen_snapshot", "seen_block")
    frozen = [
        (pk, snapshot, block) if refresh is None else (pk, later, later_block)
        for pk, snapshot, block, refresh, later, later_block in seen
    ]
    # One server surrounds many lines: its block is read once, and shared because nobody changes what is frozen.
    named = EvidenceBlock.objects.filter(pk__in={digest for _pk, _snapshot, digest in frozen})
    blocks = {digest: orjson.loads(text) for digest, text in named.values_list("pk", "text")}
    return {pk: compose(snapshot, blocks.get(digest)) for pk, snapshot, digest in frozen}


def _filters(question: Question) -> tuple[str, dict[str, Any]]:
    """Conditions on a line of `keyed` and `grouped`, and their values."""
    conditions, values = [], dict[str, Any]()
    for index, word in enumerate(question.text.split()[:8]):
        conditions.append(f"concat(label, ' ', group_name) ILIKE %(word{index})s")
        escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        values[f"word{index}"] = f"%{escaped}%"
    for name in ("tier", "kind"):
        if value := getattr(question, name):
            conditions.append(f"{name} = %({name})s")
            values[name] = value
    match question.changed:
        case Changed.MEANWHILE:
            conditions.append("state = 'invalidated'")
        case Changed.SINCE | Changed.NEVER | Changed.NOTHING:
            since = f"(SELECT {_SINCE} FROM reviews_item item WHERE item.id = keyed.id)"  # noqa: S608
            conditions.append(f"{since} = %(changed)s")
            values["changed"] = "" if question.changed == Changed.NOTHING else question.changed
    return "".join(f" AND {condition}" for condition in conditions), values


def _id(value: str | None) -> UUID | None:
    return UUID(value) if value else None


def _line(row: dict[str, Any]) -> Line:
    group_id = "" if row["group_id"] == _NOBODY else row["group_id"]
    return Line(**{**row, "id": UUID(row["id"]), "group_id": group_id})


def _counts(tallies: Sequence[tuple[str, str, str, int]]) -> Counts:
    of = dict.fromkeys(Tab.values, 0)
    by_value: dict[str, int] = {}
    for tab, answer, kind, n in tallies:
        of[tab] += n
        value = SUSPEND if answer_word(kind, answer) else answer
        if tab != Tab.OPEN and value:
            by_value[value] = by_value.get(value, 0) + n
    return Counts(of[Tab.OPEN], of[Tab.DECIDED], of[Tab.SIGNED], by_value)

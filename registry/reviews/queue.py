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
from django.db.models import TextChoices
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from registry.catalog.models import DataClass, Tier
from registry.core.actors import Actor
from registry.reviews.facts import Json
from registry.reviews.models import Campaign, Item, SubjectKind, Template, WorkItem
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


ANSWERS: tuple[tuple[str, Promise, tuple[str, ...]], ...] = (
    ("ok", _("certified"), ("certify", "certify_until")),
    ("warn", _("reduced"), ("certify_reduced",)),
    ("danger", _("revoked"), ("revoke",)),
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
        "coalesce(c.system_id, worst.system_id)",
        """
        LEFT JOIN trust_connection c ON c.id = m.connection_id
        LEFT JOIN (
            SELECT DISTINCT ON (h.server_id) h.server_id, reached.id AS system_id
            FROM (SELECT DISTINCT rests_on_id FROM mine WHERE connection_id IS NULL) asked
            JOIN trust_connection h ON h.server_id = asked.rests_on_id AND h.status = ANY(%(held)s)
            JOIN catalog_system reached ON reached.id = h.system_id
            ORDER BY h.server_id, array_position(%(data)s, reached.data_class::text) DESC, reached.name, reached.id
        ) worst ON m.connection_id IS NULL AND worst.server_id = m.rests_on_id
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
# What the newest certificate of the very subject says about an item; empty when it certified these facts.
_SINCE = """
    (SELECT CASE WHEN last.print IS NULL THEN 'never' WHEN last.print <> item.fingerprint THEN 'since' ELSE '' END
     FROM reviews_item item, LATERAL (SELECT CASE item.kind {cases} END AS print) last WHERE item.id = {line}.id)
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
    SELECT m.*, coalesce({key}, %(nobody)s::uuid) AS group_id FROM mine m {joins}
), grouped AS MATERIALIZED (
    SELECT k.group_id, coalesce(named.name, '') AS group_name, {note} AS group_note,
           row_number() OVER (ORDER BY k.risk, named.id IS NULL, named.name COLLATE "C", named.id) AS group_place
    FROM (SELECT group_id, min(risk) AS risk FROM keyed GROUP BY group_id) k
    LEFT JOIN {table} named ON named.id = k.group_id
), placed AS MATERIALIZED (
    SELECT keyed.*, group_name, group_note, row_number() OVER (ORDER BY {order}) AS place
    FROM keyed JOIN grouped USING (group_id)
), here AS (
    SELECT (SELECT place FROM placed WHERE id = %(current)s) AS place,
           (SELECT place FROM placed WHERE id = %(anchor)s) AS anchor
), wanted AS MATERIALIZED (
    SELECT * FROM placed p WHERE p.tab = %(tab)s {filters}
), ahead AS MATERIALIZED (
    SELECT * FROM wanted WHERE place < (SELECT anchor FROM here) ORDER BY place DESC LIMIT %(before)s
), line AS (
    SELECT * FROM ahead
    UNION ALL
    (SELECT * FROM wanted WHERE place > coalesce((SELECT anchor FROM here), 0) - %(with_anchor)s::int
     ORDER BY place LIMIT greatest(%(most)s - (SELECT count(*) FROM ahead), 0))
    UNION ALL
    -- What one looks at is drawn where it stands, whatever was asked for.
    SELECT * FROM placed WHERE id = %(current)s AND NOT EXISTS (SELECT 1 FROM wanted w WHERE w.id = %(current)s)
      AND %(current)s = %(anchor)s
)
SELECT jsonb_build_object(
    'lines', coalesce((SELECT jsonb_agg(jsonb_build_object(
        'id', line.id, 'kind', line.kind, 'label', line.label, 'tier', line.tier, 'state', line.state,
        'tab', line.tab, 'value', line.value, 'group_id', line.group_id,
        'group_name', line.group_name, 'group_note', line.group_note, 'since', {since}
    ) ORDER BY line.place) FROM line), '[]'),
    'groups', coalesce((SELECT jsonb_object_agg(group_id, n) FROM (
        SELECT group_id, count(*) AS n FROM wanted WHERE group_id IN (SELECT group_id FROM line)
        GROUP BY group_id) g), '{{}}'),
    'tallies', coalesce((SELECT jsonb_agg(jsonb_build_array(tab, value, n)) FROM (
        SELECT tab, value, count(*) AS n FROM placed GROUP BY 1, 2) t), '[]'),
    'matching', (SELECT count(*) FROM wanted),
    'earlier', (SELECT count(*) FROM wanted WHERE place < (SELECT min(place) FROM line)),
    'later', (SELECT count(*) FROM wanted WHERE place > (SELECT max(place) FROM line)),
    'previous', (SELECT id FROM wanted WHERE place < (SELECT place FROM here) ORDER BY place DESC LIMIT 1),
    'next', (SELECT id FROM wanted WHERE place > (SELECT place FROM here) ORDER BY place LIMIT 1),
    'next_open', (SELECT id FROM placed p WHERE p.tab = 'open' AND id IS DISTINCT FROM %(current)s {filters}
                  ORDER BY place < coalesce((SELECT place FROM here), 0), place LIMIT 1)
)
"""
_ORDERS: Mapping[str, str] = {Grouping.FLAT: 'risk, label COLLATE "C", id'}
_ORDER = 'group_place, risk, sort, label COLLATE "C", id'
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
        order=_ORDERS.get(question.grouping, _ORDER),
        filters=filters,
        since=_SINCE.format(line="line"),
    )
    window, paged = WINDOW if window is None else window, bool(until or after)
    before = window if until else 0 if paged or not current else min(BEFORE, window // 3)
    params = {
        "me": actor.user_id,
        "campaign": campaign.pk,
        "current": current,
        "anchor": until or after or current,
        "before": before,
        "most": 0 if until else window,
        # A page starts behind the line it was asked from; the current item itself is drawn.
        "with_anchor": not paged,
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
    """The evidence of the lines that are drawn. They are the reader's own, so that they may be seen."""
    rows = Item.objects.filter(pk__in=[line.id for line in drawn.lines]).prefetch_related("block")
    return {item.pk: item.evidence for item in rows.only("snapshot", "block", "kind").order_by()}


def _filters(question: Question) -> tuple[str, dict[str, Any]]:
    """Conditions on a placed line `p`, and their values."""
    conditions, values = [], dict[str, Any]()
    for index, word in enumerate(question.text.split()[:8]):
        conditions.append(f"concat(p.label, ' ', p.group_name) ILIKE %(word{index})s")
        escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        values[f"word{index}"] = f"%{escaped}%"
    for name in ("tier", "kind"):
        if value := getattr(question, name):
            conditions.append(f"p.{name} = %({name})s")
            values[name] = value
    match question.changed:
        case Changed.MEANWHILE:
            conditions.append("p.state = 'invalidated'")
        case Changed.SINCE | Changed.NEVER | Changed.NOTHING:
            conditions.append(f"{_SINCE.format(line='p')} = %(changed)s")
            values["changed"] = "" if question.changed == Changed.NOTHING else question.changed
    return "".join(f" AND {condition}" for condition in conditions), values


def _id(value: str | None) -> UUID | None:
    return UUID(value) if value else None


def _line(row: dict[str, Any]) -> Line:
    group_id = "" if row["group_id"] == _NOBODY else row["group_id"]
    return Line(**{**row, "id": UUID(row["id"]), "group_id": group_id})


def _counts(tallies: Sequence[tuple[str, str, int]]) -> Counts:
    of = dict.fromkeys(Tab.values, 0)
    by_value: dict[str, int] = {}
    for tab, value, n in tallies:
        of[tab] += n
        if tab != Tab.OPEN and value:
            by_value[value] = by_value.get(value, 0) + n
    return Counts(of[Tab.OPEN], of[Tab.DECIDED], of[Tab.SIGNED], by_value)

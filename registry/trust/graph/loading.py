"""Rows of the database as arrays: columns of fixed width, packed by the database thousands to a row, read by numpy.

Packed, because a million rows handed over one by one would take Python longer than the database needs for all. The
same SELECT list serves the whole table, a few rows by id, and rows as they were before a change: only what it selects
from differs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from registry.trust.graph import snapshot as codes
from registry.trust.graph.snapshot import (
    ALWAYS,
    NEVER,
    NONE,
    Column,
    Edges,
    Ids,
    Ints,
    Nodes,
    Raw,
    Secrets,
    Snapshot,
    Tools,
)

NIL = "'00000000-0000-0000-0000-000000000000'::uuid"
_BLOCK = 8192
"""So many rows travel as one."""
_PACKED = {
    "uuid": ("uuid_send", "S16"),
    "time": ("timestamptz_send", ">i8"),
    "int8": ("int8send", ">i8"),
    "int2": ("int2send", ">i2"),
}
TAIL = 4096
"""So many changed relationships are searched one by one; more are sorted in."""


def _code(column: str, values: tuple[str, ...]) -> str:
    """A word as its place among `values`, 0 when it is none of them."""
    words = ",".join(f"'{value}'" for value in values[1:])
    return f"coalesce(array_position(ARRAY[{words}], {column}::text), 0)::int2"


def _id(column: str) -> str:
    return f"coalesce({column}, {NIL})"


def _time(column: str, otherwise: str = "-infinity") -> str:
    return f"coalesce({column}, '{otherwise}'::timestamptz)"


_GOVERNED = {
    "environment": ("int2", _code("r.environment", codes.ENVIRONMENTS)),
    "team": ("uuid", _id("r.team_id")),
    "owner": ("uuid", _id("r.owner_id")),
}
_RELATIONSHIP = {
    "id": ("uuid", "r.id"),
    "start": ("time", _time("r.activated_at", "infinity")),
    "until": ("time", "CASE WHEN r.status = 'active' THEN r.valid_until ELSE '-infinity'::timestamptz END"),
    "certified": ("time", _time("r.certified_until")),
    "status": ("int2", _code("r.status", codes.STATUSES)),
}
_EFFECTS = {
    "read": 1, "write": 2, "destructive": 4, "execute": 8,
}  # fmt: skip
_EFFECT = (
    "CASE WHEN r.retired_at IS NOT NULL THEN 0 ELSE (CASE coalesce(nullif(r.confirmed_class, ''), "
    "nullif(r.claimed_class, ''), 'destructive') "
    + " ".join(f"WHEN '{name}' THEN {bit}" for name, bit in _EFFECTS.items())
    + " ELSE 0 END) + CASE WHEN r.definition #>> '{annotations,openWorldHint}' = 'true' THEN 16 ELSE 0 END END"
)


@dataclass(frozen=True)
class Source:
    """A table, its columns as (type, SQL over the row `r`), and which of its rows count."""

    table: str
    columns: Mapping[str, tuple[str, str]]
    where: str = "true"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype([(name, _PACKED[kind][1]) for name, (kind, _sql) in self.columns.items()])

    def select(self, rows: str) -> str:
        """The statement over `rows`, a FROM item that yields whole rows as `r`: blocks of packed rows."""
        packed = " || ".join(f"{_PACKED[kind][0]}({sql})" for kind, sql in self.columns.values())
        return (
            f"SELECT string_agg(packed, '') FROM (SELECT {packed} AS packed, row_number() OVER () / {_BLOCK} AS block "  # noqa: S608 - our own names
            f"FROM {rows} WHERE {self.where}) made GROUP BY block"
        )


_OPEN = "r.status IN ('active', 'suspended', 'requested')"
SOURCES = {
    "agent": Source(
        "catalog_agent",
        {
            "id": ("uuid", "r.id"),
            "state": ("int2", _code("r.standing", codes.STATES)),
            "kind": ("int2", _code("r.kind", codes.KINDS)),
            **_GOVERNED,
            "issuer": ("uuid", _id("r.issuer_id")),
            "link": ("uuid", _id("r.server_id")),
            "certified": ("time", _time("r.certified_until")),
        },
    ),
    "server": Source(
        "catalog_server",
        {
            "id": ("uuid", "r.id"),
            "state": ("int2", _code("r.lifecycle", codes.STATES)),
            "rank": ("int2", _code("r.tier", codes.TIERS)),
            **_GOVERNED,
            "deputy": ("uuid", _id("r.deputy_id")),
            "certified": ("time", _time("r.certified_until")),
        },
    ),
    "system": Source(
        "catalog_system",
        {
            "id": ("uuid", "r.id"),
            "state": ("int2", _code("r.standing", codes.STATES)),
            "kind": ("int2", _code("r.kind", codes.KINDS)),
            "rank": ("int2", _code("r.data_class", codes.DATA_CLASSES)),
            **_GOVERNED,
        },
    ),
    "grant": Source(
        "trust_grant",
        {
            **_RELATIONSHIP,
            "source": ("uuid", "r.agent_id"),
            "target": ("uuid", "r.server_id"),
            "mark": ("int2", _code("r.on_behalf_of", codes.BEHALF)),
            "detail": ("int8", "CASE WHEN r.all_tools THEN 0 ELSE hashtextextended(r.tools::text, 0) END"),
        },
        _OPEN,
    ),
    "connection": Source(
        "trust_connection",
        {
            **_RELATIONSHIP,
            "source": ("uuid", "r.server_id"),
            "target": ("uuid", "r.system_id"),
            "mark": ("int2", _code("r.access", codes.ACCESS)),
            "detail": ("uuid", _id("r.secret_source_id")),
        },
        _OPEN,
    ),
    "tool": Source(
        "catalog_tool",
        {
            "id": ("uuid", "r.id"),
            "server": ("uuid", "r.server_id"),
            "name": ("int8", "hashtextextended(r.name, 0)"),
            "effect": ("int2", f"({_EFFECT})::int2"),
        },
    ),
    "secret_source": Source(
        "catalog_secretsource",
        {
            "id": ("uuid", "r.id"),
            "server": ("uuid", "r.server_id"),
            # Without a credential there is nothing to share or to lose.
            "secret": (
                "uuid",
                f"CASE WHEN r.kind = 'none' THEN {NIL} ELSE md5(r.kind || chr(31) || r.reference)::uuid END",
            ),
            "current": ("int2", "(r.retired_at IS NULL)::int::int2"),
        },
    ),
}
"""In the order of their references: things before what names them."""

_TOOLSETS = """
    SELECT hashtextextended(listed.tools::text, 0), ARRAY(SELECT hashtextextended(name, 0) FROM unnest(tools) AS name)
    FROM (SELECT DISTINCT r.tools FROM {rows} WHERE NOT r.all_tools AND {where}) listed
"""


class Reader:
    """Reads rows of one kind after the other over one database cursor.

    `rows(kind)` yields the FROM item to read, as `r`, and its parameters.
    """

    def __init__(self, cursor: Any) -> None:
        """`cursor`: of psycopg itself, which hands over bytes as they are."""
        self._cursor = cursor

    def table(self, kind: str, rows: str, params: Mapping[str, Any]) -> Iterator[Any]:
        source = SOURCES[kind]
        for (block,) in self._cursor.stream(source.select(rows), params or None, binary=True):
            yield np.frombuffer(block, source.dtype)

    def ids(self, query: str, params: Mapping[str, Any]) -> Raw:
        """A query of one column of ids, called `id`."""
        self._cursor.execute(f"SELECT string_agg(uuid_send(id), '') FROM ({query}) found", params, binary=True)  # noqa: S608
        return np.frombuffer(self._cursor.fetchone()[0] or b"", dtype="S16")

    def toolsets(self, rows: str, params: Mapping[str, Any]) -> dict[int, Ints]:
        self._cursor.execute(_TOOLSETS.format(rows=rows, where=_OPEN), params or None)
        return {key: np.array(names, dtype=np.int64) for key, names in self._cursor.fetchall()}


@dataclass(frozen=True)
class Rows:
    """What replaces the former rows of `ids`: `FROM` items per kind, with their parameters."""

    ids: Mapping[str, Raw]
    sources: Mapping[str, str]
    params: Mapping[str, Any]


def whole() -> Rows:
    """Everything there is."""
    none = np.empty(0, dtype="S16")
    return Rows(dict.fromkeys(SOURCES, none), {kind: f"{source.table} r" for kind, source in SOURCES.items()}, {})


def some(ids: Mapping[str, list[Any]]) -> Rows:
    """The present rows of these ids."""
    return Rows(
        {kind: codes.raw(list(listed)) for kind, listed in ids.items()},
        {kind: f"(SELECT * FROM {SOURCES[kind].table} WHERE id = ANY(%({kind})s)) r" for kind in ids},  # noqa: S608
        {kind: list(listed) for kind, listed in ids.items()},
    )


_FIRST = """(
    SELECT DISTINCT ON (thing_id) thing_id, before FROM catalog_change
    WHERE kind = '{kind}' AND at > %(at)s ORDER BY thing_id, number
)"""


def before(reader: Reader, at: Any) -> Rows:
    """Things that changed after `at`, as they were before the first of those changes."""
    ids, sources = {}, {}
    for kind, source in SOURCES.items():
        first = _FIRST.format(kind=kind)
        changed = reader.ids(f"SELECT thing_id AS id FROM {first} first", {"at": at})  # noqa: S608 - our own names
        if len(changed):
            ids[kind] = changed
            # What was created later has no image: it is among the ids and has no row.
            image = f"LATERAL jsonb_populate_record(NULL::{source.table}, first.before) r"
            sources[kind] = f"(SELECT * FROM {first} f WHERE before IS NOT NULL) first, {image}"  # noqa: S608
    return Rows(ids, sources, {"at": at})


EMPTY_IDS = Ids(np.empty(0, dtype="S16"))
_SMALL = {"state", "kind", "environment", "rank", "status", "mark", "effect", "current"}
_LONG = {"start", "until", "certified", "detail", "name"}


def _empty(table: Any, *first: Any) -> Any:
    """A `Nodes` or `Column` without entries."""
    names = [each.name for each in fields(table)][len(first) :]
    widths = ("i1" if name in _SMALL else "i8" if name in _LONG else "i4" for name in names)
    columns = (np.empty(0, dtype=width) for width in widths)
    return table(*first, *columns)


def empty() -> Snapshot:
    """A snapshot of nothing."""
    nodes = _empty(Nodes, EMPTY_IDS)
    edges = Edges.build(_empty(Column, EMPTY_IDS.values), 0, 0)
    return Snapshot(
        agents=nodes,
        servers=nodes,
        systems=nodes,
        grants=edges,
        connections=edges,
        tools=_empty(Tools, EMPTY_IDS),
        secrets=_empty(Secrets, EMPTY_IDS),
        people=EMPTY_IDS,
        teams=EMPTY_IDS,
        issuers=EMPTY_IDS,
        references=EMPTY_IDS,
        toolsets={},
        boundaries=(),
    )


def read(reader: Reader, base: Snapshot, rows: Rows) -> Snapshot:
    """`base` with `rows` laid over."""
    return _Overlay(reader, base, rows).snapshot()


class _Overlay:
    """One reading: things first, then what names them."""

    def __init__(self, reader: Reader, base: Snapshot, rows: Rows) -> None:
        self._reader, self._base, self._rows = reader, base, rows
        self._boundaries: list[Ints] = [np.empty(0, dtype=np.int64)]
        self._words = {name: getattr(base, name) for name in ("people", "teams", "issuers", "references")}
        self._servers = base.servers.ids

    def snapshot(self) -> Snapshot:
        servers = self._nodes("server")
        self._servers = servers.ids
        agents, systems = self._nodes("agent"), self._nodes("system")
        secrets = self._secrets()
        made = replace(
            self._base,
            agents=agents,
            servers=replace(servers, link=_links_back(agents, len(servers))),
            systems=systems,
            secrets=secrets,
            tools=self._tools(),
            grants=self._edges("grant", agents.ids, servers.ids, EMPTY_IDS),
            connections=self._edges("connection", servers.ids, systems.ids, secrets.ids),
            toolsets=self._toolsets(),
        )
        return replace(made, boundaries=self._all_boundaries(), **self._words)

    def _read(self, kind: str) -> Any:
        """All rows of a kind at once, by id; None when none of them changed."""
        if kind not in self._rows.sources:
            return None
        blocks = self._reader.table(kind, self._rows.sources[kind], self._rows.params)
        rows = np.concatenate([np.empty(0, SOURCES[kind].dtype), *blocks])
        return rows[np.argsort(rows["id"], kind="stable")]

    def _numbered(self, word: str, values: Raw) -> Ints:
        """Numbers of people, teams, issuers or secrets; new ones get one, nobody is `NONE`."""
        known = self._words[word]
        new = np.unique(values[(known.numbers(values) == NONE) & (values != b"")])
        self._words[word] = known = known.extended(new)
        return known.numbers(values)

    def _nodes(self, kind: str) -> Nodes:
        base = self._base.nodes(kind)
        rows = self._read(kind)
        if rows is None:
            return base
        names = SOURCES[kind].columns

        def small(name: str) -> Ints:
            return rows[name].astype("i1") if name in names else np.zeros(len(rows), "i1")

        def word(name: str, words: str) -> Ints:
            return self._numbered(words, rows[name]) if name in names else np.full(len(rows), NONE, "i4")

        certified = rows["certified"].astype("i8") if "certified" in names else np.full(len(rows), NEVER)
        self._boundaries.append(certified)
        new = Nodes(
            Ids(rows["id"].astype("S16")),
            state=small("state"),
            kind=small("kind"),
            environment=small("environment"),
            rank=small("rank"),
            team=word("team", "teams"),
            owner=word("owner", "people"),
            deputy=word("deputy", "people"),
            issuer=word("issuer", "issuers"),
            link=self._servers.numbers(rows["link"]) if "link" in names else np.full(len(rows), NONE, "i4"),
            certified=certified,
        )
        return base.replaced(self._rows.ids[kind], new)

    def _edges(self, kind: str, sources: Ids, targets: Ids, secrets: Ids) -> Edges:
        base = self._base.edges(kind)
        if kind not in self._rows.sources:
            return base
        parts = [_empty(Column, EMPTY_IDS.values)]
        for rows in self._reader.table(kind, self._rows.sources[kind], self._rows.params):
            detail = rows["detail"]
            times = {name: rows[name].astype("i8") for name in ("start", "until", "certified")}
            self._boundaries += times.values()
            parts.append(
                Column(
                    ids=rows["id"].astype("S16"),
                    source=sources.numbers(rows["source"]),
                    target=targets.numbers(rows["target"]),
                    status=rows["status"].astype("i1"),
                    mark=rows["mark"].astype("i1"),
                    detail=secrets.numbers(detail).astype("i8") if kind == "connection" else detail.astype("i8"),
                    **times,
                )
            )
        new, most = Column.joined(parts), TAIL if len(base) else 0
        return base.replaced(self._rows.ids[kind], new, sources=len(sources), targets=len(targets), most=most)

    def _secrets(self) -> Secrets:
        rows = self._read("secret_source")
        if rows is None:
            return self._base.secrets
        new = Secrets(
            Ids(rows["id"].astype("S16")),
            server=self._servers.numbers(rows["server"]),
            secret=self._numbered("references", rows["secret"]),
            current=rows["current"].astype("i1"),
        )
        return self._base.secrets.replaced(self._rows.ids["secret_source"], new)

    def _tools(self) -> Tools:
        rows = self._read("tool")
        if rows is None:
            return self._base.tools
        new = Tools(
            Ids(rows["id"].astype("S16")),
            server=self._servers.numbers(rows["server"]),
            name=rows["name"].astype("i8"),
            effect=rows["effect"].astype("i1"),
        )
        return self._base.tools.replaced(self._rows.ids["tool"], new)

    def _toolsets(self) -> Mapping[int, Ints]:
        if "grant" not in self._rows.sources:
            return self._base.toolsets
        return {**self._base.toolsets, **self._reader.toolsets(self._rows.sources["grant"], self._rows.params)}

    def _all_boundaries(self) -> tuple[Ints, ...]:
        """The large arrays stay as they are; the small ones become one."""
        times = np.concatenate(self._boundaries)
        times = times[(times != NEVER) & (times != ALWAYS)]
        if not len(times):
            return self._base.boundaries
        small = [part for part in self._base.boundaries if len(part) <= TAIL]
        large = [part for part in self._base.boundaries if len(part) > TAIL]
        return (*large, np.sort(np.concatenate([*small, times])))


def _links_back(agents: Nodes, servers: int) -> Ints:
    """For each server the agent it is."""
    found = np.full(servers, NONE, dtype="i4")
    linked = np.flatnonzero((agents.link != NONE) & (agents.state != 0))
    found[agents.link[linked]] = linked
    return found

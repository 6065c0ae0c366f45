"""Paths that leave their environment, and servers called from several tenants.

There may be millions of (agent, server, system) triples, so they are not listed but counted in blocks: per server an
agent calls, the agents of one environment times the systems of another that lie behind it, directly or through other
servers. A row is made from its place within its block.
"""

from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import numpy as np

from registry.core.errors import Malformed
from registry.trust.graph.snapshot import ENVIRONMENTS, NONE, PRODUCTION, Ints, Links, View, joined, raw
from registry.trust.graph.walk import HOPS
from registry.trust.queries.answers import Crossing, Crossings, Page, Rows
from registry.trust.queries.standpoint import Standpoint


def crossings(stand: Standpoint, near: str = "", far: str = "") -> Crossings:
    """`near` and `far` leave only triples with an agent and a system of these environments."""
    calls, uses, kept = stand.view.all_calls, _behind(stand.view), stand.view.kept
    if ("crossings", "all") not in kept:
        kept["crossings", "all"] = _Blocks.of(stand, calls, uses)
    if ("crossings", stand.visibility) not in kept:
        kept["crossings", stand.visibility] = _Blocks.of(stand, *_visible(stand, calls, uses))
    everything, seen = (kept["crossings", which].between(near, far) for which in ("all", stand.visibility))
    tenant, tenants, hidden_tenants = _tenants(stand, calls)
    rows = Triples(stand, seen)
    rows.hidden = everything.total - seen.total
    return Crossings(
        as_of=stand.as_of,
        data_version=stand.state.version,
        counts={"environment": everything.total, "worst": everything.worst, "tenant": tenants},
        hidden={"environment": rows.hidden, "tenant": hidden_tenants},
        environment=rows,
        tenant=tenant,
    )


def _behind(view: View) -> Links:
    """Each server with each system behind it, at most `HOPS` relationships away from an agent: its own connections,
    and for servers that call others what lies behind those.

    `number` is that of the connection, `NONE` where the way leads through another server.
    """
    chain, uses = view.chain, view.all_connections
    if not len(chain.near):
        return uses
    own = np.zeros((len(view.snapshot.servers), -(-len(view.snapshot.systems) // 8)), dtype=np.uint8)
    np.bitwise_or.at(own, (uses.near, uses.far >> 3), (128 >> (uses.far & 7)).astype(np.uint8))
    callers, starts = np.unique(chain.near, return_index=True)
    there = own
    # The first relationship is the agent's, the last one the connection.
    for _hop in range(HOPS - 2):
        before, there = there, own.copy()
        there[callers] |= np.bitwise_or.reduceat(before[chain.far], starts, axis=0)
    near, far = np.nonzero(np.unpackbits(there[callers] & ~own[callers], axis=1))
    near, far = callers[near].astype(uses.near.dtype), far.astype(uses.far.dtype)
    return joined([uses, Links(near, far, np.full_like(near, NONE), np.zeros(len(near), dtype=np.bool_))])


def _visible(stand: Standpoint, calls: Links, uses: Links) -> tuple[Links, Links]:
    """Grants (`near` servers, `far` agents) and what lies behind servers, where both ends may be named."""
    agents, servers, systems = (stand.hides(kind) for kind in ("agent", "server", "system"))
    if agents is None or servers is None or systems is None:
        return calls, uses
    calls = calls.where(~agents[calls.far] & ~servers[calls.near])
    return calls, uses.where(~servers[uses.near] & ~systems[uses.far])


def _sorted(stand: Standpoint, links: Links, far: str) -> tuple[Ints, Ints]:
    """Far ends sorted by server (in the order of ids), environment and id; and where each of those pairs begins."""
    servers, things = stand.nodes("server"), stand.nodes(far)
    group = servers.ids.rank[links.near].astype(np.int64) * len(ENVIRONMENTS) + things.environment[links.far]
    order = np.lexsort((things.ids.rank[links.far], group))
    starts = np.searchsorted(group[order], np.arange(len(servers) * len(ENVIRONMENTS) + 1))
    return links.far[order], starts


@dataclass(frozen=True)
class _Blocks:
    """Blocks in the order they are shown: those of non-production agents that reach production first.

    `key` ascends: (worst first, server by id, environment of the agent, of the system). A block lists its agents and
    systems as slices of `agents` and `systems`, each sorted by id.
    """

    key: Ints
    ends: Ints
    """How many triples there are up to the end of each block."""
    agents: Ints
    systems: Ints
    agent_starts: Ints
    system_starts: Ints
    worst: int

    @property
    def total(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    @classmethod
    def of(cls, stand: Standpoint, calls: Links, uses: Links) -> "_Blocks":
        size = len(ENVIRONMENTS)
        agents, agent_starts = _sorted(stand, calls, "agent")
        systems, system_starts = _sorted(stand, uses, "system")
        servers = stand.nodes("server")
        by_rank = servers.environment[servers.ids.order].astype(np.int64)
        many_agents, many_systems = (np.diff(starts).reshape(-1, size) for starts in (agent_starts, system_starts))
        counts = many_agents[:, :, None] * many_systems[:, None, :]
        near, far = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
        own = by_rank[:, None, None]
        counts[(near == own) & (far == own)] = 0
        counts = counts.reshape(-1)
        key = np.flatnonzero(counts)
        agent_env, system_env = key // size % size, key % size
        harmless = ~((agent_env != PRODUCTION) & (system_env == PRODUCTION))
        key = key + harmless * len(counts)
        order = np.argsort(key, kind="stable")
        ends = np.cumsum(counts[key[order] % max(len(counts), 1)])
        worst = int(ends[int((~harmless).sum()) - 1]) if (~harmless).any() else 0
        return cls(key[order], ends, agents, systems, agent_starts, system_starts, worst)

    def between(self, near: str, far: str) -> "_Blocks":
        """Those of agents of one environment and systems of another; empty words leave all."""
        size, kept = len(ENVIRONMENTS), np.ones(len(self.key), dtype=np.bool_)
        for word, of in ((near, self.key // size % size), (far, self.key % size)):
            if word:
                kept &= of == ENVIRONMENTS.index(word)
        if kept.all():
            return self
        ends = np.cumsum(np.diff(self.ends, prepend=0)[kept])
        worst = ends[-1] if len(ends) and far == ENVIRONMENTS[PRODUCTION] and near != far else 0
        return replace(self, key=self.key[kept], ends=ends, worst=min(self.worst, int(worst)))

    def part(self, block: int) -> tuple[int, Ints, Ints]:
        """The rank of its server, its agents and its systems."""
        size = len(ENVIRONMENTS)
        place = int(self.key[block]) % (len(self.agent_starts[:-1]) * size)
        rank, agent_env, system_env = place // size // size, place // size % size, place % size
        of_agents, of_systems = rank * size + agent_env, rank * size + system_env
        agents = self.agents[self.agent_starts[of_agents] : self.agent_starts[of_agents + 1]]
        return rank, agents, self.systems[self.system_starts[of_systems] : self.system_starts[of_systems + 1]]


class Triples(Rows[Crossing]):
    """Agent, server and system, with a cursor that names all three."""

    __slots__ = ("_blocks", "_stand")

    def __init__(self, stand: Standpoint, blocks: _Blocks) -> None:
        super().__init__(blocks.key, blocks.ends, self._row)  # type: ignore[arg-type]
        self._stand, self._blocks = stand, blocks

    def __len__(self) -> int:
        return self._blocks.total

    def _numbers(self, place: int) -> tuple[int, int, int, int]:
        """Block, and the numbers of agent, server and system."""
        block = bisect_right(self._blocks.ends, place)
        rank, agents, systems = self._blocks.part(block)
        within = place - (int(self._blocks.ends[block - 1]) if block else 0)
        server = int(self._stand.nodes("server").ids.order[rank])
        return block, int(agents[within // len(systems)]), server, int(systems[within % len(systems)])

    def _row(self, place: int) -> Crossing:
        _block, *numbers = self._numbers(place)
        ids: dict[str, Any] = {}
        environments: list[str] = []
        for kind, number in zip(("agent", "server", "system"), numbers, strict=True):
            nodes = self._stand.nodes(kind)
            ids[kind] = nodes.ids.uuid(number)
            environments.append(ENVIRONMENTS[nodes.environment[number]])
        return Crossing("environment", **ids, environments=tuple(environments))

    def page(self, cursor: str | None = None, limit: int = 50) -> Page[Crossing]:
        begin = self._after(cursor) if cursor else 0
        end = min(begin + limit, len(self))
        rows = tuple(map(self._row, range(begin, end)))
        if not begin < end < len(self):
            return Page(rows, None)
        block = self._numbers(end - 1)[0]
        last = rows[-1]
        server = self._stand.nodes("server").ids
        size = len(server) * len(ENVIRONMENTS) ** 2
        key = int(self._blocks.key[block])
        harmless, pair = key // size, key % len(ENVIRONMENTS) ** 2
        words = (str(harmless * 100 + pair), *(each.hex for each in (last.server, last.agent, last.system) if each))
        return Page(rows, "_".join(words))

    def _after(self, cursor: str) -> int:
        words = cursor.split("_")
        try:
            code, (server, agent, system) = int(words[0]), map(UUID, words[1:])
        except ValueError as error:
            raise Malformed("This cursor is none of ours. Start again without it.") from error
        size = len(ENVIRONMENTS) ** 2
        servers = self._stand.nodes("server").ids
        rank = int(np.searchsorted(servers.values[servers.order], raw([server]))[0])
        known = rank < len(servers) and servers.uuid(int(servers.order[rank])) == server
        key = (code // 100) * len(servers) * size + rank * size + (code % 100 if known else 0)
        block = int(np.searchsorted(self._blocks.key, key))
        begin = int(self._blocks.ends[block - 1]) if block else 0
        if block == len(self._blocks.key) or not known or int(self._blocks.key[block]) != key:
            return begin
        _rank, agents, systems = self._blocks.part(block)
        row, same = self._place("agent", agents, agent)
        column, found = self._place("system", systems, system) if same else (0, False)
        return begin + row * len(systems) + column + found

    def _place(self, kind: str, numbers: Ints, id: UUID) -> tuple[int, bool]:
        """Where an id is or would be among sorted things."""
        values = self._stand.nodes(kind).ids.values[numbers]
        place = int(np.searchsorted(values, raw([id]))[0])
        return place, place < len(values) and bool(values[place] == raw([id])[0])


def _tenants(stand: Standpoint, calls: Links) -> tuple[Rows[Crossing], int, int]:
    """Servers that agents of several issuers call, those with most first; how many, and how many unnamed."""
    agents, servers = stand.nodes("agent"), stand.nodes("server")
    issuer = agents.issuer[calls.far].astype(np.int64) + 1
    width = len(stand.view.snapshot.issuers) + 1
    there = np.zeros((len(servers), width), dtype=np.bool_)
    there[calls.near, issuer] = True
    many = there[:, 1:].sum(axis=1)
    numbers = servers.ids.sorted(many > 1)
    callers = np.bincount(calls.near, minlength=len(servers))
    issuers = stand.view.snapshot.issuers

    def make(number: int) -> Crossing:
        places = np.flatnonzero(there[number])
        ids: tuple[Any, ...] = tuple(None if place == 0 else issuers.uuid(int(place) - 1) for place in places)
        return Crossing(
            "tenant",
            server=servers.ids.uuid(number),
            issuers=tuple(sorted(ids, key=lambda id: (id is None, id.bytes if id else b""))),
            agents=int(callers[number]),
        )

    rows = Rows.of(servers, numbers, -many[numbers], make, stand.hides("server"))
    return rows, len(numbers), rows.hidden

"""What breaks when relationships are cut. Pure, over the arrays of one view.

Sets of systems are rows of bits: one bit per system that a cut may concern, one row per server or agent. What a server
reaches within so many hops follows from what those it calls reach within one hop less.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from registry.trust.graph.snapshot import NONE, Bools, Ints, View, stable_order
from registry.trust.graph.walk import HOPS, NOBODY, downwards, mask

Bits = NDArray[np.uint64]


@dataclass(frozen=True)
class Losses:
    """Per agent with a path through what is cut: systems it loses and keeps, as bits over `systems`."""

    view: View
    grants: Ints
    connections: Ints
    """What is cut, as far as it is in force."""
    systems: Ints
    """Worst data class first, then by id."""
    agents: Ints
    lost: Bits
    kept: Bits

    @cached_property
    def lost_counts(self) -> Ints:
        return np.bitwise_count(self.lost).sum(axis=1, dtype=np.int64)

    @cached_property
    def kept_count(self) -> int:
        return int(np.bitwise_count(self.kept).sum(dtype=np.int64))

    @cached_property
    def cut_grants_of(self) -> dict[int, list[int]]:
        """Per agent its own grants that are cut."""
        found: dict[int, list[int]] = {}
        sources = self.view.snapshot.grants.column("source", self.grants)
        for number, agent in zip(self.grants.tolist(), sources.tolist(), strict=True):
            found.setdefault(agent, []).append(number)
        return found

    @cached_property
    def loses_tools(self) -> Bools:
        """Per agent of `agents`."""
        size = len(self.view.snapshot.agents)
        return mask(size, self.view.snapshot.grants.column("source", self.grants))[self.agents]

    def of(self, bits: Bits) -> Ints:
        """The systems of one row of bits."""
        return self.systems[self._places(bits)]

    def _places(self, bits: Bits) -> Ints:
        return np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little")[: len(self.systems)])

    @cached_property
    def concerned(self) -> Bools:
        """Per system of `systems`: some agent reached it through the cut."""
        found = np.zeros(len(self.systems), dtype=np.bool_)
        found[self._places(np.bitwise_or.reduce(self.lost | self.kept, axis=0))] = True
        return found

    def agents_with(self, bits: Bits, place: int) -> int:
        """In how many rows of bits the system at `place` is."""
        return int((bits[:, place >> 6] >> np.uint64(place & 63) & np.uint64(1)).sum())

    @cached_property
    def unserved(self) -> Bools:
        """Per system of `systems`: had a connection in force, and none is left."""
        links = self.view.connecting(self.systems)
        size = len(self.view.snapshot.systems)
        cut = self.view.snapshot.connections.mask(self.connections)[links.number]
        return (mask(size, links.near[cut]) & ~mask(size, links.near[~cut]))[self.systems]


def losses(view: View, *, grants: Ints = NOBODY, connections: Ints = NOBODY) -> Losses:
    """What agents lose when these relationships (in force, by number) are cut all at once."""
    return _Cutting(view, grants, connections).losses()


class _Cutting:
    def __init__(self, view: View, grants: Ints, connections: Ints) -> None:
        snapshot = view.snapshot
        self._view, self._grants, self._connections = view, grants, connections
        self._cut_from, self._cut_into = (snapshot.grants.column(side, grants) for side in ("source", "target"))
        self._grant_cut, self._connection_cut = snapshot.grants.mask(grants), snapshot.connections.mask(connections)
        concerned = downwards(view, servers=np.unique(self._cut_into)).systems.there
        concerned[snapshot.connections.column("target", connections)] = True
        systems = snapshot.systems.ids.sorted(concerned)
        self._systems = systems[np.argsort(-snapshot.systems.rank[systems], kind="stable")]
        self._words = max(1, -(-len(self._systems) // 64))
        self._place = np.full(len(snapshot.systems), NONE, dtype=np.int64)
        self._place[self._systems] = np.arange(len(self._systems))
        self._after, self._through = self._of_servers()

    def losses(self) -> Losses:
        view, after, through = self._view, self._after, self._through
        leading = through.any(axis=1)
        calls = view.into(np.flatnonzero(leading))
        calls = calls.where(~self._grant_cut[calls.number])
        size = len(view.snapshot.agents)
        agents = np.flatnonzero(mask(size, calls.far) | mask(size, self._cut_from))
        row = np.full(size, NONE, dtype=np.int32)
        row[agents] = np.arange(len(agents))
        # By the grants that are not cut an agent touches what lies behind them; by the others all that it had there.
        touched = np.zeros((len(agents), self._words), dtype=np.uint64)
        _add(touched, row[self._cut_from], after | through, self._cut_into)
        lost = touched.copy()
        _add(touched, row[calls.far], through, calls.near)
        # It can only lose what a server it calls loses; the others keep it for the agent too.
        servers = np.flatnonzero(leading)
        losing = np.zeros_like(through)
        losing[servers] = through[servers] & ~after[servers]
        some: Bools = np.asarray(losing[servers].any(axis=1))
        risky = mask(len(losing), servers[some])[calls.near]
        _add(lost, row[calls.far[risky]], losing, calls.near[risky])
        at_risk = np.flatnonzero(lost.any(axis=1))
        lost[at_risk] &= ~self._still_reached(agents[at_risk], lost[at_risk])
        return Losses(view, self._grants, self._connections, self._systems, agents, lost, touched & ~lost)

    def _still_reached(self, agents: Ints, wanted: Bits) -> Bits:
        """Per agent what it reaches without the cut, as far as that is among `wanted`.

        Where agents reach nearly everything, one good server settles most of them; only the others are looked at whole.
        """
        found = np.zeros_like(wanted)
        reaching = np.bitwise_count(self._after).sum(axis=1, dtype=np.int32)
        if not len(agents) or not reaching.any():
            return found
        row, far, numbers = self._view.snapshot.grants.far_ends("source", agents, self._view.at)
        useful = (reaching[far] > 0) & ~self._grant_cut[numbers]
        row, far = row[useful], far[useful]
        if self._words > 1 and len(row):
            begins = np.flatnonzero(np.diff(row, prepend=-1))
            # The number of the best server travels with its count.
            best = np.maximum.reduceat(reaching[far].astype(np.int64) << 32 | far, begins) & 0xFFFFFFFF
            found[row[begins]] = self._after[best]
            left: Bools = np.asarray((wanted & ~found).any(axis=1))
            row, far = row[left[row]], far[left[row]]
        _add(found, row, self._after, far)
        return found

    def _of_servers(self) -> tuple[Bits, Bits]:
        """Per server: systems it reaches within five hops without the cut, and those with the cut on the way."""
        view = self._view
        size = len(view.snapshot.servers)
        last = view.connecting(self._systems)
        cut = self._connection_cut[last.number]
        after, through = (self._bits(size, last.far[some], last.near[some]) for some in (~cut, cut))
        callers = view.calling.servers
        if len(callers):
            after[callers], through[callers] = self._along_chains(after[callers], through[callers])
        return after, through

    def _bits(self, size: int, rows: Ints, systems: Ints) -> Bits:
        bit = self._place[systems]
        found = np.zeros(size * self._words, dtype=np.uint64)
        flags = np.left_shift(np.uint64(1), (bit & 63).astype(np.uint64))
        np.bitwise_or.at(found, rows.astype(np.int64) * self._words + (bit >> 6), flags)
        return found.reshape(size, self._words)

    def _along_chains(self, after: Bits, through: Bits) -> tuple[Bits, Bits]:
        """What servers reach that call others; rows are places in `calling.servers`.

        Most of those they call call nobody themselves: what is behind these is the same in every round.
        """
        calling = self._view.calling
        behind = calling.behind.of(self._systems)
        cut = self._grant_cut[behind.grant] | self._connection_cut[behind.connection]
        base_after, base_through = (
            own | self._bits(len(own), behind.caller[some], behind.system[some])
            for own, some in ((after, ~cut), (through, cut))
        )
        near, far, cut = calling.near, calling.far, self._grant_cut[calling.grant]
        for _round in range(HOPS - 2):
            more_after, more_through = base_after.copy(), base_through.copy()
            _add(more_after, near[~cut], after, far[~cut])
            _add(more_through, near[~cut], through, far[~cut])
            _add(more_through, near[cut], after | through, far[cut])
            if (more_after == after).all() and (more_through == through).all():
                break
            after, through = more_after, more_through
        return after, through


def _add(found: Bits, rows: Ints, bits: Bits, which: Ints) -> None:
    """Unite `found[rows]` with `bits[which]`, in place."""
    if not len(rows):
        return
    if found.shape[1] == 1:
        np.bitwise_or.at(found[:, 0], rows, bits[:, 0][which])
        return
    if (rows[1:] < rows[:-1]).any():
        order = stable_order(rows)
        rows, which = rows[order], which[order]
    begins = np.flatnonzero(np.diff(rows, prepend=-1))
    found[rows[begins]] |= np.bitwise_or.reduceat(bits[which], begins, axis=0)

"""Toxic combinations: agents of which some path meets each leg."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any
from uuid import UUID

import numpy as np

from registry.trust.graph.snapshot import ACCESS, DATA_CLASSES, EFFECTS, KINDS, NONE, Bools, Ints
from registry.trust.graph.tools import effects
from registry.trust.graph.tracing import Trace
from registry.trust.graph.walk import HOPS, mask
from registry.trust.models import Combination
from registry.trust.queries.answers import CombinationMatch, Combinations, LegMet, Path, Rows
from registry.trust.queries.routes import path
from registry.trust.queries.standpoint import Standpoint

_OPEN_WORLD = 1 << EFFECTS.index("open_world")


def combinations(stand: Standpoint, id: UUID | None) -> Combinations:
    sought = Combination.objects.filter(retired_at=None).order_by("pk")
    if id is not None:
        sought = sought.filter(pk=id)
    counts, hidden, rows = {}, 0, []
    nodes, hides = stand.nodes("agent"), stand.hides("agent")
    for place, combination in enumerate(sought):
        legs = [_Leg(stand, leg) for leg in combination.legs]
        matching = np.logical_and.reduce([leg.agents for leg in legs]) & nodes.active
        counts[str(combination.pk)] = int(matching.sum())
        numbers = nodes.ids.sorted(matching if hides is None else matching & ~hides)
        hidden += counts[str(combination.pk)] - len(numbers)
        rows.append((place, combination, legs, numbers))
    return Combinations(
        as_of=stand.as_of,
        data_version=stand.state.version,
        counts=counts,
        hidden={"agents": hidden},
        matches=_rows(stand, rows, hidden),
    )


def _rows(
    stand: Standpoint, found: list[tuple[int, Combination, "list[_Leg]", Ints]], hidden: int
) -> Rows[CombinationMatch]:
    nodes = stand.nodes("agent")
    keys = np.concatenate([np.full(len(numbers), place) for place, _c, _l, numbers in found] or [np.empty(0, np.int64)])
    numbers = np.concatenate([each[3] for each in found] or [np.empty(0, np.int64)]).astype(np.int64)

    def make(place: int) -> CombinationMatch:
        _place, combination, legs, _numbers = found[int(keys[place])]
        agent = int(numbers[place])
        met = tuple(LegMet(leg.label, leg.met_by(agent)) for leg in legs)
        return CombinationMatch(combination.pk, nodes.ids.uuid(agent), met)

    return Rows(keys, nodes.ids.values[numbers], make, hidden)


class _Leg:
    """Which agents meet a leg, and by which path.

    A leg may ask for a deed (a kind of access, or a class of tool), for a place (a kind of system, or a tool that
    talks to an open world) and for data. Tools are those of the last grant of a path. When its tools alone satisfy a
    leg, the path need not go on to a system.
    """

    def __init__(self, stand: Standpoint, leg: Mapping[str, Any]) -> None:
        self.label: str = leg["label"]
        self._stand, self._leg = stand, leg
        view = stand.view
        self._calls, self._uses = view.all_calls, view.all_connections
        if "effects" not in view.kept:
            view.kept["effects"] = effects(view, self._calls)
        tools = view.kept["effects"]
        wanted = sum(1 << EFFECTS.index(name) for name in leg.get("tool_classes", ()))
        self._deed_by_tool = (tools & wanted) != 0
        self._place_by_tool = ((tools & _OPEN_WORLD) != 0) & bool(leg.get("open_world"))
        self._deed = self._deed_by_system()
        self._place = self._place_by_system()
        self._data = self._among("data_classes", stand.nodes("system").rank[self._uses.far], DATA_CLASSES)
        self._grant_meets = self._met_by_grant()
        self.agents = self._of_agents()

    def _among(self, field: str, values: Ints, words: Sequence[str]) -> Bools:
        wanted = self._leg.get(field) or ()
        return np.isin(values, [words.index(word) for word in wanted]) if wanted else np.ones(len(values), np.bool_)

    def _deed_by_system(self) -> Bools:
        """Per connection, without help of a tool."""
        marks = self._stand.view.snapshot.connections.column("mark", self._uses.number)
        if not self._leg.get("access") and self._leg.get("tool_classes"):
            return np.zeros(len(marks), dtype=np.bool_)
        return self._among("access", marks, ACCESS)

    def _place_by_system(self) -> Bools:
        kinds = self._stand.nodes("system").kind[self._uses.far]
        if not self._leg.get("system_kinds") and self._leg.get("open_world"):
            return np.zeros(len(kinds), dtype=np.bool_)
        return self._among("system_kinds", kinds, KINDS)

    def _needs(self, field: str, other: str) -> bool:
        return bool(self._leg.get(field) or self._leg.get(other))

    def _met_by_grant(self) -> Bools:
        """Per grant: it, alone or with a connection of its server, meets the leg."""
        size = len(self._stand.nodes("server"))
        found = np.zeros(len(self._calls.near), dtype=np.bool_)
        for deed in (False, True):
            for place in (False, True):
                some = (self._deed_by_tool == deed) & (self._place_by_tool == place)
                serving = mask(size, self._uses.near[self._fitting(deed, place)])
                found |= some & (serving[self._calls.near] | self._suffice(deed, place))
        return found

    def _suffice(self, deed: bool, place: bool) -> bool:
        """Whether the tools of a grant alone meet the leg, when they are such a deed and such a place."""
        needs_deed, needs_place = self._needs("tool_classes", "access"), self._needs("system_kinds", "open_world")
        return (deed or not needs_deed) and (place or not needs_place) and not self._leg.get("data_classes")

    def _fitting(self, deed: bool, place: bool) -> Bools:
        """Connections that meet what tools do not."""
        return (self._deed | deed) & (self._place | place) & self._data

    def _of_agents(self) -> Bools:
        agents = self._stand.nodes("agent")
        found = mask(len(agents), self._calls.far[self._grant_meets])
        # Further up: who may call a server that meets it, within the hops that a grant and a connection leave.
        servers = agents.link[found]
        leading = mask(len(self._stand.nodes("server")), servers[servers != NONE])
        leading &= self._stand.nodes("server").active
        chain = self._stand.view.chain
        for _hop in range(HOPS - 3):
            leading[chain.near[leading[chain.far]]] = True
        found[self._calls.far[leading[self._calls.near]]] = True
        return found

    # --- By which path -----------------------------------------------------------------------------------

    def met_by(self, agent: int) -> Path:
        """The shortest path of an agent that meets the leg."""
        view = self._stand.view
        place_of = self._place_of
        heads: list[tuple[int, tuple[int, ...]]] = [(agent, ())]
        seen: set[int] = set()
        for _hop in range(HOPS - 1):
            following = []
            for caller, grants in heads:
                links = view.out_of(np.array([caller]))
                for server, number in sorted(zip(links.far.tolist(), links.number.tolist(), strict=True)):
                    place = place_of[number]
                    if self._grant_meets[place]:
                        return path(self._stand, Trace((*grants, number), self._connection(place, server)))
                    own = int(view.snapshot.servers.link[server])
                    if own != NONE and server not in seen:
                        seen.add(server)
                        following.append((own, (*grants, number)))
            heads = following
        raise LookupError(f"agent {agent} does not meet {self.label}")

    @cached_property
    def _place_of(self) -> Ints:
        found = np.full(len(self._stand.view.snapshot.grants), NONE, dtype=np.int64)
        found[self._calls.number] = np.arange(len(self._calls.number))
        return found

    def _connection(self, place: int, server: int) -> int | None:
        """The worst connection of the server that fits the grant; None when its tools alone meet the leg."""
        by_tool = bool(self._deed_by_tool[place]), bool(self._place_by_tool[place])
        if self._suffice(*by_tool):
            return None
        fits = self._fitting(*by_tool)
        those = np.flatnonzero(fits & (self._uses.near == server))
        connections, systems = self._stand.view.snapshot.connections, self._stand.nodes("system")
        marks = connections.column("mark", self._uses.number[those])
        ranks, order = systems.rank[self._uses.far[those]], systems.ids.rank[self._uses.far[those]]
        return int(self._uses.number[those[np.lexsort((order, -marks, -ranks))[0]]])

"""Paths one by one: between two things, and for the rows of a page."""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any, Literal
from uuid import UUID

import numpy as np

from registry.core.errors import Invalid
from registry.trust.graph.snapshot import ACCESS, DATA_CLASSES, NONE, uuid
from registry.trust.graph.tracing import From, To, Trace
from registry.trust.graph.walk import HOPS
from registry.trust.queries.answers import Kind, Path, Paths, Ref, Step
from registry.trust.queries.standpoint import Standpoint

MAX_PATHS = 200
Pair = tuple[UUID, UUID]


def paths(stand: Standpoint, source: tuple[Kind, UUID], target: tuple[Kind, UUID], hops: int, limit: int) -> Paths:
    errors = {}
    if source[0] not in ("agent", "server"):
        errors["from"] = ["A path begins at an agent or a server."]
    if target[0] not in ("server", "system"):
        errors["to"] = ["A path ends at a server or a system."]
    if not 1 <= hops <= HOPS:
        errors["hops"] = [f"From 1 to {HOPS}."]
    if not 1 <= limit <= MAX_PATHS:
        errors["limit"] = [f"From 1 to {MAX_PATHS}."]
    if errors:
        raise Invalid(fields=errors)
    begin, end = stand.find(*source), stand.find(*target)
    if source[0] == "agent":
        search, server = From(stand.view, agent=begin, hops=hops), NONE
    else:
        search, server = From(stand.view, server=begin, hops=hops), begin
    found = search.to_system(end, hops) if target[0] == "system" else search.to_server(end, hops)
    traces = list(islice(found, limit + 1))
    naming = _Naming(stand, traces)
    listed = tuple(naming.path(trace, server) for trace in traces[:limit])
    hidden = sum(each.hidden for each in listed)
    return Paths(
        as_of=stand.as_of,
        data_version=stand.state.version,
        counts={"paths": len(listed)},
        hidden={"paths": hidden},
        source=source,
        target=target,
        paths=listed,
        complete=len(traces) <= limit,
    )


def routes(stand: Standpoint, pairs: Sequence[Pair], limit: int) -> Mapping[Pair, Sequence[Path]]:
    """Searched from whichever end has fewer things, for one search serves all pairs that share it."""
    agents = {id: stand.find("agent", id) for id in {agent for agent, _system in pairs}}
    systems = {id: stand.find("system", id) for id in {system for _agent, system in pairs}}

    if len(agents) <= len(systems):
        begins = {id: From(stand.view, agent=number) for id, number in agents.items()}
        last = stand.view.connecting(np.array(list(systems.values()), dtype=np.int64))
        lasts = {number: last.where(last.near == number) for number in systems.values()}
        found = {
            (agent, system): list(islice(begins[agent].to_system(systems[system], last=lasts[systems[system]]), limit))
            for agent, system in pairs
        }
    else:
        ends = {id: To(stand.view, number) for id, number in systems.items()}
        found = {
            (agent, system): list(islice(ends[system].from_agent(agents[agent]), limit)) for agent, system in pairs
        }
    naming = _Naming(stand, [trace for traces in found.values() for trace in traces])
    return {pair: [naming.path(trace) for trace in traces] for pair, traces in found.items()}


def path(stand: Standpoint, trace: Trace, *, start: int = NONE) -> Path:
    """A traced path with ids, as far as they may be named. `start`: the server it begins at, if it does."""
    return _Naming(stand, [trace]).path(trace, start)


class _Naming:
    """Turns numbers into ids. The paths of a page share most of their steps, so each step is made once, from columns
    that are read for all of them together.
    """

    def __init__(self, stand: Standpoint, traces: Sequence[Trace]) -> None:
        self._stand = stand
        grants = {number for trace in traces for number in trace.grants}
        connections = {trace.connection for trace in traces if trace.connection is not None}
        self._rows = {"grant": self._read("grant", grants), "connection": self._read("connection", connections)}
        self._steps: dict[tuple[str, int, bool], tuple[Step, bool]] = {}
        self._ends: dict[int, tuple[str, str]] = {}

    def _read(self, kind: str, numbers: Collection[int]) -> dict[int, tuple[int, int, int, int, Any]]:
        """Per relationship both its ends, until when it is certified, its mark and its id."""
        those = np.array(list(numbers), dtype=np.int64)
        edges = self._stand.view.snapshot.edges(kind)
        columns = [edges.column(name, those) for name in ("source", "target", "certified", "mark", "ids")]
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return dict(zip(those.tolist(), rows, strict=True))

    def path(self, trace: Trace, start: int = NONE) -> Path:
        certified = start == NONE or bool(self._stand.view.server_certified[start])
        steps = []
        for place, number in enumerate(trace.grants):
            # Beyond the first step the agent is the server before; so it is called that.
            step, sure = self._step("grant", number, place == 0 and start == NONE)
            steps.append(step)
            certified = certified and sure
        if trace.connection is None:
            return Path(tuple(steps), "", "", certified)
        step, sure = self._step("connection", trace.connection, False)
        access, data_class = self._ends[trace.connection]
        return Path((*steps, step), access, data_class, certified and sure)

    def _step(self, kind: Literal["grant", "connection"], number: int, by_agent: bool) -> tuple[Step, bool]:
        known = self._steps.get((kind, number, by_agent))
        if known is None:
            known = self._steps[kind, number, by_agent] = self._made(kind, number, by_agent)
        return known

    def _made(self, kind: Literal["grant", "connection"], number: int, by_agent: bool) -> tuple[Step, bool]:
        """The step, and whether it is certified with the server it leads to."""
        stand, snapshot = self._stand, self._stand.view.snapshot
        near, far, until, mark, id = self._rows[kind][number]
        certified = until > stand.view.at
        seen = True
        if kind == "connection":
            source, target = _ref(stand, "server", near), _ref(stand, "system", far)
            self._ends[number] = (ACCESS[mark], DATA_CLASSES[snapshot.systems.rank[far]])
        else:
            seen = not stand.is_hidden("agent", near)
            behind = int(snapshot.agents.link[near])
            source = _ref(stand, "agent", near) if by_agent else _ref(stand, "server", behind)
            target = _ref(stand, "server", far)
            certified = certified and bool(stand.view.server_certified[far])
        named = seen and source is not None and target is not None
        return Step(kind, uuid(id) if named else None, source, target), certified


def _ref(stand: Standpoint, kind: str, number: int) -> Ref | None:
    return None if stand.is_hidden(kind, number) else (kind, stand.nodes(kind).ids.uuid(number))

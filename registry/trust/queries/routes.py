"""Paths one by one: between two things, and for the rows of a page."""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple
from uuid import UUID

import numpy as np

from registry.core.errors import Invalid
from registry.trust.graph.snapshot import ACCESS, DATA_CLASSES, NONE, Ints, instant, uuid
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
    found = search.to_systems(np.array([end]))[end] if target[0] == "system" else search.to_server(end)
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
    agents = stand.find_all("agent", {agent for agent, _system in pairs})
    systems = stand.find_all("system", {system for _agent, system in pairs})
    far: Ints
    if len(agents) <= len(systems):
        far = np.array(list(systems.values()), dtype=np.int64)
        onwards = {id: From(stand.view, agent=number).to_systems(far) for id, number in agents.items()}
        searches = {(agent, system): onwards[agent][systems[system]] for agent, system in pairs}
    else:
        far = np.array(list(agents.values()), dtype=np.int64)
        back = {id: To(stand.view, number).from_agents(far) for id, number in systems.items()}
        searches = {(agent, system): back[system][agents[agent]] for agent, system in pairs}
    found = {pair: list(islice(search, limit)) for pair, search in searches.items()}
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
        self._made: dict[tuple[str, int, bool], _Made] = {}

    def _read(self, kind: str, numbers: Collection[int]) -> dict[int, tuple[int, int, int, int, int, Any]]:
        """Per relationship both its ends, until when it is valid and certified, its mark and its id."""
        those = np.array(list(numbers), dtype=np.int64)
        edges = self._stand.view.snapshot.edges(kind)
        columns = [edges.column(name, those) for name in ("source", "target", "until", "certified", "mark", "ids")]
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return dict(zip(those.tolist(), rows, strict=True))

    def path(self, trace: Trace, start: int = NONE) -> Path:
        # Beyond the first step the agent is the server before; so it is called that.
        made = [self._step("grant", number, place == 0 and start == NONE) for place, number in enumerate(trace.grants)]
        if trace.connection is not None:
            made.append(self._step("connection", trace.connection, False))
        return Path(
            steps=tuple(each.step for each in made),
            access=made[-1].access,
            data_class=made[-1].data_class,
            certified=all(each.certified for each in made)
            and (start == NONE or bool(self._stand.view.server_certified[start])),
            valid_until=instant(min(each.until for each in made)),
        )

    def _step(self, kind: Literal["grant", "connection"], number: int, by_agent: bool) -> "_Made":
        known = self._made.get((kind, number, by_agent))
        if known is None:
            make = self._connection(number) if kind == "connection" else self._grant(number, by_agent)
            known = self._made[kind, number, by_agent] = make
        return known

    def _connection(self, number: int) -> "_Made":
        stand = self._stand
        near, far, until, certified, mark, id = self._rows["connection"][number]
        source, target = _ref(stand, "server", near), _ref(stand, "system", far)
        step = Step("connection", uuid(id) if source and target else None, source, target)
        rank = stand.view.snapshot.systems.rank[far]
        return _Made(step, certified > stand.view.at, until, ACCESS[mark], DATA_CLASSES[rank])

    def _grant(self, number: int, by_agent: bool) -> "_Made":
        stand = self._stand
        near, far, until, certified, _mark, id = self._rows["grant"][number]
        agent, target = _ref(stand, "agent", near), _ref(stand, "server", far)
        source = agent if by_agent else _ref(stand, "server", int(stand.view.snapshot.agents.link[near]))
        step = Step("grant", uuid(id) if agent and source and target else None, source, target)
        return _Made(step, certified > stand.view.at and bool(stand.view.server_certified[far]), until)


class _Made(NamedTuple):
    """A step and what it brings to a path; `certified` includes the server that a grant leads to."""

    step: Step
    certified: bool
    until: int
    access: str = ""
    data_class: str = ""


def _ref(stand: Standpoint, kind: str, number: int) -> Ref | None:
    return None if stand.is_hidden(kind, number) else (kind, stand.nodes(kind).ids.uuid(number))

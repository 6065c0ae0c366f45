"""Answers from arrays equal the plain reference on thousands of random graphs."""

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

import pytest

from registry.core.errors import Malformed, NotFound
from registry.trust.queries import cuts, reaching, routes
from registry.trust.queries.answers import Path, Rows
from registry.trust.queries.standpoint import Standpoint
from tests.trust import worlds
from tests.trust.reference import DATA, HOPS, Reference
from tests.trust.worlds import NOW

BATCHES, GRAPHS = 8, 250
"""Two thousand graphs in all. Each answers every question, about some things of each kind."""
INSTANTS = (NOW, NOW, NOW, NOW - 6, NOW + 5)
"""Some are asked about what was in force earlier, or will be later."""


@dataclass(frozen=True)
class Asked:
    """A world, who asks (`hidden`: what they may not see), and what to say when an answer differs."""

    where: str
    made: worlds.World
    hidden: dict[str, set[UUID]] | None
    stand: Standpoint

    def some(self, kind: str, most: int) -> list[UUID]:
        """Things that may be seen, so many at most."""
        things = sorted(seen(self.hidden, kind, getattr(self.made.reference, f"{kind}s")))
        return self.made.random.sample(things, min(most, len(things)))


def asked(where: str, *, systems: int = 5) -> Asked:
    random = Random(where)  # noqa: S311
    made = worlds.world(random, systems, random.choice(INSTANTS))
    hidden = some_hidden(made)
    return Asked(where, made, hidden, worlds.standpoint(made, hidden))


@pytest.fixture(scope="module", params=range(BATCHES), ids="batch {}".format)
def batch(request: Any) -> list[Asked]:
    return [asked(f"batch {request.param}, world {number}") for number in range(GRAPHS)]


def some_hidden(made: worlds.World) -> dict[str, set[UUID]] | None:
    random, reference = made.random, made.reference
    if random.random() < 0.4:
        return None
    kinds = {"agent": reference.agents, "server": reference.servers, "system": reference.systems}
    return {kind: {id for id in things if random.random() < 0.25} for kind, things in kinds.items()}


def seen(hidden: dict[str, set[UUID]] | None, kind: str, ids: Any) -> set[UUID]:
    return set(ids) - (hidden[kind] if hidden else set())


def shown(rows: Rows[Any], *columns: str) -> dict[UUID, Any]:
    found = {row.id: tuple(getattr(row, column) for column in columns) for row in rows}
    assert len(found) == len(rows), "a row twice"
    return found


def only(expected: dict[UUID, Any], ids: set[UUID]) -> dict[UUID, Any]:
    return {id: value for id, value in expected.items() if id in ids}


def kinds_of(made: worlds.World) -> set[str]:
    """What a world has in it that an answer may get wrong."""
    reference, now = made.reference, made.reference.now
    found = {edge.status for edge in made.edges}
    found |= {f"at {'now' if now == NOW else 'an earlier instant' if now < NOW else 'a later instant'}"}
    for edge in made.edges:
        if edge.status == "active" and edge.until <= now:
            found.add("expired")
        if edge.status == "active" and edge.start is not None and edge.start > now:
            found.add("not yet begun")
    found |= {"retired" for things in (reference.agents, reference.servers, reference.systems)
              for thing in things.values() if not thing.active}  # fmt: skip
    calls = {server: {grant.target for grant in reference.grants_of[agent]}
             for server, agent in reference.agent_of.items() if reference.servers[server].active}  # fmt: skip
    for server in calls:
        ahead, frontier = set(), calls[server]
        while frontier - ahead:
            ahead |= frontier
            frontier = set().union(*(calls.get(each, set()) for each in frontier))
        if server in ahead:
            found.add("circle of servers")
        if any(len(path) > 3 for path in reference.paths(server=server)):
            found.add("long chain")
    return found


def test_the_graphs_hold_what_is_hard(batch: list[Asked]) -> None:
    held = Counter(kind for each in batch for kind in kinds_of(each.made))
    wanted = {
        "active", "suspended", "requested", "revoked", "expired", "not yet begun", "retired", "circle of servers",
        "long chain", "at now", "at an earlier instant", "at a later instant",
    }  # fmt: skip
    assert {kind for kind in wanted if held[kind] >= GRAPHS // 15} == wanted, held
    assert sum(each.hidden is not None for each in batch) > GRAPHS // 3


def test_reach_equals_the_reference(batch: list[Asked]) -> None:
    for each in batch:
        where, hidden, reference, stand = each.where, each.hidden, each.made.reference, each.stand
        for agent in sorted(hidden["agent"])[:1] if hidden else ():
            with pytest.raises(NotFound):
                reaching.reach(stand, agent)
        for agent in each.some("agent", 2):
            answer = reaching.reach(stand, agent)
            systems, servers = reference.reach(agents=[agent])
            named = seen(hidden, "system", systems)
            assert shown(answer.systems, "hops", "access", "certified") == only(systems, named), where
            assert all(row.direct == (row.hops == 2) for row in answer.systems), where
            called = seen(hidden, "server", servers)
            assert shown(answer.servers, "hops", "certified") == only(servers, called), where
            assert answer.counts == {"systems": len(systems), "servers": len(servers)}, where
            assert answer.hidden == {
                "systems": len(systems) - len(named), "servers": len(servers) - len(called),
            }, where  # fmt: skip
            classes = [reference.systems[id].data_class for id in systems]
            assert answer.data_classes == {name: classes.count(name) for name in DATA if name in classes}, where


def test_access_equals_the_reference(batch: list[Asked]) -> None:
    for each in batch:
        where, hidden, reference, stand = each.where, each.hidden, each.made.reference, each.stand
        for system in each.some("system", 2):
            answer = reaching.access(stand, system)
            agents = reference.access(system)
            named = seen(hidden, "agent", agents)
            assert shown(answer.agents, "hops", "access", "certified") == only(agents, named), where
            assert answer.counts["agents"] == len(agents), where
            assert answer.hidden["agents"] == len(agents) - len(named), where
            leading = {
                server for server in reference.servers
                if any(path[-1].target == system and len(path) < HOPS for path in reference.paths(server=server))
            }  # fmt: skip
            assert set(shown(answer.servers)) == seen(hidden, "server", leading), where
            assert answer.counts["servers"] == len(leading), where


def test_blast_radius_equals_the_reference(batch: list[Asked]) -> None:
    for each in batch:
        where, hidden, reference, stand = each.where, each.hidden, each.made.reference, each.stand
        for agent in each.some("agent", 1):
            answer = reaching.blast_radius(stand, "agent", agent)
            systems, servers = reference.reach(agents=[agent])
            assert (answer.counts["systems"], answer.counts["servers"]) == (len(systems), len(servers)), where
            assert answer.counts["agents"] == 0, where
            assert {row.id for row in answer.people} == owners(reference, hidden, [agent], servers, systems), where
        for server in each.some("server", 1):
            answer = reaching.blast_radius(stand, "server", server)
            systems, servers = reference.reach(servers=[server])
            servers.pop(server, None)
            callers = reference.callers([server])
            assert shown(answer.systems, "hops", "access", "certified") == only(
                systems, seen(hidden, "system", systems)
            ), where
            assert shown(answer.servers, "hops", "certified") == only(servers, seen(hidden, "server", servers)), where
            assert {id: hops for id, (hops,) in shown(answer.agents, "hops").items()} == only(
                callers, seen(hidden, "agent", callers)
            ), where
            assert {row.id for row in answer.systems if row.sole} == seen(hidden, "system", sole(reference, server)), (
                where
            )
            people = owners(reference, hidden, callers, {server, *servers}, systems)
            assert {row.id for row in answer.people} == people, where
            everybody = owners(reference, None, callers, {server, *servers}, systems)
            assert answer.counts["people"] == len(everybody), where
            assert answer.hidden["people"] == len(everybody - people), where
        for system in each.some("system", 1):
            answer = reaching.blast_radius(stand, "system", system)
            assert answer.counts["agents"] == len(reference.access(system)), where
            assert answer.counts["systems"] == 0, where


def owners(reference: Reference, hidden: Any, agents: Any, servers: Any, systems: Any) -> set[UUID]:
    things = [
        *(reference.agents[id] for id in seen(hidden, "agent", agents)),
        *(reference.servers[id] for id in seen(hidden, "server", servers)),
        *(reference.systems[id] for id in seen(hidden, "system", systems)),
    ]
    return {thing.owner for thing in things if thing.owner}


def sole(reference: Reference, server: UUID) -> set[UUID]:
    own = {c.target for c in reference.connections if c.source == server}
    return own - {c.target for c in reference.connections if c.source != server}


def test_impact_equals_the_reference(batch: list[Asked]) -> None:
    for each in batch:
        where, hidden, reference, stand = each.where, each.hidden, each.made.reference, each.stand
        random = each.made.random
        subjects = [(kind, id) for kind in ("agent", "server", "system") for id in each.some(kind, 1)]
        for kind, edges, ends in (
            ("grant", reference.all_grants, ("agent", "server")),
            ("connection", reference.all_connections, ("server", "system")),
        ):
            for edge in random.sample(edges, min(1, len(edges))):
                visible = not hidden or (edge.source not in hidden[ends[0]] and edge.target not in hidden[ends[1]])
                if visible and edge.status in ("active", "suspended", "requested"):
                    subjects.append((kind, edge.id))
                else:
                    with pytest.raises(NotFound):
                        cuts.impact(stand, kind, edge.id)  # type: ignore[arg-type]
        for kind, id in random.sample(subjects, min(2, len(subjects))):
            compare_impact(where, stand, reference, hidden, kind, id)


def compare_impact(where: str, stand: Any, reference: Reference, hidden: Any, kind: str, id: UUID) -> None:
    cut = reference.cut_of(kind, id)
    expected = reference.losses(cut)
    answer = cuts.impact(stand, kind, id)  # type: ignore[arg-type]
    where = f"{where}: {kind} {id}"
    servers_hidden = hidden["server"] if hidden else set()
    targets = {grant.id: grant.target for grant in reference.grants}
    wanted = {
        agent: (
            {grant for grant in own if targets[grant] not in servers_hidden},
            seen(hidden, "system", lost),
            seen(hidden, "system", kept),
            len(lost) - len(seen(hidden, "system", lost)),
            len(kept) - len(seen(hidden, "system", kept)),
        )
        for agent, (own, lost, kept) in expected.items()
        if agent in seen(hidden, "agent", expected)
    }
    got = {
        row.id: (set(row.grants), set(row.loses), set(row.keeps), row.hidden_loses, row.hidden_keeps)
        for row in answer.agents
    }
    assert got == wanted, where
    rows = list(answer.agents)
    losing = answer.counts["losing"] - answer.hidden["losing"]
    assert all(expected[row.id][0] or expected[row.id][1] for row in rows[:losing]), where
    assert not any(expected[row.id][0] or expected[row.id][1] for row in rows[losing:]), where
    lost_pairs = [(agent, system) for agent, (_o, lost, _k) in expected.items() for system in lost]
    kept_pairs = [(agent, system) for agent, (_o, _l, kept) in expected.items() for system in kept]
    unserved = reference.unserved(cut)
    systems = {s for _a, s in lost_pairs + kept_pairs} | {c.target for c in reference.connections if c.id in cut}
    assert answer.counts == {
        "grants": sum(g.id in cut for g in reference.grants),
        "connections": sum(c.id in cut for c in reference.connections),
        "agents": len(expected),
        "losing": sum(bool(own or lost) for own, lost, _k in expected.values()),
        "losing_tools": sum(bool(own) for own, _l, _k in expected.values()),
        "losing_systems": len({agent for agent, _s in lost_pairs}),
        "pairs_lost": len(lost_pairs),
        "pairs_kept": len(kept_pairs),
        "systems": len(systems),
        "unserved": len(unserved),
    }, where
    assert shown(answer.systems, "unserved", "lost_by", "kept_by") == {
        system: (
            system in unserved,
            sum(s == system for _a, s in lost_pairs),
            sum(s == system for _a, s in kept_pairs),
        )
        for system in seen(hidden, "system", systems)
    }, where


@pytest.mark.parametrize("number", range(25))
def test_impact_where_systems_fill_several_words(number: int) -> None:
    each = asked(f"wide {number}", systems=150)
    for kind in ("agent", "server"):
        for id in each.some(kind, 20):
            compare_impact(each.where, each.stand, each.made.reference, each.hidden, kind, id)


# --- Paths -----------------------------------------------------------------------------------------------


def ids_of(path: Path) -> list[UUID | None]:
    return [step.id for step in path.steps]


def test_paths_equal_the_reference(batch: list[Asked]) -> None:
    for each in batch:
        where, hidden, reference, stand = each.where, each.hidden, each.made.reference, each.stand
        begins = [("agent", id) for id in seen(hidden, "agent", reference.agents)]
        begins += [("server", id) for id in seen(hidden, "server", reference.servers)]
        source = each.made.random.choice(begins) if begins else None
        if source is None:
            continue
        all_paths = list(reference.paths(**{source[0]: source[1]}))
        ends = [("system", id) for id in seen(hidden, "system", reference.systems)]
        ends += [("server", id) for id in seen(hidden, "server", reference.servers)]
        for target in ends:
            expected = [path for path in all_paths if path[-1].target == target[1]]
            found = routes.paths(stand, source, target, HOPS, 200)  # type: ignore[arg-type]
            lengths = [path.hops for path in found.paths]
            assert lengths == sorted(lengths), where
            if len(expected) <= 200:
                assert found.complete, where
                assert sorted(map(repr, map(ids_of, found.paths))) == sorted(
                    repr(masked(each.made, hidden, path, source[0] == "agent")) for path in expected
                ), where
            else:
                assert (len(found.paths), found.complete) == (200, False), where
            certified = {tuple(e.id for e in path): reference.certified(path) for path in expected}
            start = source[0] == "agent" or reference._certified(reference.servers[source[1]])
            for path in found.paths:
                if not path.hidden:
                    assert path.certified == (start and certified[tuple(ids_of(path))]), where  # type: ignore[index]
            if expected:
                few = routes.paths(stand, source, target, HOPS, 1)  # type: ignore[arg-type]
                assert few.paths[0] == found.paths[0], where
                assert few.complete == (len(expected) == 1), where
                assert few.paths[0].hops == min(map(len, expected)), where


def masked(made: worlds.World, hidden: Any, path: Any, first_is_agent: bool) -> list[UUID | None]:
    """A path as it may be shown: a relationship is named when both of its ends may be."""
    agents = made.reference.agents
    if hidden is None:
        return [edge.id for edge in path]
    unseen = hidden["agent"] | hidden["server"] | hidden["system"]
    # Beyond its first step a path goes through the server that the agent is, which must not show through either.
    behind = [None if place == 0 and first_is_agent else agents[edge.source].server if edge.source in agents else None
              for place, edge in enumerate(path)]  # fmt: skip
    return [
        None if {edge.source, edge.target, server} & unseen else edge.id
        for edge, server in zip(path, behind, strict=True)
    ]


def test_routes_are_the_shortest_paths_of_each_pair(batch: list[Asked]) -> None:
    for each in batch:
        if each.hidden is not None:
            continue
        where, random, reference, stand = each.where, each.made.random, each.made.reference, each.stand
        agents, systems = list(reference.agents), list(reference.systems)
        begin = random.choice(agents)
        one_agent = [(begin, system) for system in systems]
        one_system = [(agent, random.choice(systems)) for agent in agents]
        for pairs in (one_agent, one_system, one_agent[:1]):
            found = routes.routes(stand, pairs, 500)
            assert set(found) == set(pairs), where
            for agent, system in pairs:
                expected = [p for p in reference.paths(agent=agent) if p[-1].target == system]
                ways = found[agent, system]
                assert [way.hops for way in ways] == sorted(map(len, expected))[:500], where
                if len(expected) < 500:
                    listed = {tuple(ids_of(way)) for way in ways}
                    assert listed == {tuple(e.id for e in path) for path in expected}, where


# --- Pages -----------------------------------------------------------------------------------------------


def test_pages_walk_over_every_row_once_in_a_stable_order(batch: list[Asked]) -> None:
    for each in batch[:40]:
        where = each.where
        for agent in each.some("agent", 2):
            rows = reaching.reach(each.stand, agent).systems
            walked, cursor = [], None
            while True:
                page = rows.page(cursor, 2)
                walked += page.rows
                cursor = page.next
                if cursor is None:
                    break
            assert walked == list(rows), where
            keys = [(-DATA.index(row.data_class), -["read", "write", "admin"].index(row.access), row.id.bytes)
                    for row in rows]  # fmt: skip
            assert keys == sorted(keys), where


def test_a_cursor_that_is_none_of_ours_is_refused() -> None:
    made = worlds.world(Random(1))  # noqa: S311
    rows = reaching.reach(worlds.standpoint(made, None), next(iter(made.reference.agents))).systems
    for cursor in ("x", "1_x", "_", "1"):
        with pytest.raises(Malformed):
            rows.page(cursor)

"""Questions about the estate as a whole, and the part of it that is drawn: against plain loops over the same rows."""

from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest

from registry.catalog.models import Agent, SecretSource, Server, System, Tool
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Invalid, NotAllowed
from registry.trust import services
from registry.trust.models import Combination, Grant, Observation
from registry.trust.queries import ask, crossing, hygiene
from registry.trust.queries.neighbourhood import Facets, Neighbourhood, neighbourhood
from registry.trust.seeds import LETHAL_TRIFECTA
from tests import factories as make
from tests.trust import worlds
from tests.trust.reference import HOPS, Reference
from tests.trust.test_graph import seen, some_hidden

ANYONE = Actor.system("tests")


seeds = pytest.mark.parametrize("seed", range(4))


def each_world(seed: int) -> Any:
    """Sixty per seed: what concerns the whole estate is asked about everything in it."""
    for number in range(60):
        yield f"seed {seed}, world {number}", worlds.world(Random(f"{seed} {number}"))  # noqa: S311


# --- Crossings -------------------------------------------------------------------------------------------


@seeds
def test_crossings_equal_the_reference(seed: int) -> None:
    for where, made in each_world(seed):
        hidden, reference = some_hidden(made), made.reference
        stand = worlds.standpoint(made, hidden)
        found = crossing.crossings(stand)
        triples = [
            (agent, path[0].target, path[-1].target)
            for agent in reference.agents
            for path in reference.paths(agent=agent, detours=True)
            if path[-1].access
        ]
        expected = {triple for triple in triples if len(set(environments(reference, triple))) > 1}
        worst = {t for t in expected if environments(reference, t)[::2] == ("x", "production")}
        assert found.counts["environment"] == len(expected), where
        assert found.counts["worst"] == sum(
            environments(reference, t)[0] != "production" and environments(reference, t)[2] == "production"
            for t in expected
        ), (where, worst)
        named = {
            t for t in expected
            if not hidden or not (t[0] in hidden["agent"] or t[1] in hidden["server"] or t[2] in hidden["system"])
        }  # fmt: skip
        walked, cursor = [], None
        while True:
            page = found.environment.page(cursor, 3)
            walked += page.rows
            cursor = page.next
            if cursor is None:
                break
        assert [(row.agent, row.server, row.system) for row in walked] == [
            (row.agent, row.server, row.system) for row in found.environment
        ], where
        assert {(row.agent, row.server, row.system) for row in walked} == named, where
        assert len(walked) == len(named) == len(found.environment), where
        assert found.hidden["environment"] == len(expected) - len(named), where
        for row in walked:
            assert row.environments == environments(reference, (row.agent, row.server, row.system)), where
        harmful = [row.environments[0] != "production" and row.environments[2] == "production" for row in walked]
        assert harmful == sorted(harmful, reverse=True), where
        tenants = {
            server: {reference.agents[g.source].issuer for g in reference.grants if g.target == server}
            for server in reference.servers
        }
        crossed = {server: issuers for server, issuers in tenants.items() if len(issuers - {None}) > 1}
        assert found.counts["tenant"] == len(crossed), where
        assert {row.server: set(row.issuers) for row in found.tenant} == {
            server: issuers for server, issuers in crossed.items() if server in seen(hidden, "server", crossed)
        }, where


def environments(reference: Reference, triple: Any) -> tuple[str, ...]:
    agent, server, system = triple
    things = (reference.agents[agent], reference.servers[server], reference.systems[system])
    return tuple(thing.environment for thing in things)


def test_a_cursor_of_a_crossing_that_is_gone_goes_on_behind_it() -> None:
    for number in range(300):
        made = worlds.world(Random(f"gone {number}"))  # noqa: S311
        rows = crossing.crossings(worlds.standpoint(made, None)).environment
        everything = [(row.agent, row.server, row.system) for row in rows]
        if len(everything) < 4:
            continue
        cursor = rows.page(None, 2).next
        gone = everything[1]
        without = [
            edge for edge in made.reference.all_grants if (edge.source, edge.target) != gone[:2]
        ]  # fmt: skip
        fewer = replace(made, reference=worlds.replace_edges(made.reference, without, made.reference.all_connections))
        left = crossing.crossings(worlds.standpoint(fewer, None)).environment
        following = [(row.agent, row.server, row.system) for row in left.page(cursor, 1000).rows]
        # Who called that server through the agent that lost it reaches less, too.
        still = {(row.agent, row.server, row.system) for row in left}
        assert gone not in still
        assert following == [triple for triple in everything[2:] if triple in still], number


# --- Ownership -------------------------------------------------------------------------------------------


@seeds
def test_diffuse_ownership_equals_the_reference(seed: int) -> None:
    for where, made in each_world(seed):
        hidden, reference = some_hidden(made), made.reference
        found = hygiene.diffuse(worlds.standpoint(made, hidden), 1)
        teams = {
            server: {reference.agents[g.source].team for g in reference.grants if g.target == server} - {None}
            for server in reference.servers
        }
        wide = {server: len(those) for server, those in teams.items() if len(those) > 1}
        assert found.counts["servers"] == len(wide), where
        assert {row.id: row.teams for row in found.rows} == {
            server: number for server, number in wide.items() if server in seen(hidden, "server", wide)
        }, where


@pytest.mark.django_db
def test_orphans_are_relationships_without_an_owner_at_an_end() -> None:
    kept, unowned, left = make.grant(), make.grant(), make.connection()
    Agent.objects.filter(pk=unowned.agent_id).update(owner=None)
    left.system.owner.is_active = False
    left.system.owner.save()
    found = ask(ANYONE).orphans()
    assert found.counts == {"grants": 1, "connections": 1}
    rows = {row.id: row for row in found.rows}
    assert rows[unowned.pk].ends == (("agent", unowned.agent_id),)
    assert (rows[left.pk].kind, rows[left.pk].ends) == ("connection", (("system", left.system_id),))
    assert kept.pk not in rows
    Agent.objects.filter(pk=unowned.agent_id).update(confidential=True)
    hidden = ask(make.acting(make.person())).orphans()
    assert (hidden.counts["grants"], hidden.hidden["grants"], len(hidden.rows)) == (1, 1, 1)


@pytest.mark.django_db
def test_shared_secrets_are_counted_by_server() -> None:
    first, second, alone = (make.active_server() for _ in range(3))
    SecretSource.objects.filter(server__in=[first, second]).update(kind="vault", reference="kv/data/both")
    (row,) = ask(ANYONE).shared_secrets().secrets
    assert (set(row.servers), row.systems, row.data_class) == ({first.pk, second.pk}, 0, "")
    Server.objects.filter(pk=second.pk).update(confidential=True)
    found = ask(make.acting(make.person())).shared_secrets()
    (row,) = found.secrets
    assert (row.servers, row.hidden_servers, found.counts) == ((first.pk,), 1, {"secrets": 1, "servers": 2})
    SecretSource.objects.filter(server=second).update(retired_at=clock.now())
    assert ask(ANYONE).shared_secrets().counts["secrets"] == 0
    assert alone.pk


# --- Use -------------------------------------------------------------------------------------------------


def use(grant: Grant, *, days_ago: int, calls: int = 5, system: System | None = None) -> None:
    at = clock.now() - timedelta(days=days_ago)
    services.record_observations(
        actor=ANYONE,
        rows=[
            services.Observed(
                agent_id=grant.agent_id, server_id=grant.server_id, system_id=system.pk if system else None,
                period=at.date(), first_used=at, last_used=at, calls=calls, errors=1,
            )
        ],
    )  # fmt: skip


@pytest.mark.django_db
class TestObserved:
    @pytest.fixture
    def grants(self) -> list[Grant]:
        made = [make.grant() for _ in range(3)]
        Grant.objects.update(activated_at=clock.now() - timedelta(days=300))
        return made

    def test_use_is_unknown_while_nothing_is_observed(self, grants: list[Grant]) -> None:
        found = ask(ANYONE).unused(30)
        assert (found.known, found.counts, len(found.rows)) == (False, {"grants": 0, "connections": 0}, 0)

    def test_unused_is_what_nobody_used_in_time(self, grants: list[Grant]) -> None:
        used, long_ago, never = grants
        use(used, days_ago=1)
        use(long_ago, days_ago=200)
        found = ask(ANYONE).unused(90)
        assert found.known
        assert found.counts == {"grants": 2, "connections": 0}
        rows = {row.id: row.last_used for row in found.rows}
        assert set(rows) == {long_ago.pk, never.pk}
        assert rows[never.pk] is None
        assert rows[long_ago.pk] is not None
        young = make.grant()
        assert young.pk not in {row.id for row in ask(ANYONE).unused(90).rows}
        with pytest.raises(Invalid):
            ask(ANYONE).unused(0)

    def test_observations_that_do_not_reach_back_far_enough_say_nothing(self, grants: list[Grant]) -> None:
        use(grants[0], days_ago=10)
        assert not ask(ANYONE).unused(90).known

    def test_a_period_reported_again_replaces_its_figures(self, grants: list[Grant]) -> None:
        version = ask(ANYONE).data_version
        use(grants[0], days_ago=1, calls=5)
        use(grants[0], days_ago=1, calls=9)
        assert list(Observation.objects.values_list("calls", flat=True)) == [9]
        assert ask(ANYONE).data_version != version

    def test_only_the_registry_records_them_and_only_of_what_there_is(self, grants: list[Grant]) -> None:
        with pytest.raises(NotAllowed):
            services.record_observations(actor=make.acting(make.person("security")), rows=[])
        now = clock.now()
        row = services.Observed(
            agent_id=grants[0].server_id, server_id=grants[0].server_id, period=now.date(), first_used=now,
            last_used=now - timedelta(days=1), calls=1, errors=2,
        )  # fmt: skip
        with pytest.raises(Invalid) as refused:
            services.record_observations(actor=ANYONE, rows=[row])
        assert set(refused.value.fields) == {"0.agent", "0.calls", "0.last_used"}

    def test_what_nobody_granted_is_a_sighting_and_never_reach(self, grants: list[Grant]) -> None:
        stray = make.agent()
        at = clock.now()
        seen_there = services.Observed(
            agent_id=stray.pk, server_id=grants[0].server_id, period=at.date(), first_used=at, last_used=at, calls=2
        )
        services.record_observations(actor=ANYONE, rows=[seen_there])
        use(grants[0], days_ago=1)
        questions = ask(ANYONE)
        assert questions.reach(stray.pk).counts["servers"] == 0
        assert questions.stats().counts["sightings"] == 1
        server = ("server", grants[0].server_id)

        def edges(basis: Any) -> set[tuple[str, str]]:
            return {(e.status, e.basis) for e in questions.neighbourhood([server], basis=basis).edges}

        assert edges("granted") == {("active", "both")}
        assert edges("observed") == {("active", "both"), ("sighting", "observed")}
        (dotted,) = [e for e in questions.neighbourhood([server], basis="both").edges if e.status == "sighting"]
        assert (dotted.source, dotted.id, dotted.calls) == (f"agent:{stray.pk}", None, 2)


# --- Toxic combinations ----------------------------------------------------------------------------------


@pytest.mark.django_db
class TestCombinations:
    def trifecta(self) -> Combination:
        return Combination.objects.get(name=LETHAL_TRIFECTA["name"])

    def reaching(self, agent: Agent, access: str = "read", tools: Any = None, **system: Any) -> Server:
        server = make.active_server()
        make.connection(server=server, system=make.system(**system), access=access)
        make.grant(agent=agent, server=server, tools=tools or ["query"])
        return server

    def matches(self, **who: Any) -> dict[UUID, Any]:
        found = ask(who.get("actor", ANYONE)).combinations(self.trifecta().pk)
        return {row.agent: row for row in found.matches}

    def test_the_lethal_trifecta_needs_all_three_legs(self) -> None:
        agent = make.agent()
        self.reaching(agent, kind="ticketing")
        assert self.matches() == {}
        self.reaching(agent, data_class="restricted")
        assert self.matches() == {}
        self.reaching(agent, access="write", kind="messaging")
        (row,) = self.matches().values()
        assert row.agent == agent.pk
        assert [leg.label for leg in row.legs] == [leg["label"] for leg in LETHAL_TRIFECTA["legs"]]
        kinds = [System.objects.get(pk=leg.path.steps[-1].target[1]).kind for leg in row.legs]
        assert kinds[0] in ("ticketing", "messaging")
        assert row.legs[1].path.data_class == "restricted"
        assert row.legs[2].path.access == "write"

    def test_a_writing_tool_counts_as_writing_and_an_open_world_as_a_place(self) -> None:
        agent = make.agent()
        self.reaching(agent, data_class="confidential")
        sender = self.reaching(agent, kind="saas", tools=["export"])  # confirmed to write
        assert self.matches() == {}
        open_world = self.reaching(agent, kind="database")
        Tool.objects.filter(server=open_world, name="query").update(definition={"annotations": {"openWorldHint": True}})
        (row,) = self.matches().values()
        assert row.legs[0].path.steps[-1].target == ("server", open_world.pk), "a tool suffices, no system needed"
        assert row.legs[2].path.steps[0].target == ("server", sender.pk)
        Tool.objects.filter(server=open_world, name="query").update(retired_at=clock.now())
        assert self.matches() == {}

    def test_legs_are_met_through_chains(self) -> None:
        middle = make.active_server()
        behind = make.agent(kind="server", server=middle)
        self.reaching(behind, kind="web")
        self.reaching(behind, data_class="restricted")
        self.reaching(behind, access="admin", kind="saas")
        caller = make.grant(server=middle).agent
        found = self.matches()
        assert set(found) == {behind.pk, caller.pk}
        assert {leg.path.hops for leg in found[caller.pk].legs} == {3}
        assert {leg.path.steps[0].source for leg in found[caller.pk].legs} == {("agent", caller.pk)}

    def test_what_one_may_not_see_is_counted(self) -> None:
        agent = make.agent()
        for facts in ({"kind": "web"}, {"data_class": "restricted"}, {"kind": "saas", "access": "write"}):
            self.reaching(agent, **facts)
        Agent.objects.filter(pk=agent.pk).update(confidential=True)
        found = ask(make.acting(make.person())).combinations()
        assert (len(found.matches), found.hidden, set(found.counts.values())) == (0, {"agents": 1}, {1})

    def test_retired_ones_are_not_looked_for(self) -> None:
        Combination.objects.update(retired_at=clock.now())
        assert ask(ANYONE).combinations().counts == {}


# --- Numbers, and what became of them --------------------------------------------------------------------


@pytest.mark.django_db
def test_difference_tells_what_appeared_vanished_and_changed() -> None:
    begin = clock.now() - timedelta(days=30)
    with clock.at(begin):
        stays, ends, rests, by_end = (make.grant() for _ in range(4))
        widened = make.connection()
    between = begin + timedelta(days=1)
    with clock.at(between + timedelta(days=1)):
        services.revoke_relationship(actor=ANYONE, relationship=ends, reason="Over.")
        services.suspend_relationship(actor=ANYONE, relationship=rests, reason="Odd.")
        Server.objects.filter(pk=by_end.server_id).update(lifecycle="suspended", updated_at=clock.now())
        type(widened).objects.filter(pk=widened.pk).update(access="admin", updated_at=clock.now())
        new = make.grant()
    found = ask(ANYONE).difference(between)
    rows = {row.id: (row.before, row.after, row.terms) for row in found.rows}
    assert rows == {
        ends.pk: ("in force", "", False),
        rests.pk: ("in force", "suspended", False),
        by_end.pk: ("in force", "active", False),
        widened.pk: ("in force", "in force", True),
        new.pk: ("", "in force", False),
    }
    assert stays.pk not in rows
    assert found.counts == {
        "appeared": 1, "vanished": 1, "changed": 3, "came_into_force": 1, "lost_force": 3, "in_force_before": 5,
        "in_force_after": 3,
    }  # fmt: skip
    with pytest.raises(Invalid):
        ask(ANYONE).difference(clock.now() + timedelta(days=1))
    Agent.objects.filter(pk=ends.agent_id).update(confidential=True)
    hidden = ask(make.acting(make.person())).difference(between)
    assert ends.pk not in {row.id for row in hidden.rows}
    assert (hidden.hidden["rows"], hidden.counts["vanished"]) == (1, 1)


@pytest.mark.django_db
def test_stats_count_what_there_is() -> None:
    grant = make.grant(all_tools=True)
    make.connection(server=grant.server, access="admin")
    services.suspend_relationship(actor=ANYONE, relationship=make.grant(), reason="Odd.")
    make.requested_grant()
    stats = ask(ANYONE).stats()
    assert {name: stats.counts[name] for name in ("grants", "grants_suspended", "grants_requested", "connections")} == {
        "grants": 1, "grants_suspended": 1, "grants_requested": 1, "connections": 1,
    }  # fmt: skip
    assert stats.counts["wildcard_grants"] == 1
    assert stats.by["access"]["admin"] == 1


# --- What is drawn ---------------------------------------------------------------------------------------


def drawn(made: worlds.World, hidden: Any, seeds: Any, **options: Any) -> Neighbourhood:
    defaults: dict[str, Any] = {
        "to": None, "facets": Facets(), "basis": "granted", "expanded": (), "collapsed": (), "group": "none",
        "opened": (), "most": 1000, "members": 30,
    }  # fmt: skip
    return neighbourhood(worlds.standpoint(made, hidden), seeds, **(defaults | options))


@pytest.fixture
def unobserved(monkeypatch: pytest.MonkeyPatch) -> None:
    """In-memory worlds have neither observations nor secrets in a database."""
    monkeypatch.setattr("registry.trust.queries.neighbourhood.observed_pairs", lambda *_given: None)


@seeds
def test_a_picture_shows_what_is_reached_and_what_reaches(seed: int, unobserved: None) -> None:
    for where, made in each_world(seed):
        hidden, reference = some_hidden(made), made.reference
        for agent in seen(hidden, "agent", reference.agents):
            systems, servers = reference.reach(agents=[agent])
            picture = drawn(made, hidden, [("agent", agent)])
            own = reference.agents[agent].server
            merged = own is not None and own in seen(hidden, "server", [own])
            assert picture.total["system"] == len(systems), where
            assert picture.total["server"] == len({*servers, *([own] if merged else [])}), where
            shown = {node.id for node in picture.nodes if node.kind == "system" and node.id}
            assert shown == seen(hidden, "system", systems), where
            assert all(edge.status == "active" for edge in picture.edges), where
        for system in seen(hidden, "system", reference.systems):
            picture = drawn(made, hidden, [("system", system)])
            agents = reference.access(system)
            apart = [a for a in agents if reference.agents[a].server not in seen(hidden, "server", reference.servers)]
            assert picture.total["agent"] == len(apart), where
            named = {node.id for node in picture.nodes if node.kind == "agent" and node.id}
            assert named == seen(hidden, "agent", apart), where


@seeds
def test_no_picture_names_what_one_may_not_see(seed: int, unobserved: None) -> None:
    for where, made in each_world(seed):
        hidden = some_hidden(made) or {"agent": set(), "server": set(), "system": set()}
        unseen = set().union(*hidden.values())
        reference = made.reference
        ends = {edge.id: (edge.source, edge.target) for edge in made.edges}
        for group in ("none", "auto", "team", "kind"):
            picture = drawn(made, hidden, [], group=group, most=made.random.choice([1, 5, 100]))
            assert not {node.id for node in picture.nodes} & unseen, where
            assert not {node.agent for node in picture.nodes} & unseen, where
            for edge in picture.edges:
                assert edge.id is None or not set(ends[edge.id]) & unseen, where
            keys = [node.key for node in picture.nodes]
            assert len(keys) == len(set(keys)), where
            assert {edge.source for edge in picture.edges} | {edge.target for edge in picture.edges} <= set(keys), where
            counted = {kind: sum(n.members for n in picture.nodes if n.kind == kind) for kind in picture.total}
            assert counted == picture.total, where
            in_force = len(reference.grants) + len(reference.connections)
            assert sum(edge.members for edge in picture.edges) == in_force, where


@seeds
def test_between_two_things_only_what_leads_there(seed: int, unobserved: None) -> None:
    for where, made in each_world(seed):
        reference = made.reference
        agent, system = made.random.choice(list(reference.agents)), made.random.choice(list(reference.systems))
        picture = drawn(made, None, [("agent", agent)], to=("system", system))
        on_paths = {e.id for path in reference.paths(agent=agent) if path[-1].target == system for e in path}
        shown = {edge.id for edge in picture.edges}
        assert on_paths <= shown, where
        on_walks = walks(reference, agent, system)
        assert shown == on_walks, where


def walks(reference: Reference, agent: UUID, system: UUID) -> set[UUID]:
    """Relationships on a walk of at most six hops between the two."""
    ahead = [{agent}]
    for _hop in range(HOPS - 1):
        called = {g.target for caller in ahead[-1] for g in reference.grants_of[caller]}
        ahead.append({reference.agent_of[s] for s in called if s in reference.agent_of})
    behind = [{c.source for c in reference.connections if c.target == system}]
    for _hop in range(HOPS - 2):
        own = [reference.agent_of[s] for s in reference.servers if s in reference.agent_of]
        calling = {reference.agents[a].server for a in own for g in reference.grants_of[a] if g.target in behind[-1]}
        behind.append(behind[-1] | {server for server in calling if server})
    found: set[UUID] = set()
    for hop, callers in enumerate(ahead[: HOPS - 1]):
        near = behind[HOPS - 2 - hop]
        for grant in (g for caller in callers for g in reference.grants_of[caller]):
            if grant.target in near:
                found.add(grant.id)
            if grant.target in behind[0]:
                found |= {c.id for c in reference.connections_of[grant.target] if c.target == system}
    return found


@seeds
def test_facets_leave_what_they_name(seed: int, unobserved: None) -> None:
    for where, made in each_world(seed):
        reference = made.reference
        picture = drawn(made, None, [], facets=Facets(data_classes=frozenset({"restricted"})))
        systems = {node.id for node in picture.nodes if node.kind == "system"}
        assert systems == {
            c.target for c in reference.connections if reference.systems[c.target].data_class == "restricted"
        }, where
        sources = {edge.source for edge in picture.edges}
        assert all(n.key in sources for n in picture.nodes if n.kind != "system"), where
        certified = drawn(made, None, [], facets=Facets(certified=True))
        assert {edge.id for edge in certified.edges} == {
            e.id for e in (*reference.grants, *reference.connections) if reference._certified(e)
        }, where
        environment = drawn(made, None, [], facets=Facets(environments=frozenset({"test"})))
        for node in environment.nodes:
            assert node.kind != "server" or node.environment == "test", where
        resting = drawn(made, None, [], facets=Facets(statuses=frozenset({"suspended"})))
        assert {edge.id for edge in resting.edges} == {e.id for e in made.edges if e.status == "suspended"}, where
        # The counts beside the facets are those before they restrict.
        assert picture.facets["status"].get("active", 0) == len(reference.grants) + len(reference.connections), where


@pytest.mark.django_db
class TestPicture:
    def test_neighbours_that_are_not_shown_are_counted(self) -> None:
        grant = make.grant()
        others = [make.grant(server=grant.server) for _ in range(2)]
        make.connection(server=grant.server)
        picture = ask(ANYONE).neighbourhood([("agent", grant.agent_id)])
        (server,) = [node for node in picture.nodes if node.kind == "server"]
        assert (server.more_agents, server.more_systems, server.seed) == (2, 0, False)
        assert {(s.kind, s.shared) for s in server.secrets} == {("vault", 1)}
        more = ask(ANYONE).neighbourhood([("agent", grant.agent_id)], expanded=[("server", grant.server_id)])
        assert {node.id for node in more.nodes} >= {other.agent_id for other in others}
        closed = ask(ANYONE).neighbourhood([("agent", grant.agent_id)], collapsed=[("server", grant.server_id)])
        assert [node.kind for node in closed.nodes] == ["agent", "server"]
        assert closed.nodes[1].more_systems == 1

    def test_a_server_that_is_an_agent_is_one_node(self) -> None:
        first, second = make.active_server(), make.active_server()
        agent = make.agent(kind="server", server=first)
        make.grant(agent=agent, server=second)
        picture = ask(ANYONE).neighbourhood([("agent", agent.pk)])
        assert {node.key for node in picture.nodes} == {f"server:{first.pk}", f"server:{second.pk}"}
        (edge,) = picture.edges
        assert (edge.source, edge.target) == (f"server:{first.pk}", f"server:{second.pk}")
        assert picture.nodes[0].agent == agent.pk

    def test_groups_open_and_close(self) -> None:
        team = make.team()
        server = make.active_server()
        grants = [make.grant(server=server, agent=make.agent(team=team)) for _ in range(5)]
        key = f"group:agent:team:{team.pk}"

        def agents(**options: Any) -> dict[str, int]:
            picture = ask(ANYONE).neighbourhood([("server", server.pk)], group="team", **options)
            return {node.key: node.members for node in picture.nodes if node.kind == "agent"}

        assert agents() == {key: 5}
        opened = agents(opened=[key], members=3)
        assert opened[f"{key}:rest"] == 2
        assert len(opened) == 4
        (edge,) = ask(ANYONE).neighbourhood([("server", server.pk)], group="team").edges
        assert (edge.members, edge.id, edge.status) == (5, None, "active")
        assert {grant.status for grant in grants} == {"active"}

    def test_hot_edges_write_to_what_is_sensitive(self) -> None:
        grant = make.grant()
        make.connection(server=grant.server, access="write", system=make.system(data_class="restricted"))
        make.connection(server=grant.server, access="read", system=make.system(data_class="restricted"))
        picture = ask(ANYONE).neighbourhood([("server", grant.server_id)])
        assert sorted(edge.hot_members for edge in picture.edges if edge.kind == "connection") == [0, 1]

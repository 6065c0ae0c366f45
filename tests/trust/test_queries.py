"""Trust answers case by case; that they are exact on random graphs is shown in test_graph and test_graph_store."""

from datetime import timedelta
from itertools import product
from random import Random
from typing import Any

import pytest
from django.db import connection as database
from django.db import transaction
from django.test.utils import CaptureQueriesContext

from registry.catalog.models import Agent, Purpose, Server, System
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Invalid, NotAllowed, NotFound, NotSignedIn
from registry.trust import queries, services
from registry.trust.models import Connection, Grant
from tests import factories as make
from tests.trust import worlds
from tests.trust.test_graph import some_hidden

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("number", range(20))
def test_the_list_is_every_visible_relationship_once(number: int) -> None:
    made = worlds.storable(worlds.world(Random(f"list {number}")))  # noqa: S311
    hidden = some_hidden(made)
    with clock.at(worlds.START - timedelta(days=2)):
        actor = make.acting(make.person("member" if hidden is not None else "security"))
    worlds.stored(made, hidden, written=worlds.START - timedelta(days=2))
    unseen = set().union(*(hidden or {}).values())
    world = made.reference
    resting = {
        id for things in (world.agents, world.servers, world.systems) for id, it in things.items() if not it.active
    }
    expected = {
        edge.id: edge.status == "active"
        and edge.until > worlds.NOW
        and (edge.certified_until or 0) > worlds.NOW
        and resting.isdisjoint((edge.source, edge.target))
        for edge in made.edges
        if edge.source not in unseen and edge.target not in unseen
    }
    sides: dict[str, Any] = {
        "grants": Grant.objects.visible_to(actor),
        "connections": Connection.objects.visible_to(actor),
        "now": worlds.START,
        "limit": number % 4 + 1,
    }
    walked: list[dict[str, Any]] = []
    page = queries.relationship_page(**sides)
    assert page.previous is None
    while True:
        walked += page.rows
        if page.next is None:
            break
        page = queries.relationship_page(**sides, before=page.next)
    assert [row["id"] for row in walked] == sorted(expected, reverse=True)
    assert {row["id"]: row["certified"] for row in walked} == expected
    back = list(page.rows)
    while page.previous is not None:
        page = queries.relationship_page(**sides, after=page.previous)
        back = page.rows + back
    assert [row["id"] for row in back] == [row["id"] for row in walked]


# --- Case by case ----------------------------------------------------------------------------------------


def chained(length: int) -> tuple[Agent, list[Server], System]:
    """An agent, so many servers of which each calls the next, and a system behind the last."""
    servers = [make.active_server() for _ in range(length)]
    first = make.agent()
    caller = first
    for place, server in enumerate(servers):
        make.grant(agent=caller, server=server)
        if place < length - 1:
            caller = make.agent(kind="server", server=server)
    return first, servers, make.connection(server=servers[-1], access="write").system


def test_reach_says_access_and_certification() -> None:
    grant = make.grant(tools=["query"], behalf_detail="12 planners")
    ledger = make.system(name="Ledger", data_class="restricted")
    connection = make.connection(server=grant.server, system=ledger, access="write", scopes=["rows"])
    actor = make.acting(make.person())

    def row(**when: Any) -> Any:
        (found,) = queries.ask(actor, **when).reach(grant.agent_id).systems
        return found

    assert (row().id, row().access, row().data_class, row().certified) == (ledger.pk, "write", "restricted", False)
    assert (row().direct, row().hops) == (True, 2)
    sign_off, until = Actor.system("sign-off"), clock.now() + timedelta(days=30)
    for thing in (grant, connection):
        services.set_certified_until(actor=sign_off, relationship=thing, until=until)
    assert row().certified is False
    Server.objects.filter(pk=grant.server_id).update(certified_until=until)
    assert row().certified is True
    assert row(as_of=until).certified is False


def test_a_chain_ends_after_six_relationships() -> None:
    agent, servers, system = chained(5)
    actor = make.acting(make.person())
    reach = queries.ask(actor).reach(agent.pk)
    assert [(row.id, row.hops, row.direct) for row in reach.systems] == [(system.pk, 6, False)]
    assert {row.id: row.hops for row in reach.servers} == {s.pk: hop for hop, s in enumerate(servers, 1)}
    (path,) = queries.ask(actor).paths(from_=("agent", agent.pk), to=("system", system.pk)).paths
    assert path.hops == 6
    assert [step.target for step in path.steps[:-1]] == [("server", server.pk) for server in servers]
    too_far, _servers, beyond = chained(6)
    assert queries.ask(actor).reach(too_far.pk).counts["systems"] == 0
    assert queries.ask(actor).access(beyond.pk).counts["agents"] == 5  # the servers on the way, as agents


def test_what_lies_beyond_six_relationships_lends_no_access_and_no_certification() -> None:
    agent, servers, system = chained(6)
    make.connection(server=servers[0], system=system, access="read")
    until = clock.now() + timedelta(days=30)
    Server.objects.update(certified_until=until)
    Grant.objects.update(certified_until=until)
    Connection.objects.exclude(server=servers[0]).update(certified_until=until)
    questions = queries.ask(make.acting(make.person()))
    (reached,) = questions.reach(agent.pk).systems
    (reaching,) = [row for row in questions.access(system.pk).agents if row.id == agent.pk]
    for row in (reached, reaching):
        assert (row.access, row.certified, row.hops) == ("read", False, 2)
    # From the second server on, the better way is near enough.
    second = Agent.objects.get(server=servers[0])
    (row,) = [row for row in questions.access(system.pk).agents if row.id == second.pk]
    assert (row.access, row.certified, row.hops) == ("write", True, 6)


def test_a_cycle_of_servers_is_walked_once() -> None:
    agent, servers, system = chained(3)
    make.grant(agent=make.agent(kind="server", server=servers[2]), server=servers[0])
    actor = make.acting(make.person())
    assert queries.ask(actor).reach(agent.pk).counts == {"servers": 3, "systems": 1}
    paths = queries.ask(actor).paths(from_=("agent", agent.pk), to=("system", system.pk))
    assert (len(paths.paths), paths.complete) == (1, True)
    blast = queries.ask(actor).blast_radius("server", servers[1].pk)
    assert {row.id for row in blast.servers} == {servers[0].pk, servers[2].pk}


def test_a_path_through_something_invisible_is_counted_and_not_named() -> None:
    agent, servers, system = chained(2)
    Server.objects.filter(pk=servers[1].pk).update(confidential=True)
    questions = queries.ask(make.acting(make.person()))
    reach = questions.reach(agent.pk)
    assert (reach.counts["servers"], reach.hidden["servers"], len(reach.servers)) == (2, 1, 1)
    assert [row.id for row in reach.systems] == [system.pk]
    (path,) = questions.paths(from_=("agent", agent.pk), to=("system", system.pk)).paths
    assert path.hidden
    assert [step.target for step in path.steps] == [("server", servers[0].pk), None, ("system", system.pk)]
    assert [step.id is None for step in path.steps] == [False, True, True]
    with pytest.raises(NotFound):
        questions.blast_radius("server", servers[1].pk)
    with pytest.raises(NotFound):
        questions.impact("grant", Grant.objects.get(server=servers[1]).pk)


def test_blast_radius_of_a_server() -> None:
    grant = make.grant()
    only = make.connection(server=grant.server, system=make.system(name="A", data_class="restricted"))
    shared = make.connection(server=grant.server, system=make.system(name="B"))
    make.connection(system=shared.system)
    secret = make.system(name="C", confidential=True, data_class="confidential")
    make.connection(server=grant.server, system=secret, requested_by=secret.owner)
    blast = queries.ask(make.acting(make.person())).blast_radius("server", grant.server_id)
    assert [(row.id, row.sole) for row in blast.systems] == [(only.system_id, True), (shared.system_id, False)]
    assert [row.id for row in blast.agents] == [grant.agent_id]
    assert blast.counts == {"agents": 1, "servers": 0, "systems": 3, "people": 6}
    assert blast.hidden == {"agents": 0, "servers": 0, "systems": 1, "people": 1}
    assert dict(blast.data_classes) == {"restricted": 1, "confidential": 1, "internal": 1}
    people = {row.id: row for row in blast.people}
    assert (people[grant.server.owner_id].servers, people[grant.server.deputy_id].deputy_of) == (1, 1)
    assert people[grant.agent.owner_id].agents == 1
    assert people[only.system.owner_id].systems == 1
    assert secret.owner_id not in people
    assert dict(blast.behalf) == {"users": 1, "service": 0, "nobody": 0}


def test_blast_radius_of_a_secret_opens_just_what_it_is_for() -> None:
    first, second, stranger = (make.connection() for _ in range(3))
    for connection in (first, second):
        source = connection.secret_source
        source.kind, source.reference = "vault", "kv/data/shared"
        source.save()
    make.grant(server=first.server)
    questions = queries.ask(make.acting(make.person()))
    blast = questions.blast_radius("secret_source", first.secret_source_id)
    assert {row.id for row in blast.systems} == {first.system_id, second.system_id}
    assert {row.id for row in blast.servers} == {first.server_id, second.server_id}
    assert stranger.system_id not in {row.id for row in blast.systems}
    impact = questions.impact("secret_source", second.secret_source_id)
    assert impact.counts["connections"] == 2
    assert {row.id: row.unserved for row in impact.systems} == {first.system_id: True, second.system_id: True}
    (row,) = questions.shared_secrets().secrets
    assert (set(row.servers), row.systems, row.reference) == ({first.server_id, second.server_id}, 2, "kv/data/shared")


def test_blast_radius_and_impact_of_those_who_own() -> None:
    """An issuer, a team and a person stand for all that is theirs."""
    issuer, team, owner = make.issuer(), make.team(), make.person()
    agent = make.agent(issuer=issuer, client_id="planner", team=team, owner=owner)
    grant = make.grant(agent=agent)
    system = make.connection(server=grant.server).system
    caller = make.grant(server=make.active_server(in_team=team, owner=owner))
    questions = queries.ask(make.acting(make.person()))
    for kind, id in (("issuer", issuer.pk), ("team", team.pk), ("person", owner.pk)):
        blast = questions.blast_radius(kind, id)  # type: ignore[arg-type]
        agents = {row.id: row.hops for row in blast.agents}
        assert agents[agent.pk] == 0
        assert [row.id for row in blast.systems] == [system.pk]
        assert (caller.agent_id in agents) == (kind != "issuer")
        losses = {row.id: row for row in questions.impact(kind, id).agents}  # type: ignore[arg-type]
        assert losses[agent.pk].loses == (system.pk,)
        assert (caller.agent_id in losses) == (kind != "issuer")
    with pytest.raises(NotFound):
        questions.blast_radius("team", issuer.pk)


def test_impact_tells_what_is_lost_from_what_is_kept() -> None:
    grant = make.grant()
    lost = make.connection(server=grant.server)
    kept = make.connection(server=grant.server)
    other = make.grant(agent=grant.agent)
    make.connection(server=other.server, system=kept.system)
    questions = queries.ask(make.acting(make.person()))
    (row,) = questions.impact("server", grant.server_id).agents
    assert (row.grants, row.loses, row.keeps, row.sole) == (
        (grant.pk,), (lost.system_id,), (kept.system_id,), True,
    )  # fmt: skip
    (row,) = questions.impact("connection", kept.pk).agents
    assert (row.grants, row.loses, row.keeps, row.sole) == ((), (), (kept.system_id,), False)
    impact = questions.impact("grant", other.pk)
    assert impact.counts["losing"] == 1  # its tools
    assert impact.counts["losing_systems"] == 0


def test_what_is_not_in_force_reaches_nothing() -> None:
    grant = make.grant()
    system = make.connection(server=grant.server).system
    make.requested_connection(server=grant.server)
    questions = queries.ask(make.acting(make.person()))
    assert questions.reach(grant.agent_id).counts["systems"] == 1
    for change in (
        lambda: Agent.objects.filter(pk=grant.agent_id).update(standing="retired"),
        lambda: System.objects.filter(pk=system.pk).update(standing="retired"),
        lambda: Server.objects.filter(pk=grant.server_id).update(lifecycle="suspended"),
        lambda: Grant.objects.filter(pk=grant.pk).update(status="suspended"),
    ):
        with transaction.atomic():
            change()
            assert queries.ask(make.acting(make.person())).reach(grant.agent_id).counts["systems"] == 0
            transaction.set_rollback(True)
    assert queries.ask(make.acting(make.person())).reach(grant.agent_id).counts["systems"] == 1


def test_paths_refuse_what_they_cannot_be_about() -> None:
    grant = make.grant()
    questions = queries.ask(make.acting(make.person()))
    with pytest.raises(Invalid) as refused:
        questions.paths(from_=("system", grant.pk), to=("agent", grant.pk), hops=7, limit=0)
    assert set(refused.value.fields) == {"from", "to", "hops", "limit"}


def test_a_question_needs_a_role_and_a_visible_subject() -> None:
    agent = make.agent()
    with pytest.raises(NotAllowed):
        queries.ask(make.acting(make.outsider()))
    with pytest.raises(NotSignedIn):
        queries.ask(Actor.anonymous())
    member = make.acting(make.person())
    assert queries.find(member, Agent, str(agent.pk), field="agent") == agent.pk
    assert queries.find(member, Agent, agent.spiffe_id, field="agent") == agent.pk
    assert queries.find(member, Agent, agent.name, field="agent") == agent.pk
    for text in ("nobody", str(make.agent(confidential=True).pk)):
        with pytest.raises(NotFound):
            queries.find(member, Agent, text, field="agent")
    for environment in ("test", "production"):
        make.system(name="Twice", environment=environment)
    with pytest.raises(Invalid):
        queries.find(member, System, "Twice", field="system")


@pytest.mark.parametrize("size", [1, 6])
def test_answers_cost_the_same_for_one_path_and_many(size: int) -> None:
    hub = make.grant()
    system = make.system()
    make.connection(server=hub.server, system=system)
    for _ in range(size):
        make.connection(server=hub.server)
        make.grant(server=hub.server)
    questions = queries.ask(make.acting(make.person()))
    for question in (
        lambda: questions.reach(hub.agent_id).systems.page(),
        lambda: questions.access(system.pk).agents.page(),
        lambda: questions.blast_radius("server", hub.server_id).agents.page(),
        lambda: questions.impact("server", hub.server_id).agents.page(),
        lambda: questions.paths(from_=("agent", hub.agent_id), to=("system", system.pk)),
    ):
        with CaptureQueriesContext(database) as captured:
            question()
        assert len(captured) == 0, "arrays are asked, not the database"
    refs = [("agent", hub.agent_id), ("server", hub.server_id), ("system", system.pk), ("grant", hub.pk)]
    with CaptureQueriesContext(database) as captured:
        queries.named(make.acting(make.person("security")), refs)
    assert len([each for each in captured if each["sql"].lstrip().startswith("SELECT")]) <= len(refs)


def test_facts_of_the_tier_come_in_one_statement(django_assert_num_queries: Any) -> None:
    servers = [make.active_server(), make.draft(), make.complete_draft(secret={"kind": "none", "reason": "Public."})]
    make.grant(server=servers[0])
    make.connection(server=servers[0], access="admin", system=make.system(data_class="restricted"))
    make.requested_grant(server=servers[0])
    make.requested_connection(server=servers[2], system=make.system(data_class="confidential"))
    with django_assert_num_queries(1):
        facts = {server.pk: known for server, known in queries.tier_facts(server_ids=[s.pk for s in servers])}
    active, bare, asking = (facts[server.pk] for server in servers)
    assert (active.agents, active.systems, active.exposure) == (1, 1, "remote")
    assert active.data_classes == {"internal", "restricted"}
    assert active.tool_classes == {"read", "write"}
    assert active.access_levels == {"admin"}
    assert active.credential_types == {"rotated"}
    assert (bare.data_classes, bare.tool_classes, bare.credential_types) == (frozenset(), frozenset(), frozenset())
    # Before it is active, what it asks for counts; and "no credential" is a fact, not a gap.
    assert (asking.systems, asking.credential_types) == (1, {"none"})
    assert "confidential" in asking.data_classes


def test_validity_ends_with_the_purpose() -> None:
    server = make.active_server()
    purpose = Purpose.objects.get(server=server)
    limit = queries.latest_valid_until(server=server, now=clock.now())
    assert limit.last_day == purpose.ends_on
    assert limit.instant.date() == purpose.ends_on + timedelta(days=1)


def test_all_pairs_of_a_grid_reach_each_other() -> None:
    server = make.active_server()
    agents = [make.grant(server=server).agent for _ in range(2)]
    systems = [make.connection(server=server).system for _ in range(2)]
    questions = queries.ask(make.acting(make.person()))
    reached = {(agent.pk, row.id) for agent in agents for row in questions.reach(agent.pk).systems}
    assert reached == {(agent.pk, system.pk) for agent, system in product(agents, systems)}

"""Trust answers: checked against the plain reference on random worlds, then case by case."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from django.db import connection as database
from django.db import transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.accounts.models import User
from registry.catalog.models import Agent, Purpose, SecretSource, Server, System, Tool
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Invalid, NotAllowed, NotFound, NotSignedIn
from registry.trust import queries, services
from registry.trust.models import Connection, Grant
from tests import factories as make
from tests.trust.reference import Reference

pytestmark = pytest.mark.django_db

# --- Random worlds ---------------------------------------------------------------------------------------

STATUSES = ["active", "active", "active", "requested", "suspended", "revoked", "expired", "reduced"]
validity = st.sampled_from(["open", "open", "open", "over", "not yet"])
relationship = st.fixed_dictionaries(
    {"status": st.sampled_from(STATUSES), "validity": validity, "certified": st.booleans()}
)
standing = st.sampled_from(["active", "active", "retired"])
hidden = st.sampled_from(["public", "public", "hidden", "own"])
world = st.fixed_dictionaries(
    {
        "agents": st.lists(st.tuples(standing, hidden), min_size=1, max_size=3),
        "servers": st.lists(
            st.tuples(st.sampled_from(["active", "active", "suspended", "retired", "draft"]), hidden, st.booleans()),
            min_size=1,
            max_size=3,
        ),
        "systems": st.lists(
            st.tuples(st.sampled_from(["active", "active", "retired"]), hidden), min_size=1, max_size=3
        ),
        "grants": st.dictionaries(
            st.tuples(st.integers(0, 2), st.integers(0, 2)), st.tuples(relationship, st.booleans()), max_size=7
        ),
        "connections": st.dictionaries(
            st.tuples(st.integers(0, 2), st.integers(0, 2)),
            st.tuples(relationship, st.sampled_from(["read", "write", "admin"])),
            max_size=7,
        ),
        "overseer": st.booleans(),
    }
)


@dataclass
class World:
    viewer: User
    now: datetime
    agents: list[Agent] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    systems: list[System] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)

    def sees(self, thing: Any) -> bool:
        return "security" in self.viewer.roles or not thing.confidential or thing.owner_id == self.viewer.pk


@contextmanager
def built(plan: dict[str, Any]) -> Iterator[World]:
    """The world in the database, and gone afterwards: governed rows cannot be deleted, only rolled back."""
    with transaction.atomic():
        now = clock.now()
        viewer = make.person("security" if plan["overseer"] else "member")
        owner, deputy = make.person(), make.person()
        made = World(viewer, now)

        def governed(seen: str) -> dict[str, Any]:
            return {"confidential": seen != "public", "owner": viewer if seen == "own" else owner}

        for number, (standing, seen) in enumerate(plan["agents"]):
            made.agents.append(
                Agent.objects.create(
                    name=f"agent {number}", spiffe_id=f"spiffe://w.test/a/{number}", standing=standing, **governed(seen)
                )
            )
        for number, (lifecycle, seen, certified) in enumerate(plan["servers"]):
            server = Server.objects.create(
                name=f"w.test/server-{number}", lifecycle=lifecycle, deputy=deputy, owner_accepted_at=now,
                certified_until=now + timedelta(days=9) if certified else None, **governed(seen),
            )  # fmt: skip
            Tool.objects.create(server=server, name="listed", digest="0" * 64)
            Tool.objects.create(server=server, name="gone", digest="0" * 64, retired_at=now)
            SecretSource.objects.create(server=server, kind="none", reason="None needed.")
            made.servers.append(server)
        for number, (standing, seen) in enumerate(plan["systems"]):
            made.systems.append(
                System.objects.create(
                    name=f"system {number}", kind="database", data_class="internal", standing=standing, **governed(seen)
                )
            )

        def terms(facts: dict[str, Any]) -> dict[str, Any]:
            begins, ends = {"open": (-9, 9), "over": (-9, -1), "not yet": (1, 9)}[facts["validity"]]
            return {
                "status": facts["status"],
                "reason": "Needed.",
                "activated_at": now + timedelta(days=begins),
                "valid_until": now + timedelta(days=ends),
                "certified_until": now + timedelta(days=5) if facts["certified"] else None,
            }

        for (a, s), (facts, all_tools) in plan["grants"].items():
            if a < len(made.agents) and s < len(made.servers):
                made.grants.append(
                    Grant.objects.create(
                        agent=made.agents[a], server=made.servers[s], all_tools=all_tools,
                        tools=[] if all_tools else ["named"], **terms(facts),
                    )
                )  # fmt: skip
        for (s, y), (facts, access) in plan["connections"].items():
            if s < len(made.servers) and y < len(made.systems):
                made.connections.append(
                    Connection.objects.create(
                        server=made.servers[s], system=made.systems[y], access=access,
                        secret_source=made.servers[s].secret_sources.get(), **terms(facts),
                    )
                )  # fmt: skip
        yield made
        transaction.set_rollback(True)


def steps(through: list[dict[str, Any]]) -> list[Any]:
    shown = []
    for step in through:
        if step["server"] is None:
            assert set(step) == {"server", "access", "words"}
            shown.append((None, step["access"]))
        else:
            shown.append(
                (step["server"]["id"], step["access"], tuple(step["tools"]), step["all_tools"], step["certified"])
            )
    return sorted(shown, key=repr)


def named(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        str(row["id"]): {
            "access": row["access"], "certified": row["certified"], "through": steps(row["through"]),
        }
        for row in rows
    }  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=world)
def test_every_answer_equals_the_reference(plan: dict[str, Any]) -> None:
    with built(plan) as made:
        actor = make.acting(made.viewer)
        reference = Reference(made.grants, made.connections, made.now, made.sees)
        for agent in made.agents:
            answer = queries.reach(actor, agent, now=made.now)
            systems, hidden_systems, servers, hidden_servers = reference.reach(agent)
            assert named(answer["systems"]) == systems
            assert {str(row["id"]) for row in answer["servers"]} == servers
            assert answer["hidden"] == {"systems": hidden_systems, "servers": hidden_servers}
            assert (
                queries.agent_blast_radius(actor, agent, now=made.now)["counts"]["systems"]
                == len(systems) + hidden_systems
            )
        for system in made.systems:
            answer = queries.access(actor, system, now=made.now)
            agents, hidden_agents = reference.access(system)
            assert named(answer["agents"]) == agents
            assert answer["hidden"]["agents"] == hidden_agents
        for cut, things in (("server", made.servers), ("grant", made.grants), ("connection", made.connections)):
            for thing in things:
                rows, hidden_count = queries.losses(actor, cut=cut, id=thing.pk, now=made.now)  # type: ignore[arg-type]
                shown = {
                    str(row["id"]): (
                        {each["id"] for each in row["loses"]},
                        {each["id"] for each in row["keeps"]},
                        row["hidden_losses"],
                    )
                    for row in rows
                }
                assert (shown, hidden_count) == reference.losses(cut, thing)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=world, limit=st.integers(1, 4))
def test_the_list_is_every_visible_relationship_once(plan: dict[str, Any], limit: int) -> None:
    with built(plan) as made:
        actor = make.acting(made.viewer)
        expected = {
            thing.pk: thing.status == "active" and thing.certified_until is not None and thing.valid_until > made.now
            for thing in (*made.grants, *made.connections)
            if made.sees(thing.server) and made.sees(thing.agent if thing.kind == "grant" else thing.system)
        }
        sides = {
            "grants": Grant.objects.visible_to(actor),
            "connections": Connection.objects.visible_to(actor),
            "now": made.now,
            "limit": limit,
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


def test_reach_names_servers_tools_access_and_certification() -> None:
    grant = make.grant(tools=["query"], behalf_detail="12 planners")
    ledger = make.system(name="Ledger", data_class="restricted")
    connection = make.connection(server=grant.server, system=ledger, access="write", scopes=["rows"])
    actor = make.acting(make.person())
    answer = queries.reach(actor, grant.agent)
    (system,) = answer["systems"]
    assert (system["name"], system["access"], system["data_class"], system["certified"]) == (
        "Ledger", "write", "restricted", False,
    )  # fmt: skip
    (step,) = system["through"]
    assert step["server"]["name"] == grant.server.name
    assert (step["tools"], step["scopes"], step["behalf_detail"]) == (["query"], ["rows"], "12 planners")
    sign_off, until = Actor.system("sign-off"), clock.now() + timedelta(days=30)
    for thing in (grant, connection):
        services.set_certified_until(actor=sign_off, relationship=thing, until=until)
    assert queries.reach(actor, grant.agent)["systems"][0]["certified"] is False
    Server.objects.filter(pk=grant.server_id).update(certified_until=until)
    assert queries.reach(actor, grant.agent)["systems"][0]["certified"] is True
    assert queries.reach(actor, grant.agent, now=until)["systems"][0]["certified"] is False


def test_a_wildcard_reaches_what_the_server_lists_now() -> None:
    grant = make.grant(all_tools=True)
    connection = make.connection(server=grant.server)
    (agent,) = queries.access(make.acting(make.person()), connection.system)["agents"]
    assert agent["through"][0]["tools"] == ["export", "query"]
    assert agent["through"][0]["all_tools"] is True


def test_blast_radius_of_a_server() -> None:
    grant = make.grant()
    only = make.connection(server=grant.server, system=make.system(name="A", data_class="restricted"))
    shared = make.connection(server=grant.server, system=make.system(name="B"))
    make.connection(system=shared.system)
    secret = make.system(name="C", confidential=True, data_class="confidential")
    make.connection(server=grant.server, system=secret, requested_by=secret.owner)
    answer = queries.blast_radius(make.acting(make.person()), grant.server)
    assert [(row["name"], row["sole_path"]) for row in answer["systems"]] == [("A", True), ("B", False)]
    (agent,) = answer["agents"]
    assert {row["name"] for row in agent["loses"]} == {"A", "B"}
    assert agent["hidden_losses"] == 1
    assert answer["counts"] == {"agents": 1, "systems": 3, "people": 5}
    assert answer["data_classes"] == [
        {"data_class": "restricted", "systems": 1},
        {"data_class": "confidential", "systems": 1},
        {"data_class": "internal", "systems": 1},
    ]
    people = {row["name"]: row["because"] for row in answer["people"]}
    assert people[grant.server.owner.name] == ["owns the server"]
    assert people[grant.agent.owner.name] == [f"owns the agent {grant.agent.name}"]
    assert only.system.owner.name in people
    assert secret.owner.name not in people


def test_a_question_needs_a_role_and_a_visible_subject() -> None:
    agent = make.agent()
    with pytest.raises(NotAllowed):
        queries.reach(make.acting(make.outsider()), agent)
    with pytest.raises(NotSignedIn):
        queries.reach(Actor.anonymous(), agent)
    member = make.acting(make.person())
    assert queries.find(member, Agent, str(agent.pk), field="agent") == agent
    assert queries.find(member, Agent, agent.spiffe_id, field="agent") == agent
    assert queries.find(member, Agent, agent.name, field="agent") == agent
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
    actor = make.acting(make.person())
    counted = {}
    for name, ask in (
        ("reach", lambda: queries.reach(actor, hub.agent)),
        ("access", lambda: queries.access(actor, system)),
        ("blast_radius", lambda: queries.blast_radius(actor, hub.server)),
        ("agent_blast_radius", lambda: queries.agent_blast_radius(actor, hub.agent)),
    ):
        with CaptureQueriesContext(database) as captured:
            ask()
        counted[name] = len(captured)
    assert counted == {"reach": 3, "access": 3, "blast_radius": 5, "agent_blast_radius": 5}


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
    actor = make.acting(make.person())
    reached = {(agent.pk, row["id"]) for agent in agents for row in queries.reach(actor, agent)["systems"]}
    assert reached == {(agent.pk, system.pk) for agent, system in product(agents, systems)}

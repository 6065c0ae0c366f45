"""Questions about the graph over REST: their shapes, who is told what, pages, tags, the past, many at once."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from registry.accounts.models import Membership
from registry.catalog import services as catalog
from registry.catalog.models import Change
from registry.core import clock
from registry.trust import services
from registry.trust.api import combinations, schemas
from registry.trust.api.questions import QUESTIONS
from registry.trust.api.relationships import RelationshipListSerializer
from registry.trust.models import Combination
from tests import factories as make

pytestmark = pytest.mark.django_db
BASE = "/api/v1/trust"
HIDDEN = "through a server you may not see"


def problem(response: Any, status: int, code: str, *fields: str) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["type"].endswith(f"#{code}")
    assert {error["pointer"] for error in body.get("errors", [])} == {f"/{field}" for field in fields}
    assert all(error["detail"] for error in body.get("errors", []))
    return body


def names_of(serializer: type[Any]) -> tuple[set[str], set[str]]:
    """What an answer must hold, and what it may."""
    fields = serializer().fields
    return {name for name, field in fields.items() if field.required}, set(fields)


def holds(serializer: type[Any], body: dict[str, Any]) -> None:
    must, may = names_of(serializer)
    assert must <= set(body) <= may, set(body) ^ may
    checked = serializer(data=body)
    assert checked.is_valid(), checked.errors
    # A number or truth value of another kind would have been written as text, which a serializer takes as well.
    texts = [leaf for leaf in leaves(body) if isinstance(leaf, str)]
    assert not [text for text in texts if text in ("True", "False") or text.isdigit()]


def leaves(value: Any) -> Iterator[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if inner is None:
        yield value
    else:
        for each in inner:
            yield from leaves(each)


class Estate:
    """An agent that reaches a ledger directly, and an archive through a server that is an agent itself."""

    def __init__(self) -> None:
        self.server = make.active_server(title="Stock")
        self.grant = make.grant(server=self.server, tools=["query"])
        self.agent = self.grant.agent
        self.ledger = make.system(name="Ledger", data_class="restricted")
        self.connection = make.connection(server=self.server, system=self.ledger, access="write", scopes=["rows"])
        self.further = make.active_server(title="Archive")
        self.caller = make.agent(kind="server", server=self.server, name="Stock as a caller")
        self.onward = make.grant(agent=self.caller, server=self.further)
        self.archive = make.system(name="Archive", data_class="internal")
        self.last = make.connection(server=self.further, system=self.archive)
        self.unknown: Any = None
        self.stranger: Any = None

    def questions(self) -> dict[str, type[Any]]:
        """Every question with an example of everything it may be about, and the shape of its answer."""
        source = make.source_of(self.server).pk
        about = {
            "server": self.server.pk, "agent": self.agent.pk, "system": self.ledger.pk, "secret_source": source,
            "person": self.server.owner_id, "team": self.server.team_id, "issuer": make.issuer().pk,
        }  # fmt: skip
        cuts = about | {"grant": self.grant.pk, "connection": self.connection.pk}
        since = (clock.now() - timedelta(minutes=1)).isoformat().replace("+", "%2B")
        return {
            f"reach?agent={self.agent.pk}": schemas.ReachSerializer,
            f"reach?agent={self.agent.spiffe_id}&ways=0": schemas.ReachSerializer,
            f"access?system={self.ledger.pk}": schemas.AccessSerializer,
            "access?system=Ledger&limit=1": schemas.AccessSerializer,
            **{f"blast-radius?{kind}={id}": schemas.BlastRadiusSerializer for kind, id in about.items()},
            **{f"impact?{kind}={id}": schemas.ImpactSerializer for kind, id in cuts.items()},
            f"paths?from=agent:{self.agent.pk}&to=system:{self.archive.pk}": schemas.PathsSerializer,
            f"paths?from=agent:{self.agent.name}&to=server:{self.further.name}&limit=1": schemas.PathsSerializer,
            "shared-secrets": schemas.SharedSecretsSerializer,
            "crossings": schemas.CrossingsSerializer,
            "combinations": combinations.CombinationsSerializer,
            "hygiene/orphans": schemas.OrphansSerializer,
            "hygiene/unused?days=30": schemas.UnusedRelationshipsSerializer,
            "hygiene/diffuse?teams=1": schemas.DiffuseSerializer,
            "sightings": schemas.SightingsSerializer,
            "stats": schemas.StatsSerializer,
            f"difference?since={since}": schemas.DifferenceSerializer,
        }


@pytest.fixture
def estate(db: Any) -> Iterator[Estate]:
    return Estate()


# --- Shapes and content ----------------------------------------------------------------------------------


def test_answers_look_as_the_schema_says(api: Any, estate: Estate) -> None:
    client = api(make.person())
    for url, serializer in estate.questions().items():
        response = client.get(f"{BASE}/{url}")
        assert response.status_code == 200, (url, response.content)
        holds(serializer, response.json())
        assert response["ETag"].startswith('W/"')
        assert response["Cache-Control"] == "private, no-cache"
        assert {"Authorization", "Cookie"} <= {name.strip() for name in response["Vary"].split(",")}


def test_reach_says_how(api: Any, estate: Estate) -> None:
    body = api(make.person()).get(f"{BASE}/reach?agent={estate.agent.pk}").json()
    assert body["agent"]["name"] == estate.agent.name
    assert body["counts"] == {"systems": 2, "servers": 2}
    assert body["hidden"] == {"systems": 0, "servers": 0}
    assert body["data_classes"] == [
        {"data_class": "restricted", "systems": 1},
        {"data_class": "internal", "systems": 1},
    ]
    ledger, archive = body["systems"]
    assert (ledger["name"], ledger["access"], ledger["direct"], ledger["hops"]) == ("Ledger", "write", True, 2)
    (way,) = ledger["through"]
    assert way["server"]["title"] == "Stock"
    assert (way["tools"], way["all_tools"], way["access"], way["scopes"]) == (["query"], False, "write", ["rows"])
    assert (way["grant"], way["connection"]) == (str(estate.grant.pk), str(estate.connection.pk))
    assert (way["on_behalf_of"], way["via"], way["grants"]) == ("users", [], [])
    assert (archive["name"], archive["direct"], archive["hops"]) == ("Archive", False, 3)
    (way,) = archive["through"]
    assert (way["server"]["title"], [server["title"] for server in way["via"]]) == ("Stock", ["Archive"])
    assert way["grants"] == [str(estate.onward.pk)]
    assert body["next"] == {"systems": None, "servers": None}


def test_access_says_who(api: Any, estate: Estate) -> None:
    body = api(make.person()).get(f"{BASE}/access?system={estate.archive.pk}").json()
    assert body["counts"]["agents"] == 2
    near, far = sorted(body["agents"], key=lambda row: row["hops"])
    assert (near["name"], near["direct"]) == ("Stock as a caller", True)
    assert (far["name"], far["direct"], far["owner"]) == (estate.agent.name, False, estate.agent.owner.name)


def test_impact_says_what_breaks(api: Any, estate: Estate) -> None:
    client = api(make.person())
    other = make.active_server()
    make.grant(agent=estate.agent, server=other)
    make.connection(server=other, system=estate.archive)
    body = client.get(f"{BASE}/impact?server={estate.server.pk}").json()
    loser = next(row for row in body["agents"] if row["id"] == str(estate.agent.pk))
    assert [system["name"] for system in loser["loses"]] == ["Ledger"]
    assert [system["name"] for system in loser["keeps"]] == ["Archive"]
    assert (loser["losses"], loser["kept"], loser["sole_path"]) == (1, 1, True)
    unnamed = client.get(f"{BASE}/impact?server={estate.server.pk}&named=0").json()["agents"]
    assert all((row["loses"], row["keeps"]) == ([], []) for row in unnamed)
    assert {row["id"]: row["losses"] for row in unnamed} == {row["id"]: row["losses"] for row in body["agents"]}
    assert (loser["tools"], loser["grants"]) == (["query"], [str(estate.grant.pk)])
    assert {row["name"]: row["unserved"] for row in body["systems"]} == {"Ledger": True, "Archive": False}


def test_paths_are_told_step_by_step(api: Any, estate: Estate) -> None:
    url = f"{BASE}/paths?from=agent:{estate.agent.pk}&to=system:{estate.archive.pk}"
    body = api(make.person()).get(url).json()
    assert (body["counts"], body["complete"]) == ({"paths": 1}, True)
    (path,) = body["paths"]
    assert [step["id"] for step in path["steps"]] == [
        str(each.pk) for each in (estate.grant, estate.onward, estate.last)
    ]
    assert [step["kind"] for step in path["steps"]] == ["grant", "grant", "connection"]
    assert path["steps"][0]["source"]["name"] == estate.agent.name
    assert path["steps"][-1]["target"]["name"] == "Archive"
    assert api(make.person()).get(f"{url}&hops=2").json()["paths"] == []


def test_use_stands_beside_what_is_granted_and_a_sighting_is_no_grant(api: Any, estate: Estate) -> None:
    client = api(make.person())
    assert client.get(f"{BASE}/sightings").json()["known"] is False
    stranger, unknown = make.agent(), make.system()
    make.observation(estate.agent, estate.server, estate.ledger)
    make.observation(stranger, estate.server, unknown, calls=7)
    body = client.get(f"{BASE}/sightings").json()
    assert (body["known"], body["counts"]) == (True, {"of_servers": 1, "of_systems": 1})
    told = {(row["source"]["name"], row["target"]["name"]): row["calls"] for row in body["sightings"]}
    assert told == {(stranger.name, estate.server.name): 7, (estate.server.name, unknown.name): 7}
    assert len(walked(client, f"{BASE}/sightings?limit=1", "sightings", "last_used")) == 2
    assert client.get(f"{BASE}/reach?agent={stranger.pk}").json()["counts"] == {"systems": 0, "servers": 0}
    listed = {row["id"]: row["observed"] for row in client.get(f"{BASE}/relationships").json()["results"]}
    assert listed[str(estate.grant.pk)]["calls"] == listed[str(estate.connection.pk)]["calls"] == 3
    assert listed[str(estate.onward.pk)] is None


@pytest.fixture
def used(estate: Estate) -> Estate:
    """The agent used the ledger as it may, and a system that its server has no connection with."""
    estate.unknown = make.system(name="Shadow")
    estate.stranger = make.agent(name="Stranger")
    make.observation(estate.agent, estate.server, estate.ledger)
    make.observation(estate.agent, estate.server, estate.unknown, calls=5)
    make.observation(estate.agent, estate.further, calls=4)
    make.observation(estate.stranger, estate.server, estate.ledger, calls=7)
    return estate


def ends(rows: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(row["source"]["name"], row["target"]["name"]) for row in rows}


def test_reach_by_what_was_granted_observed_or_both(api: Any, used: Estate) -> None:
    client, url = api(make.person()), f"{BASE}/reach?agent={used.agent.pk}"
    granted, both, observed = (client.get(f"{url}&basis={basis}").json() for basis in ("granted", "both", "observed"))
    assert granted["counts"] == {"systems": 2, "servers": 2} == client.get(url).json()["counts"]
    assert "sightings" not in granted
    assert "observed" not in granted["systems"][0]
    for body in (both, observed):
        holds(schemas.ReachSerializer, body)
        # A server that the agent reaches through another is called directly without a grant: seen, and no grant.
        assert ends(body["sightings"]) == {(used.agent.name, used.further.name), (used.server.name, used.unknown.name)}
        assert (body["counts"]["sightings"], body["hidden"]["sightings"]) == (2, 0)
    assert {row["name"]: (row["observed"] or {}).get("calls") for row in both["systems"]} == {
        "Ledger": 3, "Archive": None,
    }  # fmt: skip
    assert {row["title"]: (row["observed"] or {}).get("calls") for row in both["servers"]} == {
        "Stock": 8, "Archive": None,
    }  # fmt: skip
    assert both["systems"][0]["observed"]["errors"] == 1
    assert both["counts"] | {"sightings": 0} == granted["counts"] | {"sightings": 0}
    assert [row["name"] for row in observed["systems"]] == ["Ledger"]
    assert [row["title"] for row in observed["servers"]] == ["Stock"]
    assert (observed["counts"]["systems"], observed["counts"]["servers"]) == (1, 1)
    assert observed["data_classes"] == [{"data_class": "restricted", "systems": 1}]


def test_access_by_what_was_granted_observed_or_both(api: Any, used: Estate) -> None:
    client, url = api(make.person()), f"{BASE}/access?system={used.ledger.pk}"
    idle = make.grant(server=used.server).agent
    both, observed = (client.get(f"{url}&basis={basis}").json() for basis in ("both", "observed"))
    for body in (both, observed):
        holds(schemas.AccessSerializer, body)
        assert ends(body["sightings"]) == {("Stranger", used.server.name)}
    assert {row["name"]: bool(row["observed"]) for row in both["agents"]} == {used.agent.name: True, idle.name: False}
    assert [row["name"] for row in observed["agents"]] == [used.agent.name]
    assert (observed["counts"]["agents"], observed["counts"]["direct_agents"]) == (1, 1)
    assert sum(row["agents"] for row in observed["on_behalf_of"]) == 1
    # Of the server everything counts that went along its connection, whoever called it.
    assert [row["observed"]["calls"] for row in observed["servers"]] == [10]
    elsewhere = client.get(f"{BASE}/access?system={used.unknown.pk}&basis=both").json()
    assert (elsewhere["counts"]["agents"], elsewhere["counts"]["sightings"]) == (0, 1)
    assert client.get(f"{BASE}/access?system={used.unknown.pk}").json()["counts"]["agents"] == 0


def test_relationships_by_what_was_granted_observed_or_both(api: Any, used: Estate) -> None:
    client, url = api(make.person()), f"{BASE}/relationships"
    granted, both, observed = (client.get(f"{url}?basis={basis}").json() for basis in ("granted", "both", "observed"))
    assert "sightings" not in granted
    assert [row["id"] for row in both["results"]] == [row["id"] for row in granted["results"]]
    assert len(both["results"]) == 4
    assert {row["id"] for row in observed["results"]} == {str(used.grant.pk), str(used.connection.pk)}
    everything = {
        (used.agent.name, used.further.name), (used.server.name, "Shadow"), ("Stranger", used.server.name),
    }  # fmt: skip
    for body in (both, observed):
        # A serializer takes no address without a full domain, as the one of these tests.
        holds(RelationshipListSerializer, body | {"sightings": body["sightings"] | {"url": "https://example.org/"}})
        assert ends(body["sightings"]["latest"]) == everything
        assert body["sightings"]["counts"] == {"of_servers": 2, "of_systems": 1}
    assert client.get(both["sightings"]["url"]).json()["counts"] == both["sightings"]["counts"]

    def beside(query: str) -> Any:
        return client.get(f"{url}?basis=both&{query}").json()["sightings"]

    assert ends(beside("agent=Stranger")["latest"]) == {("Stranger", used.server.name)}
    assert ends(beside("system=Shadow")["latest"]) == {(used.server.name, "Shadow")}
    assert beside("kind=connection")["counts"] == {"of_servers": 0, "of_systems": 1}
    assert len(beside("limit=1")["latest"]) == 1
    # A sighting has no terms: what asks for terms asks for relationships only.
    assert beside("status=active") is None
    onwards = client.get(f"{url}?basis=both&limit=1").json()["next"]
    assert "basis=both" in onwards
    assert "sightings" not in client.get(onwards).json()


def test_the_past_knows_no_use_of_later(api: Any, estate: Estate) -> None:
    made = clock.now()
    with clock.at(made + timedelta(hours=6)):
        make.observation(estate.agent, estate.server, estate.ledger)
    with clock.at(made + timedelta(hours=12)):
        client = api(make.person())
        for hours, uses in ((1, 0), (7, 1)):
            then = (made + timedelta(hours=hours)).isoformat().replace("+", "%2B")
            reach = client.get(f"{BASE}/reach?agent={estate.agent.pk}&basis=observed&as_of={then}").json()
            assert reach["counts"] == {"systems": uses, "servers": uses, "sightings": 0}
            page = client.get(f"{BASE}/relationships?basis=observed&as_of={then}").json()
            assert (len(page["results"]), page["sightings"]["latest"]) == (2 * uses, [])


def test_a_basis_there_is_not_is_refused(api: Any, used: Estate) -> None:
    client = api(make.person())
    for url in (f"reach?agent={used.agent.pk}", f"access?system={used.ledger.pk}", "relationships?limit=1"):
        problem(client.get(f"{BASE}/{url}&basis=guessed"), 422, "invalid", "basis")
    # Only what can be asked by use takes it.
    problem(client.get(f"{BASE}/impact?agent={used.agent.pk}&basis=both"), 422, "invalid", "basis")


def test_use_of_what_is_hidden_is_counted_and_not_told(api: Any, used: Estate) -> None:
    owner = make.person()
    secret = make.system(name="Hidden ledger", owner=owner, confidential=True)
    make.observation(used.agent, used.server, secret)
    outsider = api(make.person())
    answer = outsider.get(f"{BASE}/reach?agent={used.agent.pk}&basis=both")
    assert (answer.json()["counts"]["sightings"], answer.json()["hidden"]["sightings"]) == (3, 1)
    for query in (f"system={secret.pk}", "system=Hidden+ledger"):
        told = outsider.get(f"{BASE}/relationships?basis=both&{query}")
        assert told.json()["sightings"]["counts"] == {"of_servers": 0, "of_systems": 0}
        assert outsider.get(f"{BASE}/access?{query}&basis=both").status_code == 404
    assert str(secret.pk) not in answer.content.decode()
    assert len(api(owner).get(f"{BASE}/access?system={secret.pk}&basis=both").json()["sightings"]) == 1


def test_a_sighting_of_something_hidden_is_counted(api: Any, estate: Estate) -> None:
    owner = make.person()
    secret = make.active_server(owner=owner, confidential=True, title="Secret server")
    make.observation(estate.agent, secret)
    answer = api(make.person()).get(f"{BASE}/sightings")
    assert (answer.json()["counts"]["of_servers"], answer.json()["sightings"]) == (1, [])
    assert answer.json()["hidden"]["of_servers"] == 1
    assert str(secret.pk) not in answer.content.decode()
    assert len(api(owner).get(f"{BASE}/sightings").json()["sightings"]) == 1


# --- Who is told what ------------------------------------------------------------------------------------


def test_who_may_ask(api: Any, estate: Estate) -> None:
    left = make.person()
    without_role = api(left)
    left.roles = []
    left.save()
    doors = [*estate.questions(), "relationships", "export?format=csv"]
    for url in doors:
        problem(api().get(f"{BASE}/{url}"), 401, "not-signed-in")
        problem(without_role.get(f"{BASE}/{url}"), 403, "not-allowed")
        problem(api(make.person(), "catalog:read").get(f"{BASE}/{url}"), 403, "not-allowed")
        assert read(api(make.person(), "trust:read"), f"{BASE}/{url}").status_code == 200, url
        assert api(make.person()).post(f"{BASE}/{url}").status_code in (403, 405, 422), url


def test_a_path_through_something_hidden_is_counted_not_named(api: Any) -> None:
    owner = make.person()
    secret = make.active_server(owner=owner, confidential=True, title="Secret server")
    grant = make.grant(server=secret, requested_by=owner)
    connection = make.connection(server=secret, requested_by=owner)
    url = f"{BASE}/reach?agent={grant.agent_id}"
    answer = api(make.person()).get(url)
    for said in (secret.name, secret.title, str(secret.pk), str(grant.pk), str(connection.pk)):
        assert said not in answer.content.decode()
    (system,) = answer.json()["systems"]
    assert system["id"] == str(connection.system_id)
    assert system["through"] == [{"server": None, "access": "read", "words": HIDDEN}]
    assert answer.json()["hidden"] == {"systems": 0, "servers": 1}
    for may in (api(owner), api(make.person("security"))):
        seen = may.get(url).json()
        assert seen["systems"][0]["through"][0]["server"]["name"] == secret.name
        assert seen["hidden"] == {"systems": 0, "servers": 0}


def test_nothing_hidden_is_named_in_any_answer(api: Any, estate: Estate) -> None:
    owner = make.person()
    secret = make.active_server(owner=owner, confidential=True, title="Secret server")
    secrets = [secret, make.agent(owner=owner, created_by=owner, confidential=True, name="Secret agent")]
    secrets.append(make.system(owner=owner, created_by=owner, confidential=True, name="Secret system"))
    _server, agent, system = secrets
    secrets += [
        make.grant(agent=estate.agent, server=secret, requested_by=owner),
        make.grant(agent=agent, server=estate.server, requested_by=owner),
        make.connection(server=secret, system=estate.ledger, requested_by=owner),
        make.connection(server=estate.server, system=system, requested_by=owner),
    ]
    member, insider = api(make.person()), api(owner)
    for url in estate.questions():
        text = member.get(f"{BASE}/{url}").content.decode()
        for thing in secrets:
            assert str(thing.pk) not in text, (url, thing)
        assert "Secret" not in text, url
    for thing in secrets:
        kind = thing._meta.model_name
        problem(member.get(f"{BASE}/impact?{kind}={thing.pk}"), 404, "not-found")
        assert insider.get(f"{BASE}/impact?{kind}={thing.pk}").status_code == 200
    problem(member.get(f"{BASE}/reach?agent=Secret agent"), 404, "not-found", "agent")
    problem(member.get(f"{BASE}/blast-radius?secret_source={make.source_of(secret).pk}"), 404, "not-found")
    counted = member.get(f"{BASE}/access?system={estate.ledger.pk}").json()
    assert counted["hidden"]["agents"] == 1
    assert counted["counts"]["agents"] == len(counted["agents"]) + 1


# --- Questions that cannot be asked ----------------------------------------------------------------------


def test_a_question_names_one_thing(api: Any) -> None:
    client = api(make.person())
    problem(client.get(f"{BASE}/reach"), 422, "invalid", "agent")
    problem(client.get(f"{BASE}/blast-radius?server=a&agent=b"), 422, "invalid", "server")
    problem(client.get(f"{BASE}/reach?agent=nobody"), 404, "not-found", "agent")
    problem(client.get(f"{BASE}/access?system=nothing"), 404, "not-found", "system")
    nothing = "00000000-0000-7000-8000-000000000000"
    for url in ("reach?agent=", "access?system=", "impact?grant=", "blast-radius?team=", "blast-radius?person="):
        problem(client.get(f"{BASE}/{url}{nothing}"), 404, "not-found")
    problem(client.get(f"{BASE}/impact?team=finance"), 422, "invalid", "team")


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("reach?agent={agent}&limit=0", 422, "limit"),
        ("reach?agent={agent}&limit=many", 422, "limit"),
        ("reach?agent={agent}&ways=21", 422, "ways"),
        ("reach?agent={agent}&server=x", 422, "server"),
        ("reach?agent={agent}&cursor=systems~x", 400, None),
        ("reach?agent={agent}&cursor=people~x", 400, None),
        ("reach?agent={agent}&cursor=x", 400, None),
        ("paths?from=agent:{agent}", 422, "to"),
        ("paths?from={agent}&to=system:x", 422, "from"),
        ("paths?from=agent:{agent}&to=agent:{agent}", 422, "to"),
        ("paths?from=agent:{agent}&to=system:Ledger&hops=7", 422, "hops"),
        ("paths?from=agent:{agent}&to=system:Ledger&limit=101", 422, "limit"),
        ("paths?from=agent:{agent}&to=system:Ledger&cursor=x", 422, "cursor"),
        ("hygiene/unused?days=0", 422, "days"),
        ("hygiene/diffuse?teams=x", 422, "teams"),
        ("difference", 422, "since"),
        ("difference?since=2999-01-01T00:00:00Z", 422, "since"),
        ("combinations?combination=x", 422, "combination"),
        ("combinations?combination={agent}", 404, "combination"),
        ("stats?as_of=yesterday", 400, "as_of"),
        ("stats?as_of=2026-10-01", 400, "as_of"),
        ("stats?as_of=2026-10-01T00:00:00", 400, "as_of"),
        ("stats?as_of=0001-01-01T00:00:00%2B14:00", 400, "as_of"),
        ("stats?as_of=2999-01-01T00:00:00Z", 422, "as_of"),
        ("relationships?as_of=2999-01-01T00:00:00Z", 422, "as_of"),
        ("export?format=csv&as_of=x", 400, "as_of"),
        ("export?format=pdf", 422, "format"),
        ("export", 422, "format"),
        ("export?format=csv&statsu=x", 422, "statsu"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_field_and_reason(
    api: Any, estate: Estate, query: str, status: int, field: str | None
) -> None:
    response = api(make.person()).get(f"{BASE}/{query.format(agent=estate.agent.pk)}")
    code = {400: "malformed", 404: "not-found", 422: "invalid"}[status]
    problem(response, status, code, *([field] if field else []))


# --- Pages -----------------------------------------------------------------------------------------------


def walked(client: Any, url: str, name: str, field: str = "id") -> list[str]:
    """The ids of a list, page by page along `next`."""
    found: list[str] = []
    following: str | None = url
    while following:
        body = client.get(following).json()
        found += [row[field] for row in body[name]]
        following = body["next"][name]
        assert set(body["next"]) >= {name}
    return found


def test_pages_walk_each_list_to_its_end(api: Any, estate: Estate) -> None:
    for number in range(7):
        system = make.system(data_class=["internal", "restricted", "public"][number % 3])
        make.connection(server=estate.server, system=system)
        make.grant(server=estate.server)
    client = api(make.person())
    for question, name, counted in (
        (f"reach?agent={estate.agent.pk}", "systems", 9),
        (f"blast-radius?server={estate.server.pk}", "agents", 8),
        (f"blast-radius?server={estate.server.pk}", "systems", 9),
        (f"impact?server={estate.server.pk}", "agents", 9),
        (f"access?system={estate.ledger.pk}", "agents", 8),
    ):
        whole = client.get(f"{BASE}/{question}").json()
        walk = walked(client, f"{BASE}/{question}&limit=2", name)
        assert walk == [row["id"] for row in whole[name]], question
        assert len(set(walk)) == len(walk) == whole["counts"][name] == counted, question
    first = client.get(f"{BASE}/reach?agent={estate.agent.pk}&limit=2")
    assert 'rel="next"' in first["Link"]
    second = client.get(first.json()["next"]["systems"]).json()
    assert "servers" not in second
    assert second["counts"] == first.json()["counts"]


def test_a_walk_survives_what_changes_meanwhile(api: Any, estate: Estate) -> None:
    made = [make.connection(server=estate.server, system=make.system(data_class="internal")) for _ in range(6)]
    client = api(make.person())
    url = f"{BASE}/reach?agent={estate.agent.pk}&limit=3&ways=0"
    expected = walked(client, url, "systems")
    first = client.get(url).json()
    gone = next(each for each in made if str(each.system_id) in expected[3:])
    already = next(each for each in made if str(each.system_id) in expected[:3])
    for each in (gone, already):
        services.revoke_relationship(actor=make.acting(each.requested_by), relationship=each, reason="Over.")
    rest = walked(client, first["next"]["systems"], "systems")
    assert [row["id"] for row in first["systems"]] + rest == [id for id in expected if id != str(gone.system_id)]


# --- Tags ------------------------------------------------------------------------------------------------


def again(client: Any, url: str, tag: str) -> Any:
    return client.get(url, headers={"If-None-Match": tag})


def read(client: Any, url: str, tag: str = "") -> Any:
    """The answer, read to its end: a file keeps its transaction open until then."""
    response = again(client, url, tag)
    if response.streaming:
        assert b"".join(response.streaming_content)
    return response


def test_the_same_answer_is_not_told_twice(api: Any, estate: Estate) -> None:
    client = api(make.person())
    for question in [*estate.questions(), "relationships?limit=1", "export?format=csv"]:
        url = f"{BASE}/{question}"
        tag = read(client, url)["ETag"]
        known = again(client, url, tag)
        assert known.status_code == 304, question
        assert known.content == b""
        assert known["ETag"] == tag
        assert known["Cache-Control"] == "private, no-cache"
        assert again(client, url, f'"other", {tag}').status_code == 304
        assert again(client, url, "*").status_code == 304
        assert read(client, url, '"other"').status_code == 200


def test_a_304_costs_no_answer(api: Any, estate: Estate) -> None:
    client = api(make.person())
    url = f"{BASE}/reach?agent={estate.agent.pk}"
    tag = client.get(url)["ETag"]
    with CaptureQueriesContext(database) as whole:
        client.get(url)
    with CaptureQueriesContext(database) as spared:
        assert again(client, url, tag).status_code == 304
    assert len(spared) < len(whole)
    assert not any("trust_grant x" in query["sql"] for query in spared)


def test_a_change_moves_the_tag(api: Any, estate: Estate) -> None:
    client = api(make.person())
    url = f"{BASE}/reach?agent={estate.agent.pk}"
    tag, version = (answer := client.get(url))["ETag"], answer.json()["data_version"]
    services.revoke_relationship(actor=make.acting(estate.grant.requested_by), relationship=estate.grant, reason="x")
    after = again(client, url, tag)
    assert after.status_code == 200
    assert after.json()["counts"] == {"systems": 0, "servers": 0}
    assert after.json()["data_version"] != version


def test_a_new_name_moves_the_tag(api: Any, estate: Estate) -> None:
    client = api(make.person())
    url = f"{BASE}/access?system={estate.ledger.pk}"
    tag = client.get(url)["ETag"]
    catalog.update_agent(actor=make.acting(estate.agent.owner), agent=estate.agent, name="Renamed")
    assert again(client, url, tag).json()["agents"][0]["name"] == "Renamed"
    tag = client.get(url)["ETag"]
    estate.agent.owner.name = "Olga Other"
    estate.agent.owner.save()
    assert again(client, url, tag).json()["agents"][0]["owner"] == "Olga Other"


def test_time_alone_moves_the_tag(api: Any, estate: Estate) -> None:
    """An end of validity is written nowhere: the same data answers otherwise a day later."""
    client = api(make.person())
    short = make.connection(server=estate.server, valid_until=clock.now() + timedelta(hours=1))
    url = f"{BASE}/reach?agent={estate.agent.pk}"
    first = client.get(url)
    with clock.at(clock.now() + timedelta(minutes=59)):
        assert again(client, url, first["ETag"]).status_code == 304
    with clock.at(clock.now() + timedelta(minutes=61)):
        later = again(client, url, first["ETag"])
    assert later.status_code == 200
    assert later.json()["data_version"] == first.json()["data_version"]
    assert str(short.system_id) in first.content.decode()
    assert str(short.system_id) not in later.content.decode()


def test_tags_are_ones_own(api: Any, estate: Estate) -> None:
    """Two people never share a tag, nor one person with other rights."""
    owner, team = make.person(), make.team()
    make.active_server(owner=owner, in_team=team, confidential=True)
    person = make.person()
    clients = [api(person), api(make.person()), api(owner), api(make.person("security"))]
    narrow = api(make.person("security"), "trust:read")
    url = f"{BASE}/reach?agent={estate.agent.pk}"
    tags = [client.get(url)["ETag"] for client in [*clients, narrow]]
    assert len(set(tags)) == len(tags)
    for client in clients[1:]:
        assert again(client, url, tags[0]).status_code == 200
    Membership.objects.create(team=team, user=person)
    assert again(clients[0], url, tags[0]).status_code == 200
    overseer = make.person("security")
    with_catalog, without = api(overseer, "trust:read", "catalog:read"), api(overseer, "trust:read")
    assert again(without, url, with_catalog.get(url)["ETag"]).status_code == 200
    assert clients[0].get(f"{url}&limit=1")["ETag"] != clients[0].get(url)["ETag"]


# --- The past --------------------------------------------------------------------------------------------


def instant(when: datetime) -> str:
    return when.isoformat().replace("+", "%2B")


def test_a_past_instant_is_answered_as_it_was(api: Any) -> None:
    estate, then = Estate(), clock.now()
    services.revoke_relationship(actor=make.acting(estate.grant.requested_by), relationship=estate.grant, reason="x")
    client = api(make.person())
    url = f"{BASE}/reach?agent={estate.agent.pk}"
    assert client.get(url).json()["counts"] == {"systems": 0, "servers": 0}
    body = client.get(f"{url}&as_of={instant(then)}").json()
    assert body["counts"] == {"systems": 2, "servers": 2}
    assert body["as_of"] == then.isoformat()
    unescaped = then.isoformat()  # a plus that nobody escaped arrives as a blank
    assert client.get(f"{url}&as_of={unescaped}").json()["counts"] == body["counts"]
    listed = client.get(f"{BASE}/relationships?as_of={instant(then)}&kind=grant&agent={estate.agent.pk}").json()
    assert [row["status"] for row in listed["results"]] == ["active"]
    present = client.get(f"{BASE}/relationships?kind=grant&agent={estate.agent.pk}").json()
    assert [row["status"] for row in present["results"]] == ["revoked"]
    ids = {
        when: {row["id"] for row in client.get(f"{BASE}/relationships?status=active{when}").json()["results"]}
        for when in ("", f"&as_of={instant(then)}")
    }
    assert {str(estate.grant.pk)} == ids[f"&as_of={instant(then)}"] - ids[""]
    difference = client.get(f"{BASE}/difference?since={instant(then)}").json()
    changed = {row["id"]: (row["before"], row["after"]) for row in difference["relationships"]}
    assert changed[str(estate.grant.pk)] == ("in force", "")


def test_what_did_not_exist_yet_is_not_there(api: Any) -> None:
    make.grant()
    then = instant(clock.now())
    later = make.grant()
    client = api(make.person())
    problem(client.get(f"{BASE}/reach?agent={later.agent_id}&as_of={then}"), 404, "not-found")
    body = client.get(f"{BASE}/relationships?as_of={then}").json()
    assert str(later.pk) not in {row["id"] for row in body["results"]}
    assert len(body["results"]) == 1


def test_before_the_first_record_there_is_nothing_and_it_says_so(api: Any, estate: Estate) -> None:
    client = api(make.person())
    begin = Change.objects.order_by("at")[0].at
    for url, serializer in estate.questions().items():
        if url.startswith("difference"):
            continue
        mark = "&" if "?" in url else "?"
        response = client.get(f"{BASE}/{url}{mark}as_of=2001-01-01T00:00:00Z")
        assert response.status_code == 200, (url, response.content)
        body = response.json()
        holds(serializer, body)
        assert f"{begin:%Y-%m-%d}" in body["note"]
        assert not any(body["counts"].values())
    body = client.get(f"{BASE}/relationships?as_of=2001-01-01T00:00:00Z").json()
    assert body["results"] == []
    assert f"{begin:%Y-%m-%d}" in body["note"]


# --- Many at once ----------------------------------------------------------------------------------------


def asked(client: Any, *questions: Any, **more: Any) -> Any:
    return client.post(f"{BASE}/ask", {"questions": list(questions), **more})


def test_every_question_of_many_has_the_answer_it_would_have_alone(api: Any, estate: Estate) -> None:
    client = api(make.person())
    questions, alone = [], []
    for url in estate.questions():
        name, _, query = url.partition("?")
        if name not in QUESTIONS:
            continue
        given = dict(part.split("=", 1) for part in query.replace("%2B", "+").split("&")) if query else {}
        questions.append({"question": name, **given})
        alone.append(client.get(f"{BASE}/{url}").json())
    response = asked(client, *questions)
    assert response.status_code == 200, response.content
    body = response.json()
    assert [each["status"] for each in body["answers"]] == [200] * len(questions)
    for each, single in zip(body["answers"], alone, strict=True):
        for name in set(single) - {"as_of", "next", "since"}:
            assert each["answer"][name] == single[name], (each["question"], name)
        assert each["answer"]["data_version"] == body["data_version"]
        assert each["answer"]["as_of"] == body["as_of"]
    assert response["Cache-Control"] == "private, no-cache"


def test_further_pages_of_an_answer_among_many_are_asked_for_alone(api: Any, estate: Estate) -> None:
    client = api(make.person())
    (answer,) = asked(client, {"question": "reach", "agent": str(estate.agent.pk), "limit": 1}).json()["answers"]
    following = client.get(answer["answer"]["next"]["systems"])
    assert following.status_code == 200
    assert [row["name"] for row in following.json()["systems"]] == ["Archive"]


def test_a_wrong_question_among_many_has_its_own_problem(api: Any, estate: Estate) -> None:
    owner = make.person()
    hidden = make.agent(owner=owner, created_by=owner, confidential=True)
    agent = str(estate.agent.pk)
    answers = asked(
        api(make.person()),
        {"question": "reach", "agent": agent},
        {"question": "reach", "agent": str(hidden.pk)},
        {"question": "reach"},
        {"question": "everything"},
        {"question": "reach", "agent": agent, "limit": "x"},
        {"question": "reach", "agent": agent, "colour": "red"},
        {"question": "reach", "agent": [agent]},
        {"question": "reach", "agent": agent, "as_of": "2026-01-01T00:00:00Z"},
        "reach",
        {},
        {"question": "stats"},
    ).json()["answers"]
    assert [each["status"] for each in answers] == [200, 404, 422, 422, 422, 422, 422, 422, 422, 422, 200]
    assert all(("answer" in each) == (each["status"] == 200) for each in answers)
    told = [each["problem"] for each in answers if "problem" in each]
    assert [error["pointer"] for each in told[1:] for error in each["errors"]] == [
        "/agent", "/question", "/limit", "/colour", "/agent", "/as_of", "/question", "/question",
    ]  # fmt: skip
    assert str(hidden.name) not in str(told)


def test_many_questions_are_refused_as_a_whole_only_when_the_whole_is_wrong(api: Any, estate: Estate) -> None:
    client = api(make.person())
    one = {"question": "stats"}
    assert len(asked(client, *[one] * 100).json()["answers"]) == 100
    problem(asked(client, *[one] * 101), 422, "invalid", "questions")
    problem(asked(client), 422, "invalid", "questions")
    problem(asked(client, one, extra=1), 422, "invalid", "extra")
    problem(asked(client, one, as_of="2999-01-01T00:00:00Z"), 422, "invalid", "as_of")
    problem(asked(client, one, as_of=7), 422, "invalid", "as_of")
    problem(client.post(f"{BASE}/ask", [one]), 400, "malformed")
    problem(client.post(f"{BASE}/ask", "{", content_type="application/json"), 400, "malformed")
    problem(asked(api(), one), 401, "not-signed-in")
    problem(asked(api(make.person(), "catalog:read"), one), 403, "not-allowed")
    assert asked(api(make.person(), "trust:read"), one).status_code == 200
    then = (clock.now() - timedelta(days=400)).isoformat()
    (answer,) = asked(client, {"question": "reach", "agent": str(estate.agent.pk)}, as_of=then).json()["answers"]
    assert "Nothing was recorded" in answer["answer"]["note"]


# --- Cost ------------------------------------------------------------------------------------------------


def test_a_question_costs_the_same_for_one_row_and_many(api: Any, estate: Estate) -> None:
    client = api(make.person())
    counted = []
    for _ in range(2):
        counts = {}
        for url in estate.questions():
            client.get(f"{BASE}/{url}")
            with CaptureQueriesContext(database) as captured:
                client.get(f"{BASE}/{url}")
            counts[re.sub("[0-9a-f-]{36}|since=.*", "…", url)] = len(captured)
        counted.append(counts)
        for _ in range(4):
            make.grant(server=estate.server)
            make.connection(server=estate.server)
    assert counted[0] == counted[1]
    assert max(counted[1].values()) <= 14


# --- Toxic combinations ----------------------------------------------------------------------------------

LEGS = [
    {"label": "Reads the web", "system_kinds": ["web"]},
    {"label": "Reads secrets", "data_classes": ["confidential", "restricted"], "access": ["read", "write"]},
]


def facts(**more: Any) -> dict[str, Any]:
    return {"name": "Web and secrets", "explanation": "A page could tell it to leak.", "legs": LEGS, **more}


def test_security_keeps_the_list_of_combinations(api: Any) -> None:
    client, member = api(make.person("security")), api(make.person())
    created = client.post(f"{BASE}/combinations", facts())
    assert created.status_code == 201, created.content
    assert created.json()["legs"] == LEGS
    url = f"{BASE}/combinations/{created.json()['id']}"
    assert member.get(url).json() == created.json()
    assert member.get(url)["ETag"] == created["ETag"]
    problem(client.put(url, facts(name="Other"), headers={"If-Match": '"x"'}), 412, "changed")
    changed = client.put(url, facts(name="Other"), headers={"If-Match": created["ETag"]})
    assert (changed.json()["name"], changed.json()["version"]) == ("Other", 2)
    same = client.put(url, facts(name="Other"))
    assert same["ETag"] == changed["ETag"]
    problem(client.post(f"{url}/retire", {"reason": "x"}, headers={"If-Match": created["ETag"]}), 412, "changed")
    retired = client.post(f"{url}/retire", {"reason": "Not needed."}, headers={"If-Match": changed["ETag"]})
    assert retired.json()["retired_at"]
    problem(client.put(url, facts()), 409, "illegal-transition")
    listed = [each["id"] for each in member.get(f"{BASE}/combinations").json()["combinations"]]
    assert created.json()["id"] not in listed
    from registry.audit.models import Event

    acts = Event.objects.filter(subject_id=created.json()["id"]).order_by("at").values_list("act", flat=True)
    assert list(acts) == ["combination.created", "combination.changed", "combination.retired"]


def test_others_only_read_them(api: Any) -> None:
    made = Combination.objects.create(name="One", explanation="x", legs=LEGS)
    url = f"{BASE}/combinations"
    for person in (make.person(), make.person("reviewer"), make.person("administrator")):
        for method, address, body in (
            ("post", url, facts()),
            ("put", f"{url}/{made.pk}", facts()),
            ("post", f"{url}/{made.pk}/retire", {"reason": "x"}),
        ):
            problem(getattr(api(person), method)(address, body), 403, "not-allowed")
        assert api(person).get(f"{url}/{made.pk}").status_code == 200
    problem(api(make.person("security"), "trust:read").post(url, facts()), 403, "not-allowed")
    problem(api().get(f"{url}/{made.pk}"), 401, "not-signed-in")
    assert api(make.person()).get(f"{url}/{made.pk}/retire").status_code == 405
    assert Combination.objects.get(pk=made.pk).retired_at is None


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": ""}, "name"),
        ({"legs": LEGS[:1]}, "legs"),
        ({"legs": LEGS * 4}, "legs"),
        ({"legs": [LEGS[0], {"label": "x", "access": ["own"]}]}, "legs/1/access/0"),
        ({"legs": [LEGS[0], {"label": "x", "acces": ["read"]}]}, "legs/1/acces"),
        ({"legs": [LEGS[0], {"label": "Everything"}]}, "legs/1/label"),
    ],
)
def test_combinations_that_mean_nothing_are_refused(api: Any, wrong: dict[str, Any], field: str) -> None:
    problem(api(make.person("security")).post(f"{BASE}/combinations", facts(**wrong)), 422, "invalid", field)


def test_a_name_is_taken_once_and_secrets_are_refused(api: Any) -> None:
    client = api(make.person("security"))
    assert client.post(f"{BASE}/combinations", facts()).status_code == 201
    problem(client.post(f"{BASE}/combinations", facts()), 422, "invalid", "name")
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    body = problem(
        client.post(f"{BASE}/combinations", facts(name="x", explanation=secret)), 422, "secret-refused", "explanation"
    )
    assert secret not in str(body)


def test_agents_that_meet_every_leg_are_told_with_a_path_for_each(api: Any, estate: Estate) -> None:
    web = make.system(kind="web", data_class="public")
    client = api(make.person("security"))
    made = client.post(f"{BASE}/combinations", facts()).json()
    url = f"{BASE}/combinations?combination={made['id']}"
    tag = (before := client.get(url))["ETag"]
    assert before.json()["counts"].get(made["id"], 0) == 0
    make.connection(server=estate.further, system=web)
    body = again(client, url, tag).json()
    holds(combinations.CombinationsSerializer, body)
    matches = {row["agent"]["name"]: row for row in body["matches"]}
    assert set(matches) == {estate.agent.name}
    assert [leg["label"] for leg in matches[estate.agent.name]["legs"]] == [leg["label"] for leg in LEGS]
    assert matches[estate.agent.name]["legs"][0]["path"]["steps"][-1]["target"]["name"] == web.name
    (sought,) = body["combinations"]
    assert (sought["id"], sought["agents"]) == (made["id"], 1)


def test_cutting_what_has_ended_takes_nothing_away(api: Any, estate: Estate) -> None:
    grant = make.grant()
    services.revoke_relationship(actor=make.acting(make.person("security")), relationship=grant, reason="Over.")
    body = api(make.person()).get(f"{BASE}/impact", {"grant": str(grant.pk)})
    assert body.status_code == 200, body.content
    assert set(body.json()["counts"].values()) == {0}
    hidden = make.grant()
    type(hidden.server).objects.filter(pk=hidden.server_id).update(confidential=True)
    services.revoke_relationship(actor=make.acting(make.person("security")), relationship=hidden, reason="Over.")
    problem(api(make.person()).get(f"{BASE}/impact", {"grant": str(hidden.pk)}), 404, "not-found")


def test_a_parameter_given_twice_is_refused(api: Any, estate: Estate) -> None:
    one, other = make.agent(), make.agent()
    answer = api(make.person()).get(f"{BASE}/reach?agent={one.pk}&agent={other.pk}")
    problem(answer, 422, "invalid", "agent")


def test_combinations_are_among_the_many_questions(api: Any, estate: Estate) -> None:
    client = api(make.person())
    told = client.post(f"{BASE}/ask", {"questions": [{"question": "combinations", "limit": 1}]}).json()["answers"][0]
    alone = client.get(f"{BASE}/combinations?limit=1").json()
    assert told["status"] == 200
    assert told["answer"]["combinations"] == alone["combinations"]
    assert told["answer"]["matches"] == alone["matches"]


def test_a_past_answer_names_things_as_they_were_called(api: Any, estate: Estate) -> None:
    then, old = clock.now().isoformat().replace("+", "%2B"), estate.ledger.name
    type(estate.ledger).objects.filter(pk=estate.ledger.pk).update(
        name="Main book", environment="staging", updated_at=clock.now()
    )
    client = api(make.person())
    (before,) = [
        row
        for row in client.get(f"{BASE}/reach?agent={estate.agent.pk}&as_of={then}").json()["systems"]
        if row["id"] == str(estate.ledger.pk)
    ]
    assert (before["name"], before["environment"]) == (old, "production")
    assert client.get(f"{BASE}/access?system={old}&as_of={then}").status_code == 200
    assert client.get(f"{BASE}/access?system={old}").status_code == 404
    assert client.get(f"{BASE}/access?system=Main book").status_code == 200
    assert client.get(f"{BASE}/access?system=Main book&as_of={then}").status_code == 404


def test_a_cursor_goes_on_with_the_question_it_came_from(api: Any) -> None:
    server, system, other = make.active_server(), make.system(), make.system()
    for each in (system, other):
        make.connection(server=server, system=each)
    for _ in range(2):
        make.grant(server=server)
    client = api(make.person())
    further = client.get(f"{BASE}/access?system={system.pk}&limit=1").json()["next"]["agents"]
    assert len(client.get(further).json()["agents"]) == 1
    refused = client.get(further.replace(str(system.pk), str(other.pk)))
    assert refused.status_code == 400
    assert "another question" in refused.json()["detail"]


@pytest.mark.parametrize(
    "question",
    ["relationships?limit=2&limit=3", "relationships?as_of=2026-01-01T00:00:00Z&as_of=2026-02-01T00:00:00Z",
     "export?format=csv&format=jgf", "changes?limit=1&limit=2"],
)  # fmt: skip
def test_no_list_takes_a_parameter_twice(api: Any, question: str) -> None:
    assert api(make.person()).get(f"{BASE}/{question}").status_code == 422


def test_several_values_of_one_filter_are_one_filter(api: Any) -> None:
    assert api(make.person()).get(f"{BASE}/relationships?status=active&status=suspended").status_code == 200


def test_what_a_team_retired_is_not_touched_by_its_compromise(api: Any) -> None:
    team = make.team()
    used, retired = make.system(team=team), make.system(team=team)
    type(retired).objects.filter(pk=retired.pk).update(standing="retired")
    body = api(make.person()).get(f"{BASE}/blast-radius?team={team.pk}").json()
    assert [row["id"] for row in body["systems"]] == [str(used.pk)]


def test_a_number_is_written_in_digits(api: Any) -> None:
    assert api(make.person()).get(f"{BASE}/relationships?limit=٣").status_code == 422

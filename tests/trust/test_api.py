"""The REST contract of trust: shapes, scopes, conditions, and the same refusals as everywhere."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from registry.core import clock
from registry.core.actors import Actor
from registry.trust import services
from registry.trust.api import relationships
from registry.trust.api import schemas as rest
from registry.trust.api.questions import QUESTIONS
from registry.trust.models import Grant
from registry.trust.states import Status
from tests import factories as make

pytestmark = pytest.mark.django_db
BASE = "/api/v1"


def until(days: int = 30) -> str:
    return (clock.now() + timedelta(days=days)).isoformat()


def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["type"].endswith(f"#{code}")
    return body


# --- Who may call ----------------------------------------------------------------------------------------


def test_every_door_asks_who_is_there(api: Any) -> None:
    grant = make.requested_grant()
    doors = [
        ("get", f"{BASE}/grants"),
        ("get", f"{BASE}/connections"),
        ("get", f"{BASE}/grants/{grant.pk}"),
        ("post", f"{BASE}/grants"),
        ("post", f"{BASE}/grants/{grant.pk}/approve"),
        ("post", f"{BASE}/grants/{grant.pk}/revoke"),
        ("get", f"{BASE}/trust/relationships"),
        ("get", f"{BASE}/trust/reach?agent={grant.agent_id}"),
        ("get", f"{BASE}/trust/access?system={grant.pk}"),
        ("get", f"{BASE}/trust/blast-radius?server={grant.server_id}"),
    ]
    member, reader, outsider = make.person(), make.person("security"), make.person()
    without_role = api(outsider)
    outsider.roles = []
    outsider.save()
    facts = {
        "agent": str(grant.agent_id),
        "server": str(grant.server_id),
        "tools": ["query"],
        "reason": "Planning.",
        "valid_until": until(),
    }
    for method, url in doors:
        problem(getattr(api(), method)(url), 401, "not-signed-in")
        body = {"reason": "Planning."} if url.endswith(("/approve", "/revoke")) else facts
        refused = getattr(without_role, method)(url, body if method == "post" else None)
        # Without a role one sees nothing, so what one would act on is not there.
        assert refused.status_code == (404 if f"/{grant.pk}/" in url else 403), url
        assert getattr(api(member, "catalog:read", "catalog:write"), method)(url).status_code == 403, url
        if method == "post":
            assert api(reader, "trust:read").post(url, {"reason": "x"}).status_code == 403, url
    grant.refresh_from_db()
    assert grant.status == Status.REQUESTED


# --- Grants and connections ------------------------------------------------------------------------------


def test_a_grant_from_request_to_revocation(api: Any) -> None:
    server, agent = make.active_server(), make.agent()
    member, reviewer = api(make.person()), api(make.person("reviewer"))
    created = member.post(
        f"{BASE}/grants",
        {
            "agent": str(agent.pk),
            "server": str(server.pk),
            "tools": ["query", "export"],
            "reason": "Planning.",
            "valid_until": until(),
        },
    )
    assert created.status_code == 201, created.content
    grant = created.json()
    assert grant["status"] == "requested"
    assert grant["max_token_lifetime_seconds"] == 3600
    url = f"{BASE}/grants/{grant['id']}"
    problem(member.post(f"{url}/approve"), 403, "not-independent")
    stale = reviewer.post(f"{url}/approve", headers={"If-Match": '"other"'})
    problem(stale, 412, "changed")
    approved = reviewer.post(f"{url}/approve", headers={"If-Match": created["ETag"]})
    assert approved.json()["status"] == "active"
    assert approved["ETag"] != created["ETag"]
    problem(reviewer.post(f"{url}/approve"), 409, "illegal-transition")
    reduced = member.post(f"{url}/reduce", {"kept_tools": ["query"], "reason": "Enough."})
    assert reduced.status_code == 200, reduced.content
    assert reduced.json()["supersedes"] == grant["id"]
    assert reduced.json()["lineage"] == grant["lineage"]
    assert member.get(url).json()["status"] == "reduced"
    narrower = f"{BASE}/grants/{reduced.json()['id']}"
    body = problem(member.post(f"{narrower}/revoke", {"reason": ""}), 422, "invalid")
    assert body["errors"][0]["pointer"] == "/reason"
    assert member.post(f"{narrower}/revoke", {"reason": "Over."}).json()["status"] == "revoked"
    problem(member.post(f"{narrower}/suspend", {"reason": "Over."}), 409, "illegal-transition")


def test_a_connection_and_its_secret_source(api: Any) -> None:
    server, system = make.active_server(), make.system()
    owner = api(server.owner)
    created = owner.post(
        f"{BASE}/connections",
        {
            "server": str(server.pk),
            "system": str(system.pk),
            "access": "write",
            "scopes": ["b", "a"],
            "reason": "Files tickets.",
            "valid_until": until(),
        },
    )
    assert created.status_code == 201, created.content
    url = f"{BASE}/connections/{created.json()['id']}"
    source = make.source_of(server)
    assert created.json()["secret_source"] == str(source.pk)
    assert owner.put(f"{url}/secret-source", {"secret_source": str(source.pk)}).status_code == 200
    problem(owner.post(f"{url}/approve"), 403, "not-independent")
    assert api(system.owner).post(f"{url}/approve").json()["status"] == "active"
    lower = api(system.owner).post(f"{url}/reduce", {"access": "read", "reason": "Reads."})
    assert (lower.json()["access"], lower.json()["scopes"]) == ("read", ["a", "b"])


@pytest.mark.parametrize("what", ["grant", "connection"])
def test_owners_do_not_approve_their_own(api: Any, what: str) -> None:
    owner = make.person("reviewer", name="Ona Owner")
    thing = getattr(make, f"requested_{what}")(server=make.active_server(owner=owner))
    body = problem(api(owner).post(f"{BASE}/{what}s/{thing.pk}/approve"), 403, "not-independent")
    assert "owns the server" in body["detail"]


def test_wrong_input_is_named_by_field(api: Any) -> None:
    server, agent = make.active_server(), make.agent()
    client = api(make.person())
    facts = {"agent": str(agent.pk), "server": str(server.pk), "reason": "x", "valid_until": until(800)}
    body = problem(client.post(f"{BASE}/grants", facts | {"tools": ["nope"]}), 422, "invalid")
    assert {error["pointer"] for error in body["errors"]} == {"/tools", "/valid_until"}
    hidden = make.active_server(confidential=True)
    body = problem(
        client.post(f"{BASE}/grants", facts | {"server": str(hidden.pk), "tools": ["query"]}), 422, "invalid"
    )
    assert hidden.name not in str(body)
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    body = problem(client.post(f"{BASE}/grants", facts | {"tools": ["query"], "reason": secret}), 422, "secret-refused")
    assert secret not in str(body)


def test_what_one_may_not_see_is_not_there(api: Any) -> None:
    system = make.system(confidential=True)
    connection = make.connection(system=system, requested_by=system.owner)
    member = api(make.person())
    problem(member.get(f"{BASE}/connections/{connection.pk}"), 404, "not-found")
    problem(member.post(f"{BASE}/connections/{connection.pk}/revoke", {"reason": "x"}), 404, "not-found")
    problem(member.get(f"{BASE}/trust/access?system={system.pk}"), 404, "not-found")
    assert member.get(f"{BASE}/trust/relationships").json()["results"] == []
    assert member.get(f"{BASE}/connections").json()["results"] == []
    assert api(system.owner).get(f"{BASE}/connections/{connection.pk}").status_code == 200


def test_lists_have_the_shape_scripts_rely_on(api: Any) -> None:
    server = make.active_server()
    for _ in range(3):
        make.requested_grant(server=server)
    client = api(make.person())
    first = client.get(f"{BASE}/grants?limit=2")
    body = first.json()
    assert set(body) == {"results", "next", "previous"}
    assert (len(body["results"]), body["previous"]) == (2, None)
    assert 'rel="next"' in first["Link"]
    second = client.get(body["next"]).json()
    assert len(second["results"]) == 1
    assert second["next"] is None
    assert {row["id"] for row in body["results"]}.isdisjoint(row["id"] for row in second["results"])


# --- One list of relationships ---------------------------------------------------------------------------


def described(serializer: type[Any]) -> set[str]:
    return set(serializer().fields)


def test_rows_look_as_the_schema_says(api: Any) -> None:
    make.grant()
    make.connection()
    client = api(make.person())
    body = client.get(f"{BASE}/trust/relationships").json()
    assert set(body) == described(relationships.RelationshipListSerializer) - {"sightings"}
    assert [row["kind"] for row in body["results"]] == ["connection", "grant"]
    for row in body["results"]:
        assert set(row) == described(rest.RelationshipSerializer)
        assert rest.RelationshipSerializer(data=row).is_valid(raise_exception=True)
    assert client.get(f"{BASE}/grants").json()["results"] == [body["results"][1]]
    assert client.get(f"{BASE}/connections").json()["results"] == [body["results"][0]]


def test_filters_of_the_list(api: Any) -> None:
    planner = make.agent(name="Planner")
    grant = make.grant(agent=planner, tools=["query"], server=make.active_server(environment="staging"))
    wildcard = make.grant(all_tools=True)
    connection = make.connection(system=make.system(name="Ledger"), scopes=["rows:read"])
    waiting = make.requested_grant(tools=["export"])
    services.set_certified_until(
        actor=Actor.system("sign-off"), relationship=grant, until=clock.now() + timedelta(days=9)
    )
    client = api(make.person())
    # The rows as they are stored: tiers were computed after the factories returned.
    tier = Grant.objects.select_related("server").get(pk=grant.pk).server.tier

    def ids(query: str) -> set[str]:
        response = client.get(f"{BASE}/trust/relationships?{query}")
        assert response.status_code == 200, response.content
        return {row["id"] for row in response.json()["results"]}

    everything = {str(thing.pk) for thing in (grant, wildcard, connection, waiting)}
    assert ids("") == everything
    for query, expected in {
        f"agent={planner.pk}": [grant],
        "agent=Planner": [grant],
        f"agent={planner.spiffe_id}": [grant],
        f"server={connection.server_id}": [connection],
        f"server={connection.server.name}": [connection],
        "system=Ledger": [connection],
        f"system={connection.system_id}": [connection],
        "tool=query": [grant, wildcard],
        "tool=export": [wildcard, waiting],
        "status=requested": [waiting],
        "status=active&status=requested&kind=grant": [grant, wildcard, waiting],
        "kind=connection": [connection],
        "environment=staging": [grant],
        f"team={grant.server.team_id}": [grant],
        "certified=true": [grant],
        "certified=false": [wildcard, connection, waiting],
        "access=read": [connection],
        "q=planner": [grant],
        "q=rows:read": [connection],
        "q=ledg": [connection],
        "agent=Planner&system=Ledger": [],
    }.items():
        assert ids(query) == {str(thing.pk) for thing in expected}, query
    assert str(grant.pk) in ids(f"tier={tier}")
    assert ids("tier=low") & {str(grant.pk)} == set()
    problem(client.get(f"{BASE}/trust/relationships?status=nonsense"), 422, "invalid")
    problem(client.get(f"{BASE}/trust/relationships?before=x"), 400, "malformed")


def test_the_list_is_followed_by_its_links(api: Any) -> None:
    server = make.active_server()
    made = [
        make.requested_grant(server=server),
        make.requested_connection(server=server),
        make.requested_grant(server=server),
    ]
    client = api(make.person())
    seen, url = [], f"{BASE}/trust/relationships?limit=2&status=requested"
    while url:
        body = client.get(url).json()
        seen += [row["id"] for row in body["results"]]
        last, url = body, body["next"]
    assert seen == [str(thing.pk) for thing in reversed(made)]
    assert "status=requested" in last["previous"]
    assert [row["id"] for row in client.get(last["previous"]).json()["results"]] == seen[:2]


def test_lists_cost_the_same_for_one_row_and_many(api: Any) -> None:
    client = api(make.person())
    make.requested_grant()
    make.requested_connection()
    client.get(f"{BASE}/grants")  # the first use of the token is noted
    counted = []
    for _ in range(2):
        counts = []
        for url in (f"{BASE}/grants", f"{BASE}/connections", f"{BASE}/trust/relationships"):
            with CaptureQueriesContext(database) as captured:
                client.get(url)
            counts.append(len(captured))
        counted.append(counts)
        server = make.active_server()
        for _ in range(4):
            make.requested_grant(server=server)
            make.requested_connection(server=server)
    # the token; what changed, what one may not see, the ids of the page; per kind its rows and their use
    assert counted[0] == counted[1]
    assert max(counted[1]) <= 8


def test_the_schema_describes_every_door(client: Any) -> None:
    from drf_spectacular.generators import SchemaGenerator

    schema = SchemaGenerator().get_schema(request=None, public=True)
    doors = ("relationships", "ask", "changes", "export", "combinations/{id}", "combinations/{id}/retire", *QUESTIONS)
    for path in ("grants", "connections", *(f"trust/{door}" for door in doors)):
        assert f"{BASE}/{path}" in schema["paths"], path
    for act in ("approve", "refuse", "withdraw", "suspend", "resume", "revoke", "reduce"):
        for kind in ("grants", "connections"):
            assert f"{BASE}/{kind}/{{id}}/{act}" in schema["paths"], (kind, act)
    names = {each["name"] for each in schema["paths"][f"{BASE}/trust/relationships"]["get"]["parameters"]}
    assert {
        "agent", "server", "system", "tool", "team", "environment", "tier", "status", "certified", "kind", "q", "limit",
    } <= names  # fmt: skip

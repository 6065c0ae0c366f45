"""The catalog over REST: the same acts, the same refusals, in the words of HTTP."""

from datetime import timedelta

import pytest

from registry.catalog.models import Server
from registry.core import clock
from tests import factories as make

pytestmark = pytest.mark.django_db


def send(client, method, url, body, user, **headers):
    return getattr(client, method)(url, body, content_type="application/json", **make.bearer(user), **headers)


class TestReading:
    def test_without_a_token_the_answer_is_401_in_problem_json(self, client):
        response = client.get("/api/v1/servers")
        assert response.status_code == 401
        assert response["Content-Type"] == "application/problem+json"
        assert response["WWW-Authenticate"].startswith("Bearer")
        assert response.json()["status"] == 401

    def test_a_token_without_the_scope_is_refused_by_name(self, client):
        response = client.get("/api/v1/servers", **make.bearer(make.person(), "trust:read"))
        assert response.status_code == 403
        assert "catalog:read" in response.json()["detail"]

    def test_pages_follow_each_other_without_gap_or_overlap(self, client):
        names = {make.draft().name for _ in range(7)}
        headers = make.bearer(make.person())
        url, seen = "/api/v1/servers?limit=3", []
        while url:
            page = client.get(url, **headers).json()
            assert set(page) == {"results", "next", "previous"}
            seen += [row["name"] for row in page["results"]]
            url = page["next"]
        assert (set(seen), len(seen)) == (names, 7)

    def test_a_list_costs_the_same_for_one_row_and_for_many(self, client, django_assert_max_num_queries):
        headers = make.bearer(make.person())
        for _ in range(5):
            make.complete_draft()
        client.get("/api/v1/servers", **headers)  # the token's last use is noted once a minute
        with django_assert_max_num_queries(4):
            assert len(client.get("/api/v1/servers", **headers).json()["results"]) == 5

    def test_a_server_comes_with_everything_it_is_made_of(self, client, django_assert_max_num_queries):
        server, headers = make.complete_draft(), make.bearer(make.person())
        client.get(f"/api/v1/servers/{server.pk}", **headers)
        with django_assert_max_num_queries(16):
            response = client.get(f"/api/v1/servers/{server.pk}", **headers)
        body = response.json()
        assert response["ETag"] == server.etag
        assert body["purpose"]["statement"] == "Answer stock questions for analysts."
        assert [tool["name"] for tool in body["tools"]] == ["export", "query"]
        assert body["secret_sources"][0]["kind"] == "vault"
        assert body["revocation_path"][0]["position"] == 1
        assert all(question["answered"] for question in body["completeness"])

    def test_the_confidential_does_not_exist_for_strangers(self, client):
        server = make.draft(confidential=True)
        headers = make.bearer(make.person())
        assert client.get(f"/api/v1/servers/{server.pk}", **headers).status_code == 404
        for part in ("endpoints", "tools", "purposes", "secret-sources"):
            assert client.get(f"/api/v1/{part}?server={server.pk}", **headers).json()["results"] == []

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("lifecycle=draft", True),
            ("lifecycle=active", False),
            ("tier=low&tier=high", True),
            ("tool_class=write", True),
            ("tool_class=execute", False),
            ("secret_kind=vault", True),
            ("data_class=internal", True),
            ("data_class=public", False),
            ("certified=false", True),
            ("certified=true", False),
            ("owner_missing=true", False),
            ("q=warehouse", True),
            ("q=stockroom", False),
        ],
    )
    def test_filters(self, client, query, found):
        make.complete_draft(title="Warehouse SQL")
        rows = client.get(f"/api/v1/servers?{query}", **make.bearer(make.person())).json()["results"]
        assert bool(rows) is found

    def test_a_filter_value_that_does_not_exist_is_named(self, client):
        response = client.get("/api/v1/servers?tier=enormous", **make.bearer(make.person()))
        assert response.status_code == 422
        assert response.json()["errors"][0]["pointer"] == "/tier"


class TestHostileReading:
    @pytest.mark.parametrize(
        ("query", "status"),
        [
            ("cursor=cD0lMDA=", 400),
            ("cursor=zzzz", 400),
            ("q=%00", 400),
            ("certified=ture", 422),
            ("tiers=high", 422),
        ],
    )
    def test_what_means_nothing_is_refused_and_never_answers_everything(self, client, query, status):
        make.draft()
        response = client.get(f"/api/v1/servers?{query}", **make.bearer(make.person()))
        assert response.status_code == status, response.content
        assert response["Content-Type"] == "application/problem+json"

    def test_relationships_refuse_unknown_filters_too(self, client):
        for query in ("agnet=x", "certified=maybe", "limit=0", "limit=" + "9" * 5000):
            response = client.get(f"/api/v1/trust/relationships?{query}", **make.bearer(make.person()))
            assert response.status_code == 422, query

    def test_whether_a_hidden_server_exists_cannot_be_told(self, client):
        hidden, unknown = make.draft(confidential=True).pk, "01900000-0000-7000-8000-000000000000"
        ona = make.person()
        for number, pk in enumerate((hidden, unknown)):
            body = {"name": "Link", "kind": "server", "spiffe_id": f"spiffe://x.test/{number}", "server": str(pk)}
            assert send(client, "post", "/api/v1/agents", body, ona).status_code == 422
            rows = client.get(f"/api/v1/tools?server={pk}", **make.bearer(ona))
            assert (rows.status_code, rows.json()["results"]) == (200, [])

    def test_deeply_nested_json_is_refused(self, client):
        response = client.post(
            "/api/v1/servers", "[" * 100_000, content_type="application/json", **make.bearer(make.person())
        )
        assert response.status_code == 400


class TestWriting:
    def test_the_whole_registration_by_automation(self, client):
        ona, dara = make.person(), make.person()
        headers = make.bearer(ona)

        def call(method, path, body=None):
            response = getattr(client, method)(path, body or {}, content_type="application/json", **headers)
            assert response.status_code < 300, response.content
            return response

        created = call(
            "post",
            "/api/v1/servers",
            {"name": "com.example/warehouse", "endpoints": [{"url": "https://mcp.example.test/mcp"}]},
        )
        url = f"/api/v1/servers/{created.json()['id']}"
        call("put", f"{url}/people", {"owner": str(ona.pk), "deputy": str(dara.pk), "team": str(make.team().pk)})
        call(
            "put",
            f"{url}/purpose",
            {
                "statement": "Answer questions.",
                "data_classes": ["internal"],
                "ends_on": str(clock.today() + timedelta(days=90)),
            },
        )
        call("put", f"{url}/tools", {"tools": [{"name": "query", "confirmed_class": "read"}]})
        call("put", f"{url}/secret-sources", {"sources": [{"kind": "none", "reason": "Public data only"}]})
        call(
            "put",
            f"{url}/revocation-path",
            {"steps": [{"instruction": "Stop it", "responsible": "On-call", "expected_minutes": 3}]},
        )
        assert call("post", f"{url}/submit").json()["lifecycle"] == "submitted"

    def test_what_is_missing_is_answered_question_by_question(self, client):
        server = make.draft()
        response = send(client, "post", f"/api/v1/servers/{server.pk}/submit", {}, server.created_by)
        assert response.status_code == 422
        assert {error["pointer"] for error in response.json()["errors"]} == {
            "/accountable", "/purpose", "/credentials", "/revocation",
        }  # fmt: skip

    def test_an_old_etag_is_refused(self, client):
        server = make.draft()
        old = server.etag
        url = f"/api/v1/servers/{server.pk}"
        assert send(client, "patch", url, {"title": "A"}, server.created_by, HTTP_IF_MATCH=old).status_code == 200
        response = send(client, "patch", url, {"title": "B"}, server.created_by, HTTP_IF_MATCH=old)
        assert response.status_code == 412
        assert Server.objects.get(pk=server.pk).title == "A"

    def test_somebody_elses_server_is_refused_with_the_reason(self, client):
        server = make.draft()
        response = send(client, "patch", f"/api/v1/servers/{server.pk}", {"title": "B"}, make.person())
        assert response.status_code == 403
        assert "owner" in response.json()["detail"]

    def test_an_illegal_move_is_409(self, client):
        server = make.draft()
        response = send(client, "post", f"/api/v1/servers/{server.pk}/suspend", {"reason": "x"}, server.created_by)
        assert response.status_code == 409
        assert "draft" in response.json()["detail"]

    def test_malformed_json_is_400(self, client):
        response = client.post(
            "/api/v1/servers", "{not json", content_type="application/json", **make.bearer(make.person())
        )
        assert response.status_code == 400
        assert response["Content-Type"] == "application/problem+json"

    @pytest.mark.parametrize(
        "theirs", [{"lifecycle": "active"}, {"tier": "low"}, {"certified_until": "2099-01-01T00:00:00Z"}]
    )
    def test_fields_that_are_not_ours_to_set_are_refused(self, client, theirs):
        response = send(client, "post", "/api/v1/servers", {"name": "com.example/a", **theirs}, make.person())
        assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, f"/{next(iter(theirs))}")
        assert not Server.objects.exists()

    def test_systems_agents_and_issuers(self, client):
        ona, sec = make.person(), make.person("security")
        system = send(
            client,
            "post",
            "/api/v1/systems",
            {"name": "Ledger", "kind": "database", "data_class": "confidential", "owner": str(ona.pk)},
            ona,
        )
        assert system.status_code == 201
        issuer = send(
            client, "post", "/api/v1/issuers", {"name": "IdP", "kind": "oidc", "uri": "https://idp.example.test"}, sec
        )
        assert issuer.status_code == 201, issuer.content
        agent = send(
            client,
            "post",
            "/api/v1/agents",
            {"name": "Bot", "kind": "ai_agent", "issuer": issuer.json()["id"], "client_id": "bot"},
            ona,
        )
        assert agent.status_code == 201, agent.content
        twice = send(
            client,
            "post",
            "/api/v1/agents",
            {"name": "Bot 2", "kind": "ai_agent", "issuer": issuer.json()["id"], "client_id": "bot"},
            ona,
        )
        assert twice.status_code == 422
        nobody = send(client, "post", "/api/v1/agents", {"name": "Bot", "kind": "ai_agent"}, ona)
        assert nobody.json()["errors"][0]["pointer"] == "/spiffe_id"
        changed = send(client, "patch", f"/api/v1/systems/{system.json()['id']}", {"data_class": "restricted"}, ona)
        assert (changed.status_code, changed.json()["data_class"]) == (200, "restricted")


def test_the_operator_is_read_and_named(api):
    server, runner = make.complete_draft(), make.person()
    client = api(server.owner)
    url = f"/api/v1/servers/{server.pk}"
    people = {"owner": str(server.owner_id), "deputy": str(server.deputy_id), "team": str(server.team_id)}
    named = client.put(f"{url}/people", {**people, "operator": str(runner.pk)})
    assert (named.status_code, named.json()["operator"]) == (200, str(runner.pk))
    assert client.put(f"{url}/people", people).json()["operator"] == str(runner.pk), "not sent: left as it is"
    assert client.put(f"{url}/people", {**people, "operator": None}).json()["operator"] is None

"""Pages of trust in Django's client, that is without scripts."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import reverse

from registry.core import clock
from registry.trust import services
from registry.trust.models import Connection, Grant
from registry.trust.states import Status
from registry.trust.views import lists
from tests import factories as make

pytestmark = pytest.mark.django_db


def address(name: str, *args: Any, **query: Any) -> str:
    url = reverse(f"trust:{name}", args=args)
    return f"{url}?{urlencode(query, doseq=True)}" if query else url


def text(response: Any) -> str:
    return str(response.content.decode())


# --- The list --------------------------------------------------------------------------------------------


def test_strangers_sign_in_first_and_outsiders_see_nothing(web: Any) -> None:
    grant = make.grant()
    for url in (
        address("relationships"),
        address("relationships_csv"),
        address("requests"),
        address("request_grant"),
        address("grant", grant.pk),
        address("grant_revoke", grant.pk),
        address("server_panel", grant.server_id),
    ):
        assert "sign-in" in web().get(url)["Location"], url
        assert web(make.outsider()).get(url).status_code == 403, url


def test_the_list_shows_both_kinds_and_filters_by_the_address(web: Any) -> None:
    grant, connection = make.grant(), make.connection()
    client = web(make.person())
    page = text(client.get(address("relationships")))
    assert grant.agent.name in page
    assert connection.system.name in page
    only = text(client.get(address("relationships", kind="connection")))
    assert connection.system.name in only
    assert grant.agent.name not in only
    none = text(client.get(address("relationships", q="nothing is called this")))
    assert "Nothing matches" in none
    assert "Nobody trusts anybody yet" not in none


def test_an_empty_list_says_what_to_do(web: Any) -> None:
    page = text(web(make.person()).get(address("relationships")))
    assert "Nobody trusts anybody yet" in page
    assert address("request_grant") in page


def test_a_damaged_address_asks_for_nothing(web: Any) -> None:
    make.grant()
    client = web(make.person())
    page = client.get(address("relationships", status="everything"))
    assert page.status_code == 200
    assert "Nothing matches" in text(page)
    assert client.get(address("relationships", older="x")).status_code == 400


def test_the_list_walks_in_pages_and_back(web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server, agents = make.active_server(), [make.agent() for _ in range(3)]
    ids = [str(make.requested_grant(server=server, agent=agent).pk) for agent in agents][::-1]
    monkeypatch.setattr(lists, "ROWS", 2)
    client = web(make.person())
    first = client.get(address("relationships"))
    assert [str(row["id"]) for row in first.context["page"]] == ids[:2]
    second = client.get(first.context["page"].older)
    assert [str(row["id"]) for row in second.context["page"]] == ids[2:]
    back = client.get(second.context["page"].newer)
    assert [str(row["id"]) for row in back.context["page"]] == ids[:2]
    assert back.context["page"].newer is None


def test_the_list_costs_the_same_for_one_row_and_many(web: Any, django_assert_max_num_queries: Any) -> None:
    server = make.active_server()
    client = web(make.person())
    client.get(address("relationships"))
    for _ in range(5):
        make.requested_grant(server=server)
        make.requested_connection(server=server)
    # session, user, the page, teams for the filter, two counts of requests, and what the shell asks
    with django_assert_max_num_queries(14):
        client.get(address("relationships"))


def test_csv_is_exactly_this_view(web: Any) -> None:
    grant = make.grant(agent=make.agent(name="=cmd()"))
    make.connection()
    response = web(make.person()).get(address("relationships_csv", kind="grant"))
    lines = b"".join(response.streaming_content).decode().splitlines()
    assert len(lines) == 2
    assert str(grant.pk) in lines[1]
    assert "'=cmd()" in lines[1]
    assert response["Content-Disposition"].endswith('.csv"')


# --- Asking ----------------------------------------------------------------------------------------------


def grant_form(**facts: Any) -> dict[str, Any]:
    return {
        "reason": "Answers planners.",
        "valid_until": (clock.today() + timedelta(days=30)).isoformat(),
        "on_behalf_of": "users",
        "max_token_lifetime_seconds": "3600",
        **facts,
    }


def test_a_grant_is_asked_for_without_scripts(web: Any) -> None:
    server, agent, member = make.active_server(), make.agent(), make.person()
    client = web(member)
    # The server is typed, its tools are shown on the way back with everything typed kept, and then it is asked for.
    typed = grant_form(agent=agent.name, server=server.name, show="tools", behalf_detail="12 planners")
    shown = client.post(address("request_grant"), typed)
    assert shown.status_code == 200
    for words in ('value="export"', 'value="query"', "12 planners", "Answers planners.", agent.name):
        assert words in text(shown)
    assert Grant.objects.count() == 0
    done = client.post(address("request_grant"), grant_form(agent=agent.name, server=server.name, tools=["query"]))
    grant = Grant.objects.get()
    assert done["Location"] == address("grant", grant.pk)
    assert (grant.tools, grant.requested_by, grant.status) == (["query"], member, Status.REQUESTED)
    assert grant.valid_until.date() == clock.today() + timedelta(days=30)


def test_a_refused_request_comes_back_with_its_errors(web: Any) -> None:
    server, agent = make.active_server(), make.agent()
    client = web(make.person())
    far = (clock.today() + timedelta(days=800)).isoformat()
    response = client.post(
        address("request_grant"),
        grant_form(agent=agent.name, server=server.name, tools=["query"], valid_until=far),
    )
    assert response.status_code == 422
    assert "At the latest" in text(response)
    assert 'value="query" checked' in text(response)
    nothing = client.post(address("request_grant"), grant_form(agent=agent.name, server=server.name))
    assert nothing.status_code == 422
    assert "Choose at least one tool" in text(nothing)
    unknown = client.post(address("request_grant"), grant_form(agent="nobody", server="none"))
    assert unknown.status_code == 422
    assert Grant.objects.count() == 0


def test_a_link_fills_in_what_is_known(web: Any) -> None:
    server, agent = make.active_server(), make.agent()
    page = text(web(make.person()).get(address("request_grant", server=server.pk, agent=agent.pk)))
    assert f'value="{server.name}"' in page
    assert f'value="{agent.name}"' in page
    assert 'value="export"' in page
    hidden = make.active_server(confidential=True)
    assert hidden.name not in text(web(make.person()).get(address("request_grant", server=hidden.pk)))


def test_a_connection_is_asked_for(web: Any) -> None:
    server, system = make.active_server(), make.system()
    response = web(make.person()).post(
        address("request_connection"),
        {
            "server": server.name,
            "system": f"{system.name} ({system.environment})",
            "access": "write",
            "scopes": "tickets:read, tickets:write\nusers:read",
            "reason": "Files tickets.",
            "valid_until": (clock.today() + timedelta(days=30)).isoformat(),
        },
    )
    connection = Connection.objects.get()
    assert response["Location"] == address("connection", connection.pk)
    assert connection.scopes == ["tickets:read", "tickets:write", "users:read"]
    assert connection.secret_source == make.source_of(server)


# --- Deciding --------------------------------------------------------------------------------------------


def test_requests_say_who_is_barred_and_why(web: Any) -> None:
    owner = make.person("reviewer", name="Ona Owner")
    grant = make.requested_grant(server=make.active_server(owner=owner))
    barred = text(web(owner).get(address("requests")))
    assert "Ona Owner owns the server" in barred
    assert address("grant_approve", grant.pk) not in barred
    free = text(web(make.person("reviewer")).get(address("requests")))
    assert address("grant_approve", grant.pk) in free
    assert "for a reviewer or security" in text(web(make.person()).get(address("requests")))


def test_an_independent_reviewer_decides_without_scripts(web: Any) -> None:
    grant = make.requested_grant()
    client = web(make.person("reviewer"))
    page = client.get(address("grant_approve", grant.pk))
    assert page.status_code == 200
    done = client.post(address("grant_approve", grant.pk), {"version": grant.etag})
    assert done["Location"] == address("grant", grant.pk)
    grant.refresh_from_db()
    assert grant.status == Status.ACTIVE
    assert client.get(address("grant_approve", grant.pk)).status_code == 409


def test_who_decides_sees_the_class_of_each_tool_and_what_nobody_approved(web: Any) -> None:
    server = make.active_server(tools=[{"name": "query", "confirmed_class": "read"}])
    agent = make.agent(owner=make.person(name="Ada Agentowner"))
    grant = make.requested_grant(server=server, agent=agent)
    client = web(make.person("reviewer"))
    page = text(client.get(address("grant_approve", grant.pk)))
    assert "<code>query</code>" in page
    assert "Ada Agentowner" in page
    assert "not approved" not in page
    server.tools.update(approved_digest="")
    assert "not approved" in text(client.get(address("grant_approve", grant.pk)))


@pytest.mark.parametrize("what", ["grant", "connection"])
def test_owners_do_not_approve_their_own(web: Any, what: str) -> None:
    owner = make.person("reviewer", name="Ona Owner")
    server = make.active_server(owner=owner)
    thing = getattr(make, f"requested_{what}")(server=server)
    client = web(owner)
    page = text(client.get(address(what, thing.pk)))
    assert "owns the server" in page
    assert address(f"{what}_approve", thing.pk) not in page
    refused = client.post(address(f"{what}_approve", thing.pk), {"version": thing.etag})
    assert refused.status_code == 403
    assert "owns the server" in text(refused)
    thing.refresh_from_db()
    assert thing.status == Status.REQUESTED


def test_a_stale_decision_is_not_carried_out(web: Any) -> None:
    grant = make.requested_grant()
    services.withdraw_relationship(actor=make.acting(grant.requested_by), relationship=grant)
    response = web(make.person("security")).post(
        address("grant_refuse", grant.pk), {"version": grant.etag, "reason": "No."}
    )
    assert response.status_code == 412
    assert "Look again" in text(response)


# --- One relationship ------------------------------------------------------------------------------------


def test_the_page_of_a_relationship_tells_its_story(web: Any) -> None:
    grant = make.grant(tools=["query", "export"], behalf_detail="12 planners")
    make.connection(server=grant.server, system=make.system(name="Ledger"))
    narrower = services.reduce_grant(
        actor=make.acting(grant.server.owner), grant=grant, kept_tools=["query"], reason="Never exports."
    )
    page = text(web(make.person()).get(address("grant", narrower.pk)))
    for words in (
        "query", "12 planners", "Never exports.", "grant.narrowed", "Ledger", grant.requested_by.name,
        address("grant", grant.pk), "<svg class=\"graph\"", "1 hour",
    ):  # fmt: skip
        assert words in page, words
    assert web(make.person()).get(address("grant", grant.pk)).status_code == 200


def test_what_one_may_not_see_is_not_there(web: Any) -> None:
    owner = make.person()
    server = make.active_server(owner=owner, confidential=True)
    connection = make.connection(server=server, requested_by=owner)
    member = web(make.person())
    for name in ("connection", "connection_revoke"):
        assert member.get(address(name, connection.pk)).status_code == 404
        assert web(owner).get(address(name, connection.pk)).status_code == 200
    assert member.get(address("server_panel", connection.server_id)).status_code == 404


def test_revoking_first_says_what_breaks(web: Any) -> None:
    grant = make.grant(agent=make.agent(name="Forecast agent"))
    sole = make.connection(server=grant.server, system=make.system(name="Only here"))
    other = make.connection(system=make.system(name="Also there"))
    make.connection(server=grant.server, system=other.system)
    make.grant(agent=grant.agent, server=other.server)
    client = web(grant.server.owner)
    page = text(client.get(address("grant_revoke", grant.pk)))
    broken = page[page.index("What breaks") :]
    assert "Forecast agent" in broken
    assert broken.index("Only here") < broken.index("Also there")
    without = client.post(address("grant_revoke", grant.pk), {"version": grant.etag, "reason": ""})
    assert without.status_code == 422
    client.post(address("grant_revoke", grant.pk), {"version": grant.etag, "reason": "Project over."})
    grant.refresh_from_db()
    assert grant.status == Status.REVOKED
    assert "Project over." in text(client.get(address("grant", grant.pk)))
    cut = text(web(sole.system.owner).get(address("connection_revoke", sole.pk)))
    assert "Nothing that is in force now depends on it" in cut


def test_reducing_without_scripts(web: Any) -> None:
    connection = make.connection(access="write", scopes=["a", "b"])
    client = web(connection.system.owner)
    page = text(client.get(address("connection_reduce", connection.pk)))
    assert 'value="admin"' not in page
    response = client.post(
        address("connection_reduce", connection.pk),
        {"version": connection.etag, "access": "read", "kept_scopes": ["a"], "reason": "Reads only."},
    )
    narrower = Connection.objects.get(status=Status.ACTIVE)
    assert response["Location"] == address("connection", narrower.pk)
    assert (narrower.access, narrower.scopes) == ("read", ["a"])
    grant = make.grant()
    everything = web(grant.requested_by).post(
        address("grant_reduce", grant.pk),
        {"version": grant.etag, "kept_tools": ["query", "export"], "reason": "x"},
    )
    assert everything.status_code == 422
    assert "keeps everything" in text(everything)


def test_the_owner_names_the_secret_source(web: Any) -> None:
    connection = make.requested_connection()
    Connection.objects.filter(pk=connection.pk).update(secret_source=None)
    source = make.source_of(connection.server)
    url = address("connection_secret_source", connection.pk)
    assert web(make.person()).get(url).status_code == 403
    web(connection.server.owner).post(url, {"version": connection.etag, "secret_source": source.pk})
    connection.refresh_from_db()
    assert connection.secret_source == source


@pytest.mark.parametrize("act", ["approve", "refuse", "withdraw", "suspend", "resume", "revoke", "reduce"])
def test_acts_need_their_permission(web: Any, act: str) -> None:
    grant = make.requested_grant()
    assert web(make.person("auditor")).get(address(f"grant_{act}", grant.pk)).status_code == 403
    response = web(make.person("auditor")).post(
        address(f"grant_{act}", grant.pk), {"reason": "x", "kept_tools": ["query"]}
    )
    assert response.status_code == 403
    grant.refresh_from_db()
    assert grant.status == Status.REQUESTED


# --- Panels ----------------------------------------------------------------------------------------------


def test_panels_are_fragments_for_htmx_and_pages_for_everybody_else(web: Any) -> None:
    grant = make.grant()
    connection = make.connection(server=grant.server, system=make.system(name="Ledger", data_class="restricted"))
    client: Client = web(make.person())
    for name, subject in (
        ("server_panel", grant.server_id),
        ("server_relationships", grant.server_id),
        ("server_impact", grant.server_id),
        ("agent_panel", grant.agent_id),
        ("agent_impact", grant.agent_id),
        ("system_panel", connection.system_id),
        ("system_impact", connection.system_id),
    ):
        fragment = client.get(address(name, subject), HTTP_HX_REQUEST="true")
        assert fragment.status_code == 200, name
        assert "<html" not in text(fragment), name
        assert "HX-Request" in fragment["Vary"]
        page = text(client.get(address(name, subject)))
        assert "<html" in page, name
        assert "Ledger" in page, name


def test_the_trust_path_has_a_table_twin_with_the_same_facts(web: Any) -> None:
    grant = make.grant()
    make.connection(server=grant.server, access="write", system=make.system(name="Ledger", data_class="restricted"))
    client = web(make.person())
    picture = text(client.get(address("server_panel", grant.server_id)))
    table = text(client.get(address("server_panel", grant.server_id, view="table")))
    assert '<svg class="graph"' in picture
    assert '<svg class="graph"' not in table
    assert "view=table" in picture
    for words in (grant.agent.name, "Ledger", "read, write", "vault:"):
        assert words in picture, words
        assert words in table, words


def test_a_panel_counts_what_may_not_be_seen(web: Any) -> None:
    secret = make.system(name="Secret ledger", confidential=True)
    grant = make.grant()
    make.connection(server=grant.server, system=secret, requested_by=secret.owner)
    page = text(web(make.person()).get(address("agent_panel", grant.agent_id)))
    assert "Secret ledger" not in page
    assert str(secret.pk) not in page
    assert "1 system" in page
    panel = text(web(make.person()).get(address("server_panel", grant.server_id)))
    assert "Secret ledger" not in panel
    assert "1 system" in panel

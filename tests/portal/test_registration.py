"""The guided registration over plain HTTP, as a browser without scripts sends it."""

import json
from datetime import timedelta

import pytest
from django.urls import reverse

from registry.catalog.models import Server, System
from registry.catalog.services import accept_ownership
from registry.core import clock
from registry.discovery.models import Probe
from registry.discovery.services import run_probe
from registry.trust.models import Connection
from tests import factories as make
from tests.discovery.fake_servers import Fake
from tests.listeners import Told, http

pytestmark = pytest.mark.django_db

REFUSED = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"  # shaped like a token, and none


def rows(prefix, *values, initial=0):
    """A formset's fields: `rows("tools", {"name": "a"})`."""
    data = {f"{prefix}-TOTAL_FORMS": len(values), f"{prefix}-INITIAL_FORMS": initial}
    for index, row in enumerate(values):
        data |= {f"{prefix}-{index}-{name}": value for name, value in row.items()}
    return data


def step_url(server, step):
    return reverse("portal:registration", args=[server.pk, step])


IDENTITY = {"name": "com.example/warehouse-sql", "title": "Warehouse SQL", "environment": "production"}
ENDPOINT = {"transport": "streamable-http", "url": "https://mcp.example.test/mcp"}
PURPOSE = {
    "statement": "Answer sales and stock questions for analysts from the reporting warehouse.",
    "in_scope": "Aggregates\r\nRow reads",
    "out_of_scope": "Customer contact data",
    "data_classes": ["internal"],
    "ends_on": "2027-06-30",
}


@pytest.fixture
def owner():
    return make.person(name="Ona Owner", email="ona@example.test")


@pytest.fixture
def started(web, owner):
    """A draft after the first page, and the client that began it."""
    client = web(owner)
    client.post(reverse("portal:register_by_hand"), IDENTITY | rows("endpoints", ENDPOINT))
    return client, Server.objects.get()


class TestStart:
    def test_offers_a_server_json_or_typing(self, web, owner):
        page = web(owner).get(reverse("portal:register")).content.decode()
        assert 'enctype="multipart/form-data"' in page
        assert reverse("portal:register_by_hand") in page

    def test_anonymous_signs_in_first(self, web):
        answer = web().get(reverse("portal:register"))
        assert answer.status_code == 302
        assert answer.url.startswith(reverse("accounts:sign_in"))

    def test_somebody_without_a_role_is_told_why(self, web):
        answer = web(make.outsider()).get(reverse("portal:register"))
        assert answer.status_code == 403
        assert "You need a role to register a server." in answer.content.decode()


class TestIdentity:
    def test_the_draft_exists_after_the_first_page(self, web, owner):
        answer = web(owner).post(reverse("portal:register_by_hand"), IDENTITY | rows("endpoints", ENDPOINT))
        server = Server.objects.get()
        assert answer.status_code == 302
        assert answer.url == step_url(server, "people")
        assert (server.lifecycle, server.created_by, server.title) == ("draft", owner, "Warehouse SQL")
        assert [each.canonical_uri for each in server.endpoints.all()] == ["https://mcp.example.test/mcp"]

    def test_a_malformed_name_is_said_at_the_field_and_on_top(self, web, owner):
        answer = web(owner).post(
            reverse("portal:register_by_hand"), IDENTITY | {"name": "warehouse"} | rows("endpoints", ENDPOINT)
        )
        page = answer.content.decode()
        assert answer.status_code == 422
        assert "exactly one slash" in page
        assert 'href="#id_name"' in page
        assert 'value="Warehouse SQL"' in page
        assert not Server.objects.exists()

    def test_a_secret_is_refused_at_its_field_and_nothing_else_is_lost(self, web, owner):
        url = f"https://mcp.example.test/mcp?api_key={REFUSED}"
        answer = web(owner).post(
            reverse("portal:register_by_hand"), IDENTITY | rows("endpoints", ENDPOINT, {"url": url})
        )
        page = answer.content.decode()
        assert answer.status_code == 422
        assert 'href="#id_endpoints-1-url"' in page
        assert "https://mcp.example.test/mcp?api_key=[REDACTED]" in page
        assert REFUSED not in page
        assert 'value="Warehouse SQL"' in page
        assert not Server.objects.exists()

    def test_a_name_that_is_taken_leads_to_its_server(self, web, owner):
        other = make.active_server(owner=make.person(name="Olaf Other"))
        link = f'href="{reverse("catalog:server", args=[other.pk])}"'
        remotes = [{"type": ENDPOINT["transport"], "url": ENDPOINT["url"]}]
        entry = {"name": other.name, "description": "Asks.", "version": "1.0.0", "remotes": remotes}
        for path, data in (
            (reverse("portal:register_by_hand"), IDENTITY | {"name": other.name} | rows("endpoints", ENDPOINT)),
            (reverse("portal:register"), {"text": json.dumps(entry)}),
        ):
            answer = web(owner).post(path, data)
            assert answer.status_code == 422
            assert link in answer.content.decode()
            assert "Olaf Other owns it." in answer.content.decode()

    def test_a_name_that_is_taken_by_something_hidden_leads_nowhere(self, web, owner):
        hidden = make.draft(confidential=True, created_by=make.person())
        answer = web(owner).post(
            reverse("portal:register_by_hand"), IDENTITY | {"name": hidden.name} | rows("endpoints", ENDPOINT)
        )
        assert answer.status_code == 422
        assert str(hidden.pk) not in answer.content.decode()

    def test_another_row_needs_no_script(self, web, owner):
        answer = web(owner).post(
            reverse("portal:register_by_hand"), IDENTITY | rows("endpoints", ENDPOINT) | {"add": "1"}
        )
        page = answer.content.decode()
        assert answer.status_code == 200
        assert 'name="endpoints-1-url"' in page
        assert "This was not saved" not in page
        assert 'value="https://mcp.example.test/mcp"' in page
        assert 'value="com.example/warehouse-sql"' in page

    def test_changing_it_keeps_what_the_publisher_declared(self, web, owner):
        declared = [{"name": "API_KEY", "placed_in": "header", "required": True, "secret": True}]
        server = make.draft(created_by=owner, endpoints=[ENDPOINT | {"inputs": declared}])
        web(owner).post(step_url(server, "identity"), IDENTITY | {"name": server.name} | rows("endpoints", ENDPOINT))
        assert server.endpoints.get(retired_at=None).inputs == declared

    def test_what_somebody_else_saved_meanwhile_is_not_overwritten(self, started):
        client, server = started
        stale = server.etag
        client.post(step_url(server, "purpose"), PURPOSE)
        answer = client.post(
            step_url(server, "identity"),
            IDENTITY | {"title": "Mine", "version": stale} | rows("endpoints", ENDPOINT),
        )
        server.refresh_from_db()
        assert answer.status_code == 412
        assert 'value="Mine"' in answer.content.decode()
        assert server.title == "Warehouse SQL"


class TestWhoMayGoOn:
    def test_a_member_who_is_not_accountable_may_not(self, web, started):
        _client, server = started
        answer = web(make.person()).get(step_url(server, "purpose"))
        assert answer.status_code == 403
        assert "Only the owner, the deputy" in answer.content.decode()

    def test_a_confidential_draft_is_not_there_for_others(self, web, owner):
        server = make.draft(created_by=owner, confidential=True)
        assert web(make.person()).get(step_url(server, "purpose")).status_code == 404

    def test_anonymous_signs_in_first(self, web, started):
        _client, server = started
        answer = web().get(step_url(server, "purpose"))
        assert answer.status_code == 302
        assert answer.url.startswith(reverse("accounts:sign_in"))

    def test_an_unknown_step_is_not_found(self, started):
        client, server = started
        assert client.get(step_url(server, "nothing")).status_code == 404

    def test_in_front_of_a_reviewer_it_stands_still(self, web, owner):
        server = make.submitted_server(owner=owner)
        client = web(owner)
        assert client.get(step_url(server, "purpose")).url == reverse("catalog:server", args=[server.pk])
        client.post(step_url(server, "purpose"), PURPOSE)
        assert server.purposes.count() == 1


class TestPeople:
    def test_naming_oneself_accepts_at_once(self, started, owner):
        client, server = started
        deputy, team = make.person(), make.team(owner)
        answer = client.post(
            step_url(server, "people"), {"owner": owner.email, "deputy": deputy.email, "team": team.pk}
        )
        server.refresh_from_db()
        assert answer.url == step_url(server, "purpose")
        assert server.owner_accepted_at is not None
        assert (server.deputy, server.team) == (deputy, team)

    def test_somebody_else_has_to_accept(self, web, started, owner):
        client, server = started
        other = make.person(name="Ines Moreau")
        client.post(step_url(server, "people"), {"owner": other.email, "deputy": owner.email, "team": make.team().pk})
        server.refresh_from_db()
        assert server.owner_accepted_at is None
        home = web(other).get(reverse("portal:home")).content.decode()
        assert "You are named as its owner" in home
        assert web(make.person()).post(reverse("catalog:accept", args=[server.pk])).status_code == 403
        web(other).post(reverse("catalog:accept", args=[server.pk]))
        server.refresh_from_db()
        assert server.owner_accepted_at is not None

    def test_the_deputy_is_somebody_else(self, started, owner):
        client, server = started
        answer = client.post(
            step_url(server, "people"), {"owner": owner.email, "deputy": owner.email, "team": make.team().pk}
        )
        page = answer.content.decode()
        assert answer.status_code == 422
        assert 'href="#id_deputy"' in page
        assert "somebody other than the owner" in page

    def test_an_unknown_address_is_said_at_the_field(self, started):
        client, server = started
        answer = client.post(
            step_url(server, "people"), {"owner": "nobody@example.test", "deputy": "", "team": make.team().pk}
        )
        assert answer.status_code == 422
        assert "Nobody active has this address" in answer.content.decode()


class TestPurpose:
    def test_lines_become_lists(self, started):
        client, server = started
        client.post(step_url(server, "purpose"), PURPOSE)
        purpose = server.purpose
        assert purpose.in_scope == ["Aggregates", "Row reads"]
        assert purpose.data_classes == ["internal"]

    def test_an_end_is_required(self, started):
        client, server = started
        answer = client.post(step_url(server, "purpose"), PURPOSE | {"ends_on": ""})
        assert answer.status_code == 422
        assert 'href="#id_ends_on"' in answer.content.decode()
        assert server.purpose is None

    def test_an_end_too_far_away_is_refused_by_the_service(self, started):
        client, server = started
        answer = client.post(
            step_url(server, "purpose"), PURPOSE | {"ends_on": str(clock.today() + timedelta(days=3000))}
        )
        assert answer.status_code == 422
        assert "At most 730 days" in answer.content.decode()

    def test_vague_words_get_a_hint_and_are_saved(self, started):
        client, server = started
        answer = client.post(
            step_url(server, "purpose"), PURPOSE | {"statement": "Helps with various things."}, follow=True
        )
        assert server.purpose.statement == "Helps with various things."
        assert "leaves the end open" in answer.content.decode()
        assert "A reviewer may find this vague" in client.get(step_url(server, "purpose")).content.decode()


class TestTools:
    def test_the_owner_confirms_classes(self, started):
        client, server = started
        client.post(
            step_url(server, "tools"),
            rows("tools", {"name": "query", "claimed_class": "read", "confirmed_class": "write"}, {}, {}),
        )
        tool = server.tools.get()
        assert (tool.claimed_class, tool.confirmed_class) == ("read", "write")

    def test_emptying_a_row_or_ticking_it_removes_the_tool(self, started):
        client, server = started
        client.post(step_url(server, "tools"), rows("tools", {"name": "a"}, {"name": "b"}, {"name": "c"}))
        client.post(
            step_url(server, "tools"),
            rows("tools", {"name": "a"}, {"name": ""}, {"name": "c", "DELETE": "on"}, initial=3),
        )
        assert [tool.name for tool in server.tools.filter(retired_at=None)] == ["a"]

    def test_a_tool_listed_twice_is_said_at_its_row(self, started):
        client, server = started
        answer = client.post(step_url(server, "tools"), rows("tools", {"name": "a"}, {}, {"name": "a"}))
        assert answer.status_code == 422
        assert 'href="#id_tools-2-name"' in answer.content.decode()

    def test_a_definition_from_the_publisher_stays(self, web, owner):
        definition = {"inputSchema": {"type": "object"}}
        server = make.complete_draft(
            owner=owner, tools=[{"name": "query", "description": "Runs\na query.", "definition": definition}]
        )
        before = server.tools.get().digest
        page = web(owner).get(step_url(server, "tools")).content.decode()
        assert "Runs\na query." in page
        web(owner).post(step_url(server, "tools"), rows("tools", {"name": "query", "confirmed_class": "read"}))
        tool = server.tools.get()
        assert (tool.digest, tool.confirmed_class, tool.definition) == (before, "read", definition)


CONNECTION = {"access": "read", "valid_until": "2027-03-01", "reason": "Reads the sales tables."}


class TestSystems:
    def test_a_known_system_is_requested(self, started):
        client, server = started
        system = make.system(name="Sales warehouse", environment="production")
        answer = client.post(
            step_url(server, "systems"),
            CONNECTION | {"system": "Sales warehouse (production)", "scopes": "sales.read", "connect": "1"},
        )
        connection = Connection.objects.get()
        assert answer.url == step_url(server, "systems")
        assert (connection.system, connection.status, connection.scopes) == (system, "requested", ["sales.read"])

    def test_a_new_system_is_registered_on_the_way(self, started):
        client, server = started
        new = {"new_name": "Ledger replica", "new_kind": "database", "new_data_class": "confidential"}
        client.post(step_url(server, "systems"), CONNECTION | new | {"next": "1"})
        system = System.objects.get()
        assert (system.name, system.data_class, system.environment) == ("Ledger replica", "confidential", "production")
        assert Connection.objects.get().system == system

    def test_nothing_is_half_written(self, started):
        """The system is not registered when the connection is refused."""
        client, server = started
        new = {"new_name": "Ledger replica", "new_kind": "database", "new_data_class": "confidential"}
        answer = client.post(
            step_url(server, "systems"), CONNECTION | new | {"scopes": f"token={REFUSED}", "connect": "1"}
        )
        assert answer.status_code == 422
        assert 'href="#id_scopes"' in answer.content.decode()
        assert not System.objects.exists()

    def test_an_empty_page_goes_on(self, started):
        client, server = started
        answer = client.post(step_url(server, "systems"), {"access": "read", "valid_until": "", "next": "1"})
        assert answer.url == step_url(server, "secrets")

    def test_a_request_can_be_withdrawn(self, started):
        client, server = started
        system = make.system()
        client.post(step_url(server, "systems"), CONNECTION | {"system": system.name, "connect": "1"})
        client.post(step_url(server, "systems"), {"drop": str(Connection.objects.get().pk)})
        assert Connection.objects.get().status == "withdrawn"


VAULT = {"kind": "vault", "reference": "kv/data/wh-sql", "credential_type": "rotated", "lifetime_unit": "3600"}


class TestSecrets:
    def test_what_the_publisher_declares_as_secret_is_suggested(self, web, owner):
        declared = [{"name": "DB_PASSWORD", "placed_in": "environment", "secret": True}, {"name": "REGION"}]
        server = make.draft(created_by=owner, endpoints=[ENDPOINT | {"inputs": declared}])
        page = web(owner).get(step_url(server, "secrets")).content.decode()
        assert 'value="DB_PASSWORD"' in page
        assert "REGION" not in page

    def test_a_reference_is_stored_with_its_life(self, started):
        client, server = started
        client.post(
            step_url(server, "secrets"), rows("sources", VAULT | {"lifetime": "12", "rotation_interval_days": "30"})
        )
        source = server.secret_sources.get()
        assert (source.max_lifetime_seconds, source.rotation_interval_days) == (43200, 30)
        page = client.get(step_url(server, "secrets")).content.decode()
        assert 'value="12"' in page

    def test_a_value_is_refused_and_not_shown_again(self, started):
        client, server = started
        answer = client.post(
            step_url(server, "secrets"),
            rows("sources", VAULT | {"reference": REFUSED, "revocable_by": "Platform on-call"}),
        )
        page = answer.content.decode()
        assert answer.status_code == 422
        assert 'href="#id_sources-0-reference"' in page
        assert 'value="Platform on-call"' in page
        assert REFUSED not in page
        assert not server.secret_sources.exists()

    def test_none_needs_a_reason(self, started):
        client, server = started
        refused = client.post(step_url(server, "secrets"), rows("sources", {"kind": "none"}))
        assert refused.status_code == 422
        assert 'href="#id_sources-0-reason"' in refused.content.decode()
        client.post(step_url(server, "secrets"), rows("sources", {"kind": "none", "reason": "Public data."}))
        assert server.secret_sources.get().reason == "Public data."

    def test_each_connection_gets_the_source_it_uses(self, started):
        client, server = started
        for system in (make.system(name="One"), make.system(name="Two")):
            client.post(step_url(server, "systems"), CONNECTION | {"system": system.name, "connect": "1"})
        one, two = Connection.objects.order_by("system__name")
        other = VAULT | {"reference": "kv/data/other", "connections": [str(two.pk)]}
        client.post(step_url(server, "secrets"), rows("sources", VAULT | {"connections": [str(one.pk)]}, other))
        one.refresh_from_db()
        two.refresh_from_db()
        assert (one.secret_source.reference, two.secret_source.reference) == ("kv/data/wh-sql", "kv/data/other")


class TestRevocation:
    def test_steps_are_suggested_for_the_secret_kinds(self, started):
        client, server = started
        client.post(step_url(server, "secrets"), rows("sources", VAULT))
        page = client.get(step_url(server, "revocation")).content.decode()
        assert "Suspend the server in this registry" in page
        assert "Revoke the leases under the vault path" in page
        assert not server.revocation_steps.exists()

    def test_the_numbers_decide_the_order(self, started):
        client, server = started
        base = {"executor": "manual", "responsible": "On-call", "expected_minutes": "5"}
        client.post(
            step_url(server, "revocation"),
            rows(
                "steps",
                base | {"position": "2", "instruction": "Then this"},
                base | {"position": "1", "instruction": "First this"},
            ),
        )
        steps = server.revocation_steps.filter(retired_at=None)
        assert [step.instruction for step in steps] == ["First this", "Then this"]

    def test_a_step_names_who_does_it(self, started):
        client, server = started
        answer = client.post(
            step_url(server, "revocation"), rows("steps", {"instruction": "Pull the plug", "expected_minutes": "1"})
        )
        assert answer.status_code == 422
        assert 'href="#id_steps-0-responsible"' in answer.content.decode()


class TestCheck:
    def test_says_what_is_missing_for_each_question(self, started):
        client, server = started
        page = client.get(step_url(server, "check")).content.decode()
        for words in ("Name an owner.", "State the purpose", "Document at least one secret source", "one step"):
            assert words in page
        assert client.post(step_url(server, "check")).status_code == 422
        server.refresh_from_db()
        assert server.lifecycle == "draft"

    def test_shows_the_tier_and_why(self, web, owner):
        server = make.complete_draft(owner=owner, data_classes=("restricted",))
        page = web(owner).get(step_url(server, "check")).content.decode()
        assert "Reaches restricted data" in page

    def test_answers_the_questions_in_a_line_each(self, web, owner):
        server = make.complete_draft(owner=owner, tools=[{"name": "drop"}])
        page = web(owner).get(step_url(server, "check")).content.decode()
        assert f"Ona Owner owns it, {server.deputy} stands in" in page
        assert server.purpose.statement in page
        assert "1 source: " in page
        assert server.endpoints.get().canonical_uri in page
        assert "as planned" in page
        assert "1 tool has no confirmed class: drop." in page

    def test_shows_who_has_the_same_endpoint(self, web, owner):
        make.draft(name="com.example/older", endpoints=[ENDPOINT])
        server = make.draft(created_by=owner, endpoints=[ENDPOINT])
        page = web(owner).get(step_url(server, "check")).content.decode()
        assert "com.example/older" in page

    def test_submits_what_is_complete(self, web, owner):
        server = make.complete_draft(owner=owner)
        answer = web(owner).post(step_url(server, "check"), {"version": server.etag})
        server.refresh_from_db()
        assert answer.url == reverse("catalog:server", args=[server.pk])
        assert (server.lifecycle, server.submitted_by) == ("submitted", owner)

    def test_waits_for_the_owner_to_accept(self, web, owner):
        other = make.person()
        server = make.complete_draft(owner=owner)
        web(owner).post(
            step_url(server, "people"),
            {"owner": other.email, "deputy": owner.email, "team": server.team_id},
        )
        assert web(owner).post(step_url(server, "check")).status_code == 422
        server.refresh_from_db()
        accept_ownership(actor=make.acting(other), server=server)
        assert web(owner).post(step_url(server, "check")).status_code == 302


class TestBack:
    def test_saves_what_was_typed(self, started):
        client, server = started
        answer = client.post(step_url(server, "purpose"), PURPOSE | {"back": "1"})
        assert answer.url == step_url(server, "people")
        assert server.purpose is not None

    def test_leaves_an_untouched_page_alone(self, started):
        client, server = started
        page = client.get(step_url(server, "purpose"))
        untouched = {"ends_on": page.context["form"].initial["ends_on"], "back": "1"}
        answer = client.post(step_url(server, "purpose"), untouched)
        assert answer.url == step_url(server, "people")
        assert server.purpose is None

    def test_save_and_close_shows_the_server(self, started):
        client, server = started
        answer = client.post(step_url(server, "purpose"), PURPOSE | {"close": "1"})
        assert answer.url == reverse("catalog:server", args=[server.pk])


class TestResume:
    def test_goes_on_where_something_is_missing(self, started):
        client, server = started
        assert client.get(reverse("portal:resume", args=[server.pk])).url == step_url(server, "people")

    def test_goes_to_the_check_when_nothing_is(self, web, owner):
        server = make.complete_draft(owner=owner)
        assert web(owner).get(reverse("portal:resume", args=[server.pk])).url == step_url(server, "check")

    def test_a_hidden_draft_is_not_found(self, web, owner):
        server = make.draft(created_by=owner, confidential=True)
        assert web(make.person()).get(reverse("portal:resume", args=[server.pk])).status_code == 404


# --- Filled in from what is there -------------------------------------------------------------------------


def test_an_address_is_looked_at_and_what_was_found_is_filled_in(web, settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8:*"]
    client = web(make.person())
    with http(Fake()) as listener:
        asked = client.post(reverse("portal:register"), {"address": listener.url("/mcp")}, follow=True)
    page = asked.content.decode()
    assert "It lists 2 tools: search, delete_branch" in page
    assert f'value="{listener.url("/mcp")}"' in page and 'value="fake"' in page
    assert not Server.objects.exists()


def test_an_address_that_is_not_asked_is_still_filled_in(web):
    page = web(make.person()).post(reverse("portal:register"), {"address": "https://10.0.0.1/mcp"}, follow=True)
    assert "10.0.0.1 leads to a private address" in page.content.decode()
    assert 'value="https://10.0.0.1/mcp"' in page.content.decode()


def test_an_address_no_client_could_send_and_an_answer_of_no_shape_are_said(web, settings):
    client = web(make.person())
    page = client.post(
        reverse("portal:register"), {"address": "https://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/"}, follow=True
    )
    assert page.status_code in (200, 422)
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8:*"]
    odd = {"jsonrpc": "2.0", "id": 1, "result": {"supportedVersions": ["2026-07-28"], "_meta": [1]}}
    with http(lambda _asked: Told(body=odd)) as listener:
        asked = client.post(reverse("portal:register"), {"address": listener.url("/mcp")}, follow=True)
    assert asked.status_code == 200


def test_an_address_with_a_secret_in_it_is_refused(web):
    address = f"https://mcp.example.test/mcp?token={REFUSED}"
    page = web(make.person()).post(reverse("portal:register"), {"address": address})
    assert page.status_code == 422
    assert REFUSED not in page.content.decode()


def test_a_draft_takes_over_the_tools_its_server_lists(web, settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8:*"]
    owner = make.person()
    with http(Fake()) as listener:
        server = make.draft(created_by=owner, endpoints=[{"transport": "streamable-http", "url": listener.url("/mcp")}])
        client = web(owner)
        step = step_url(server, "tools")
        button = reverse("discovery:probe_now", args=[server.pk])
        assert f'formaction="{button}"' in client.get(step).content.decode()
        looked = client.post(button)
        probe = Probe.objects.get(server=server)
        run_probe(probe_id=probe.pk)
    assert step in client.get(looked.url).content.decode()
    page = client.get(step).content.decode()
    assert 'value="search"' in page and 'value="delete_branch"' in page
    assert not server.tools.exclude(approved_digest="").exists(), "being seen approves nothing"

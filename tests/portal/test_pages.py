"""Home, search and the API's documentation."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from registry.catalog.models import Server
from registry.catalog.services import return_server, set_certified_until, withdraw_server
from registry.core import clock
from registry.core.errors import RegistryError
from registry.portal.guidance import vagueness
from registry.portal.views.api_docs import error_codes
from registry.trust.services import request_connection, request_grant
from tests import factories as make

pytestmark = pytest.mark.django_db

HOME = reverse("portal:home")
REFUSED = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"  # shaped like a token, and none


def tasks_of(web, user):
    return {(task.kind, task.title) for task in web(user).get(HOME).context["work"].tasks}


class TestHome:
    def test_anonymous_signs_in_first(self, web):
        assert web().get(HOME).url.startswith(reverse("accounts:sign_in"))

    def test_somebody_without_a_role_is_told_whom_to_ask(self, web):
        answer = web(make.outsider()).get(HOME)
        assert answer.status_code == 200
        assert "Ask an administrator" in answer.content.decode()

    def test_an_empty_registry_offers_the_first_steps(self, web):
        assert "Start here" in web(make.person()).get(HOME).content.decode()

    def test_nothing_waits(self, web):
        make.draft()
        assert "Nothing waits for you" in web(make.person()).get(HOME).content.decode()

    def test_drafts_and_returned_registrations_wait_for_their_people_only(self, web):
        owner = make.person()
        begun = make.draft(created_by=owner, title="Begun")
        returned = make.submitted_server(owner=owner, title="Returned")
        return_server(actor=make.acting(make.person("reviewer")), server=returned, reason="Pin the version.")
        assert tasks_of(web, owner) == {("draft", begun.title), ("returned", returned.title)}
        assert tasks_of(web, make.person()) == set()
        assert "Pin the version." in web(owner).get(HOME).content.decode()

    def test_every_page_counts_the_reviews_that_wait_for_its_reader(self, web):
        reviewer = make.person("reviewer")
        item = make.intake(make.submitted_server())
        assert make.work_of(item).reviewer == reviewer
        for page in (HOME, reverse("catalog:servers")):
            assert "My work, 1 waiting" in web(reviewer).get(page).content.decode()
            assert "nothing waiting" in web(make.person()).get(page).content.decode()

    def test_requests_wait_for_whoever_may_decide_and_is_independent(self, web):
        reviewer, sysop = make.person("reviewer"), make.person()
        server = make.active_server(owner=make.person("reviewer"))
        facts = {"server": server, "reason": "Needed.", "valid_until": clock.now() + timedelta(days=30)}
        agent = make.agent(name="Forecast")
        request_grant(actor=make.acting(agent.owner), agent=agent, tools=["query"], **facts)
        system = make.system(name="Ledger", owner=sysop)
        request_connection(actor=make.acting(server.owner), system=system, access="read", **facts)
        assert {kind for kind, _title in tasks_of(web, reviewer)} == {"request"}
        assert len(tasks_of(web, reviewer)) == 2
        assert len(tasks_of(web, sysop)) == 1  # the provider's side of the connection
        assert tasks_of(web, server.owner) == set()  # a reviewer, but its owner
        assert tasks_of(web, make.person()) == set()

    def test_my_servers_with_what_is_next(self, web):
        owner = make.person()
        later = make.active_server(owner=owner, title="Later")
        sooner = make.active_server(owner=owner, title="Sooner")
        for server, days in ((later, 90), (sooner, 5)):
            set_certified_until(actor=make.SYSTEM_ACTOR, thing=server, until=clock.now() + timedelta(days=days))
        assert [server.title for server in web(owner).get(HOME).context["work"].servers] == ["Sooner", "Later"]

    def test_what_its_people_withdrew_is_a_draft_to_go_on_with(self, web):
        server = make.submitted_server()
        withdraw_server(actor=make.acting(server.owner), server=server)
        assert ("draft", server.label) in tasks_of(web, server.owner)

    def test_security_sees_the_tiers_and_members_do_not(self, web):
        make.active_server()
        oversight = web(make.person("security")).get(HOME).context["work"].oversight
        assert sum(total for _tier, total, _uncertified in oversight.tiers) == 1
        assert oversight.uncertified == 1
        assert web(make.person()).get(HOME).context["work"].oversight is None

    def test_costs_the_same_for_many(self, web, django_assert_num_queries, django_assert_max_num_queries):
        owner = make.person("reviewer")
        client = web(owner)
        make.draft(created_by=owner)
        make.active_server(owner=owner)
        with django_assert_max_num_queries(20) as few:
            client.get(HOME)
        for _ in range(4):
            make.draft(created_by=owner)
            make.active_server(owner=owner)
        with django_assert_num_queries(len(few)):
            client.get(HOME)


class TestSearch:
    URL = reverse("portal:search")

    def found(self, web, user, text):
        sections = web(user).get(self.URL, {"q": text}).context["sections"]
        return {str(section.title): [hit.title for hit in section.hits] for section in sections}

    def test_finds_every_kind_by_part_of_a_name(self, web):
        person = make.person(name="Walter Ware")
        make.draft(name="com.example/warehouse-sql", title="Warehouse SQL")
        make.system(name="Warehouse")
        make.agent(name="Warehouse agent")
        make.complete_draft(title="Other", tools=[{"name": "ware_count", "confirmed_class": "read"}])
        assert self.found(web, person, "ware") == {
            "Servers": ["Warehouse SQL"],
            "Agents": ["Warehouse agent"],
            "Systems": ["Warehouse"],
            "Tools": ["ware_count"],
            "People": ["Walter Ware"],
        }

    def test_shows_nothing_that_is_hidden(self, web):
        owner = make.person()
        make.complete_draft(owner=owner, title="Warehouse", confidential=True, tools=[{"name": "warehouse_query"}])
        make.system(name="Warehouse", confidential=True, owner=owner, created_by=owner)
        assert self.found(web, make.person(), "warehouse") == {}
        assert set(self.found(web, owner, "warehouse")) == {"Servers", "Systems", "Tools"}

    def test_asks_once_per_kind(self, web, django_assert_max_num_queries):
        for _ in range(12):
            make.draft()
        client = web(make.person())
        client.get(self.URL)  # How much waits for somebody is remembered for a moment.
        with django_assert_max_num_queries(11):
            answer = client.get(self.URL, {"q": "server"})
        assert len(answer.context["sections"][0].hits) == 8

    def test_one_letter_is_not_a_question(self, web):
        make.draft()
        assert self.found(web, make.person(), "s") == {}

    def test_what_is_typed_is_text(self, web):
        page = web(make.person()).get(self.URL, {"q": "<script>alert(1)</script>"}).content.decode()
        assert "<script>alert" not in page


class TestApiDocs:
    URL = reverse("portal:api_docs")

    def test_names_the_readers_own_host_and_every_error(self, web):
        page = web().get(self.URL, headers={"host": "localhost"}).content.decode()
        assert "http://localhost/api/v1/servers?lifecycle=active" in page
        for code in ("not-allowed", "not-independent", "secret-refused", "changed", "illegal-transition"):
            assert f'id="{code}"' in page

    def test_lists_codes_once_with_their_own_status(self):
        codes = [error.code for error in error_codes()]
        assert len(codes) == len(set(codes))
        assert "error" not in codes
        assert all(error.status >= 400 for error in error_codes())
        assert issubclass(RegistryError, Exception)

    def test_the_description_is_openapi_3_1_and_covers_the_rooms(self, client):
        schema = client.get(reverse("portal:openapi")).json()
        assert schema["openapi"].startswith("3.1")
        for path in ("/api/v1/servers", "/api/v1/trust/reach", "/api/v1/trust/blast-radius"):
            assert path in schema["paths"], path


class TestVagueness:
    @pytest.mark.parametrize(
        "statement",
        ["Helps with various tasks of the sales department in general, as needed.", "Does things."],
    )
    def test_hints_at_open_ends(self, statement):
        assert vagueness(statement, ["a"], ["b"])

    def test_leaves_a_bounded_purpose_alone(self):
        text = "Answer sales and stock questions for analysts from the reporting warehouse."
        assert vagueness(text, ["Aggregates"], ["Customer contact data"]) == []

    def test_asks_for_an_outside(self):
        text = "Answer sales and stock questions for analysts from the reporting warehouse."
        assert any("outside" in str(hint) for hint in vagueness(text, ["Aggregates"], []))


def test_a_pasted_server_json_becomes_a_draft(web):
    owner = make.person()
    text = json.dumps({
        "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
        "name": "com.example/docs",
        "description": "Docs",
        "version": "1.0.0",
        "remotes": [{"type": "streamable-http", "url": "https://docs.example.test/mcp"}],
    })  # fmt: skip
    answer = web(owner).post(reverse("portal:register"), {"text": text})
    server = Server.objects.get()
    assert answer.url == reverse("portal:registration", args=[server.pk, "identity"])
    assert (server.name, server.created_by, server.lifecycle) == ("com.example/docs", owner, "draft")
    again = web(make.person()).post(reverse("portal:register"), {"text": text})
    assert again.status_code == 422
    assert Server.objects.count() == 1


def test_an_uploaded_server_json_is_read_like_a_pasted_one(web):
    entry = json.loads((Path(__file__).parent.parent / "data" / "context7.json").read_text())["entry"]
    upload = SimpleUploadedFile("server.json", json.dumps(entry).encode(), "application/json")
    web(make.person()).post(reverse("portal:register"), {"file": upload})
    assert Server.objects.get().name == "io.github.upstash/context7"


def test_a_pasted_secret_is_left_out_and_the_reader_is_told(web):
    entry = json.loads((Path(__file__).parent.parent / "data" / "context7.json").read_text())["entry"]
    entry["packages"][0]["environmentVariables"][0]["value"] = REFUSED
    answer = web(make.person()).post(reverse("portal:register"), {"text": json.dumps(entry)}, follow=True)
    page = answer.content.decode()
    assert "its value was left out" in page
    assert REFUSED not in page
    assert REFUSED not in json.dumps(list(Server.objects.get().endpoints.values()), default=str)


@pytest.mark.parametrize("text", ["", "not json at all {", "[]", '{"name": "x"}'])
def test_what_cannot_be_read_is_said_at_the_field(web, text):
    answer = web(make.person()).post(reverse("portal:register"), {"text": text})
    assert answer.status_code == 422
    assert 'href="#id_text"' in answer.content.decode()
    assert not Server.objects.exists()
